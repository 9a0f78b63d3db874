"""The base of every message, its encoding and decoding."""

from typing import ClassVar, TypeVar

import msgspec

Kind = TypeVar("Kind")


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """One JSON message on one subject. Unknown fields are ignored, so that old and new nodes mix.

    `SUBJECT` is the subject's template; its placeholders are fields of the message.
    """

    SUBJECT: ClassVar[str]
    ONCE: ClassVar[bool] = True  # the first message on the subject stands; a later one is refused
    # Whether each run of a job has its own subject: in the first run the template's, which alone old nodes know, and in
    # later runs the same with the run's number at the end.
    BY_RUN: ClassVar[bool] = True

    job: str
    run: int = 0  # one more with each retry of the job

    @classmethod
    def subject_of(cls, *, run: int | str = 0, **names: object) -> str:
        """The subject of such a message; `names` fill the template's placeholders, "*" matches all."""
        return cls._by_run(cls.SUBJECT.format(run=run, **names), run)

    @property
    def subject(self) -> str:
        return self._by_run(self.SUBJECT.format_map(_Fields(self)), self.run)

    @classmethod
    def _by_run(cls, subject: str, run: int | str) -> str:
        return f"{subject}.{run}" if run and cls.BY_RUN else subject

    @property
    def excluded_by(self) -> str:
        """The subject that must be empty for a ONCE message: its own, unless a class says otherwise."""
        return self.subject


class _Fields(dict[str, object]):
    """Looks up placeholders on the message, so that only the named ones are read."""

    def __init__(self, message: Message) -> None:
        super().__init__()
        self._message = message

    def __missing__(self, name: str) -> object:
        return getattr(self._message, name)


_encoder = msgspec.json.Encoder()


def encode(message: msgspec.Struct) -> bytes:
    """The message as compact UTF-8 JSON."""
    return _encoder.encode(message)


def decode_as(kind: type[Kind], data: bytes) -> Kind:
    """Decode `data`, JSON of any origin, as a `kind`.

    Raises msgspec.DecodeError, or its ValidationError for JSON that does not fit, such as from a newer release.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except (RecursionError, UnicodeDecodeError) as error:  # a megabyte of nested brackets
        raise msgspec.DecodeError(str(error)) from error


def fault(error: msgspec.ValidationError) -> tuple[str, str]:
    """What is wrong, and the path of the field at fault, as msgspec writes it; an empty path if no field is named."""
    reason, _, path = str(error).partition(" - at `$.")
    return reason, path.rstrip("`")
