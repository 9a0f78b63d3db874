"""Damage in a media file, and how much of it is too much."""

from typing import Final

from v2t_stream.errors import Reject

_RATES: Final = range(1_000, 768_001)  # samples per second, from a bad telephone to a studio's best
_MOST: Final = 64 * 96_000  # for all channels together: memory holds seconds of them
_BARREN: Final = 10_000  # packets in a row, or minutes


class Damage:
    """Counts undecodable sound; raises Reject when a transcript of the rest would mislead."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.undecoded = 0.0  # seconds of packets
        self._lost = 0.0  # seconds
        self._run = 0.0  # of them in a row, without a sound packet between
        self._barren = 0  # packets without sound since the last one with some

    def skip(self, seconds: float, position: float) -> None:
        """`seconds` could not be decoded, at `position`."""
        self._lost += seconds
        self._run += seconds
        # A dozen bad packets are an inaudible click. Half a minute in a row is the unwritten part of a file with
        # its full length reserved; a tenth of everything is a broken disk.
        if self._run > 30 or self._lost > 5 + position / 10:
            raise Reject(
                f"{self._name} is damaged: too much of its audio around second {position:.0f} cannot be decoded; "
                "copy or download it again"
            )

    def passed(self, frames: int) -> None:
        """A packet gave this many frames without an error; a decoder may hold back the first."""
        if frames:
            self._run, self._barren = 0.0, 0
            return
        self._barren += 1
        if self._barren > _BARREN:
            raise unreadable(self._name)


def check_form(name: str, rate: int, channels: int) -> None:
    """Raises Reject for an impossible audio format: a second of it could exceed memory."""
    if rate not in _RATES or not 0 < channels * rate <= _MOST:
        raise Reject(
            f"{name} has an impossible audio format ({channels} channels, {rate} samples per second): check "
            "that it plays in a media player"
        )


def unreadable(name: str) -> Reject:
    return Reject(f"{name} has an audio track, but none of it can be decoded: check that it plays in a media player")
