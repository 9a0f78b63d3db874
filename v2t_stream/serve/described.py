"""What a route takes and gives beyond its docstring, for the OpenAPI document."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeVar

Handler = TypeVar("Handler", bound=Callable[..., Any])

_NONE: Final[Mapping[str, Any]] = MappingProxyType({})
_ATTRIBUTE: Final = "__described__"


class Described(NamedTuple):
    """Types are those of msgspec, perhaps with its Meta."""

    query: Mapping[str, Any] = _NONE  # the type of each parameter
    headers: Mapping[str, Any] = _NONE
    body: Any = None  # the type of the JSON
    form: Mapping[str, Any] = _NONE  # the type of each field, if the body is a form
    has_file: bool = False  # the body may be a form with a file, and these fields or those of the JSON
    file: str = "file"  # its name in the form
    status: int = 200
    answer: Any = None  # the type of the JSON
    media: tuple[str, ...] = ()  # the types of an answer that is no JSON, such as text/vtt


def described(**fields: Any) -> Callable[[Handler], Handler]:
    """Describe a handler; `fields`: see Described."""

    def mark(handler: Handler) -> Handler:
        setattr(handler, _ATTRIBUTE, Described(**fields))
        return handler

    return mark


def description_of(handler: Any) -> Described:
    """What is said of a handler."""
    found: Described = getattr(handler, _ATTRIBUTE, Described())
    return found
