"""Everything that travels between processes, as msgspec Structs. It imports no other package of ours."""
