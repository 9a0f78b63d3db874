"""The base of every message, and the way messages become bytes and come back."""

from typing import ClassVar, TypeVar

import msgspec

Kind = TypeVar("Kind")


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """One JSON message on one subject. Unknown fields are ignored, so that old and new nodes mix.

    `SUBJECT` is the subject's template; its placeholders are fields of the message.
    """

    SUBJECT: ClassVar[str]
    ONCE: ClassVar[bool] = True  # the first message on the subject stands; a later one is refused
    # Where it is set, the message is refused unless `after` is the latest sequence on the subjects that match.
    FENCE: ClassVar[str] = ""

    job: str
    after: int = 0  # see FENCE

    @property
    def subject(self) -> str:
        return self.SUBJECT.format_map(_Fields(self))


class _Fields(dict[str, object]):
    """Looks placeholders up on the message itself, so that only those named are read."""

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
    """What `data`, JSON of whatever origin, says of a `kind`.

    Raises msgspec.DecodeError; of it ValidationError where it is JSON that does not fit, as from a newer release.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except (RecursionError, UnicodeDecodeError) as error:  # brackets within brackets, of which a megabyte holds many
        raise msgspec.DecodeError(str(error)) from error
