"""What each role may do: one table of methods and paths."""

from typing import Final, NamedTuple

_READ: Final = ("GET", "HEAD")
_ANY: Final = ("*",)
_WRITERS: Final = frozenset({"submitter", "operator"})
_READERS: Final = frozenset({"viewer", "operator"})
_ALL: Final = _WRITERS | _READERS
OPEN: Final = frozenset[str]()  # no key is needed


class _Row(NamedTuple):
    methods: tuple[str, ...]
    path: str  # with a slash at the end: everything below it too
    roles: frozenset[str]


# The first that matches counts. Whose jobs a role sees is not said here but by Caller.sees.
_TABLE: Final = (
    _Row(("OPTIONS",), "/", OPEN),
    _Row(_ANY, "/v1/session", OPEN),
    _Row(_READ, "/health", OPEN),
    _Row(_READ, "/openapi.json", OPEN),
    _Row(_READ, "/page/", OPEN),
    _Row(_READ, "/v1/fleet", _READERS),  # nodes say whose work failed last
    _Row(_READ, "/v1/uploads/", _WRITERS),
    _Row(_READ, "/v1/", _ALL),
    _Row(_ANY, "/v1/", _WRITERS),
    _Row(_ANY, "/asr", _WRITERS),
    _Row(_ANY, "/detect-language", _WRITERS),
    _Row(_ANY, "/", frozenset({"operator"})),
)


def needed(method: str, path: str) -> frozenset[str]:
    """The roles that may do this; `OPEN` if everybody may."""
    if method in _READ and path == "/":
        return OPEN
    return next(row.roles for row in _TABLE if _fits(row, method, path))


def _fits(row: _Row, method: str, path: str) -> bool:
    is_there = path.startswith(row.path) if row.path.endswith("/") else path == row.path
    return is_there and (row.methods == _ANY or method in row.methods)
