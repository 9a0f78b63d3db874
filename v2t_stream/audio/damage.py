"""What is wrong with a media file, and how much of it is too much."""

from typing import Final

from av.audio.stream import AudioStream

from v2t_stream.errors import Reject

_RATES: Final = range(1_000, 768_001)  # samples a second, from a bad telephone to a studio's best
_MOST: Final = 64 * 96_000  # of all channels together: seconds of them are held at once
_BARREN: Final = 10_000  # packets in a row, which are minutes


class Damage:
    """Counts what could not be decoded; raises Reject when a transcript of the rest would mislead."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lost = 0.0  # seconds
        self._run = 0.0  # of them without a sound packet between
        self._barren = 0  # packets without sound since the last one with some

    def skip(self, seconds: float, position: float) -> None:
        """`seconds` could not be decoded, at `position`."""
        self._lost += seconds
        self._run += seconds
        # A dozen bad packets are a click that nobody hears. Half a minute in a row is the unwritten part of a file
        # that was reserved at full length; a tenth of everything is a broken disk.
        if self._run > 30 or self._lost > 5 + position / 10:
            raise Reject(
                f"{self._name} is damaged: too much of its audio around second {position:.0f} cannot be decoded; "
                "copy or download it again"
            )

    def passed(self, frames: int) -> None:
        """A packet gave so many frames without complaint; a decoder may hold back the first."""
        if frames:
            self._run, self._barren = 0.0, 0
            return
        self._barren += 1
        if self._barren > _BARREN:
            raise unreadable(self._name)


def check_form(name: str, rate: int, channels: int) -> None:
    """Raises Reject for audio in a form that nothing records in: a second of it could be more than memory holds."""
    if rate not in _RATES or not 0 < channels * rate <= _MOST:
        raise Reject(
            f"{name} has audio in a form that cannot be right ({channels} channels, {rate} samples a second): check "
            "that it plays in a media player"
        )


def unreadable(name: str) -> Reject:
    return Reject(f"{name} has an audio track, but nothing in it can be decoded: check that it plays in a media player")


def ends_early(name: str, end: float, declared: float) -> Reject:
    return Reject(
        f"{name} is cut off: its audio ends at second {end:.0f} of {declared:.0f}; copy, download or record it again"
    )


def first_missing(stream: AudioStream, size: int) -> float | None:
    """Find the timestamp, in seconds, from which packets lie beyond the file's `size`; None where all are there.

    An MP4's index says where every packet is, so that a download that stopped is known before any work is done on it.
    """
    entries = stream.index_entries
    low, high = 0, len(entries)
    if not high or stream.time_base is None or entries[-1].pos + entries[-1].size <= size:
        return None
    while low < high:  # the packets of one stream lie in order
        middle = (low + high) // 2
        if entries[middle].pos + entries[middle].size > size:
            high = middle
        else:
            low = middle + 1
    return float(entries[low].timestamp * stream.time_base)
