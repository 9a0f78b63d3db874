"""The options of a job as `schemas` declares them, for everything that shows them: flags, forms, errors."""

from typing import Any, Final, Literal, NamedTuple, get_args, get_origin

from msgspec import Meta, structs

from schemas.options import Options, declared
from schemas.requests import SubmitRequest


class Option(NamedTuple):
    name: str
    kind: type[bool] | type[int] | type[float] | type[str]
    choices: tuple[str, ...]  # the only values allowed; empty if any text is
    default: Any
    meta: Meta  # its limits

    @property
    def meaning(self) -> str:
        """A few words for a help text or a form."""
        return self.meta.description or ""

    @property
    def alone(self) -> str | None:
        """What the option means that is given without a value; None if it must have one."""
        found: str | None = (self.meta.extra or {}).get("alone")
        return found

    @property
    def limits(self) -> str:
        """What a value must be, in words."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.kind is bool:
            return "true or false"
        if self.meta.pattern:
            return self.meaning.partition(": ")[2]
        if self.kind is str:
            return f"text of at most {self.meta.max_length} characters" if self.meta.max_length else "text"
        most = self.meta.le if self.meta.lt is None else f"less than {self.meta.lt}"
        return f"a {'whole number' if self.kind is int else 'number'} from {self.meta.ge} to {most}"


def _option(name: str, hint: Any, default: Any) -> Option:
    kind, meta = declared(hint)
    is_choice = get_origin(kind) is Literal
    return Option(name, str if is_choice else kind, get_args(kind) if is_choice else (), default, meta)


OPTIONS: Final = {
    field.name: _option(field.name, field.type, field.default)
    for field in structs.fields(SubmitRequest)
    if field.name in {*Options.__struct_fields__, "force"}
}
