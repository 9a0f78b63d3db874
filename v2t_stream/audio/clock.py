"""Where sound belongs in time: the timestamps of a file made into one line that only goes forward."""

from typing import Final

_SUDDEN: Final = 0.1  # seconds; a frame that is off by more is moved at once (as by FFmpeg's aresample, min_hard_comp)
_LASTING: Final = 0.02  # what is off by more for all of _WATCHED is moved then; below is rounding and jitter
_WATCHED: Final = 1.0  # seconds of sound
# Overlaps are honoured up to here: AAC's and Opus's run-up, and the filling of a last frame, where files were joined.
# What goes back further has started anew, and all of it is new.
_OVERLAP: Final = 0.5
# A gap that is longer is a wrong timestamp rather than silence: longer than any break within a day's recording.
_GAP: Final = 4 * 3600.0
_SPLICED_GAP: Final = 60.0  # the same in a stream whose timestamps have started anew: it was put together of several


class Clock:
    """Seconds of source time, frame after frame."""

    def __init__(self, zero: float | None) -> None:
        """`zero`: the timestamp at which source time is 0; None: that of the first frame."""
        self.now = 0.0  # where the next frame starts if it follows on
        self.zero = zero  # moved where timestamps start anew
        self.origin: float | None = None  # what it was at the first frame
        self.end: float | None = None  # the timestamp at which the file ends by its own word: no gap leads beyond
        self._longest_gap = _GAP
        self._last: float | None = None  # the timestamp of the frame before; None: none came
        # How many of the latest frames were later than the one before, the latest counting most.
        self._running = 0.7
        # Of the latest frames, as many seconds as were all off by more than _LASTING: the least and the most of it.
        self._low = self._high = self._while = 0.0

    def shift(self, at: float | None, seconds: float, following: float | None) -> float:
        """How much later (or, below 0, earlier) than where the last one ended a frame of so many seconds starts.

        `at`, `following`: its timestamp and that of the next frame, in seconds, where they have one. It moves `now` to
        the frame's end.
        """
        moved = 0.0 if at is None else self._shift(at, seconds, following)
        self.now += moved + seconds
        return moved

    def start(self, timestamp: float | None) -> None:
        """Something other than the sound starts at the timestamp."""
        if timestamp is not None:
            self.zero = timestamp if self.zero is None else min(self.zero, timestamp)

    def restart(self) -> None:
        """What comes has timestamps of its own, and follows on."""
        self.zero = self._last = None

    def _shift(self, at: float, seconds: float, following: float | None) -> float:
        if self.zero is None:
            self.zero = at - self.now
        off = at - self.zero - self.now
        if self.origin is None:
            self.origin = self.zero
        last, self._last = self._last, at
        first = last is None
        if -_LASTING <= off <= _LASTING and not first:  # nearly always
            self._while, self._running = 0.0, 1.0
            return 0.0
        if last is not None:
            self._running += ((at - last > seconds / 2) - self._running) / 5
        if abs(off) <= _SUDDEN and not first:
            return self._lasting(off, seconds)
        self._while = 0.0
        if following is not None and abs(following - at - seconds) > _SUDDEN and not first:
            return 0.0  # no other frame bears this timestamp out
        return self._jumped(at, off, first=first)

    def _jumped(self, at: float, off: float, *, first: bool) -> float:
        """What a timestamp is off by that is far from the one expected; 0 where timestamps count anew from here."""
        beyond = self.end is not None and off > _SUDDEN and at > self.end + 1
        stalled = off < 0 and self._running < 0.5 and not first  # as where all frames have the same timestamp
        anew = off < -_OVERLAP and not stalled
        if anew or stalled or beyond or off > self._longest_gap:
            self._longest_gap = _SPLICED_GAP if anew else self._longest_gap
            self.zero = (self.zero or 0.0) + off
            return 0.0
        return off

    def _lasting(self, off: float, seconds: float) -> float:
        """What all frames of a while were off by."""
        if not self._while:
            self._low = self._high = off
        self._low, self._high = min(self._low, off), max(self._high, off)
        self._while += seconds
        if self._while < _WATCHED:
            return 0.0
        self._while = 0.0
        return self._low if self._low > 0 else self._high if self._high < 0 else 0.0
