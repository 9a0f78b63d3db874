"""Checks that a server still has the streams we worked on: it may come back with others, or with an older copy."""

import math
from typing import Any, Final, NamedTuple, Self

from nats.aio.msg import Msg

from v2t_stream.errors import StoreChanged

EPOCH_KEY: Final = "v2t_epoch"  # metadata of an inbox whose jobs got a new series of ids
_SKEW: Final = 0.01  # seconds by which a cluster's clocks may differ; no rollback is that quick


class Mark(NamedTuple):
    """A message that was in a stream."""

    sequence: int = 0
    at: float = math.inf  # Unix seconds by the server's clock; inf if unknown

    @classmethod
    def of(cls, message: Msg) -> Self:
        """The mark of a message from a consumer."""
        return cls(message.metadata.sequence.stream, message.metadata.timestamp.timestamp())

    def rules_out(self, other: "Mark") -> bool:
        """Whether a stream that held this message can never hold `other`.

        Sequence numbers rise with time. So the first message in the place of a lost one reveals an older copy, however
        many have come since.
        """
        return other.sequence <= self.sequence and other.at > self.at + _SKEW


class Lineage:
    """What we know of the streams we work for. A stream that contradicts it has another past."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._held = ""  # the stream that must stay the same
        self._identity: tuple[str, str] = ("", "")
        self._last: dict[str, int] = {}  # highest sequence by stream
        self._seen: dict[str, Mark] = {}  # latest message seen by this process, by stream
        self._recalled: dict[str, Mark] = {}  # the same from before this process
        self._broken = ""  # the contradiction, in words

    @property
    def is_held(self) -> bool:
        return bool(self._held)

    @property
    def is_broken(self) -> bool:
        return bool(self._broken)

    @property
    def streams(self) -> list[str]:
        """The streams we know something about."""
        return list(self._last)

    def hold(self, stream: str, info: dict[str, Any]) -> None:
        """Accept only the present streams from now on; all of them were created, and are rolled back, with `stream`."""
        self._held, self._identity = stream, _identity(info)
        self._last[stream] = info["state"]["last_seq"]

    def stored(self, stream: str, sequence: int) -> None:
        """Remember a stored message."""
        self._last[stream] = max(sequence, self._last.get(stream, 0))

    def recall(self, stream: str, seen: Mark) -> None:
        """Remember a message seen before this process started."""
        self._recalled[stream] = seen

    def saw(self, stream: str, seen: Mark) -> None:
        """Remember a message. Raises StoreChanged if an earlier message rules it out, and from then on always."""
        self._raise_broken()
        before = self._seen.get(stream, Mark())
        if before.rules_out(seen) or self._recalled.get(stream, Mark()).rules_out(seen):
            self._break(f"an older copy of {stream}")
        self._seen[stream] = max(before, seen)
        self.stored(stream, seen.sequence)

    def check(self, stream: str, info: dict[str, Any]) -> None:
        """Raises StoreChanged if `info` shows that `stream` is no longer the one we knew."""
        self._raise_broken()
        if stream == self._held and _identity(info)[0] != self._identity[0]:
            self._break("other streams")
        is_renewed = stream == self._held and _identity(info) != self._identity
        if is_renewed or info["state"]["last_seq"] < self._last.get(stream, 0):
            self._break(f"an older copy of {stream}")

    def _raise_broken(self) -> None:
        if self._broken:
            self._break(self._broken)

    def _break(self, what: str) -> None:
        self._broken = what
        raise StoreChanged(f"the NATS server at {self._url} came back with {what}: later changes are missing")


def epoch_of(info: dict[str, Any]) -> str | None:
    """The epoch set on an inbox, if any."""
    epoch: str | None = (info["config"].get("metadata") or {}).get(EPOCH_KEY)
    return epoch


def _identity(info: dict[str, Any]) -> tuple[str, str]:
    return info["created"], epoch_of(info) or ""
