"""Everything that travels between processes, as msgspec Structs. This package imports nothing of ours."""
