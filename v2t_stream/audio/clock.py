"""Places sound in time: turns a file's timestamps into one clock that only goes forward."""

from typing import Final

_SUDDEN: Final = 0.1  # seconds; a frame further off is moved at once (like FFmpeg's aresample, min_hard_comp)
_LASTING: Final = 0.02  # frames further off during all of _WATCHED are moved then; less is rounding and jitter
_WATCHED: Final = 1.0  # seconds of sound
# Overlaps up to here are real: AAC's and Opus's run-up, and the padding of a last frame in joined files.
# Timestamps that go back further have restarted, and all of the sound is new.
_OVERLAP: Final = 0.5
# A longer gap is a wrong timestamp, not silence: it exceeds any break within a day's recording.
_GAP: Final = 4 * 3600.0
_SPLICED_GAP: Final = 60.0  # the same in a stream whose timestamps restarted, because it was joined from several


class Clock:
    """Seconds of source time, frame after frame."""

    def __init__(self, zero: float | None) -> None:
        """`zero`: the timestamp of source time 0; None: the first frame's."""
        self.now = 0.0  # start of the next frame if it follows on
        self.zero = zero  # moves when timestamps restart
        self.origin: float | None = None  # its value at the first frame
        self.end: float | None = None  # the file's declared last timestamp: no gap leads beyond it
        self._longest_gap = _GAP
        self._last: float | None = None  # the timestamp of the frame before; None: no frame yet
        # The share of recent frames that were later than the one before, weighted to the latest.
        self._running = 0.7
        # The least and greatest offset over the recent seconds in which all frames were off by more than _LASTING.
        self._low = self._high = self._while = 0.0

    def shift(self, at: float | None, seconds: float, following: float | None) -> float:
        """How much later (or, below 0, earlier) than the end of the last frame a frame of this length starts.

        `at`, `following`: its timestamp and that of the next frame, in seconds, if they have one. Moves `now` to the
        frame's end.
        """
        moved = 0.0 if at is None else self._shift(at, seconds, following)
        self.now += moved + seconds
        return moved

    def start(self, timestamp: float | None) -> None:
        """Record that another stream starts at this timestamp."""
        if timestamp is not None:
            self.zero = timestamp if self.zero is None else min(self.zero, timestamp)

    def restart(self) -> None:
        """The next part has its own timestamps, and follows on."""
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
            return 0.0  # no other frame confirms this timestamp
        return self._jumped(at, off, first=first)

    def _jumped(self, at: float, off: float, *, first: bool) -> float:
        """The offset of a timestamp that jumps away from the expected one; 0 if timestamps restart here."""
        beyond = self.end is not None and off > _SUDDEN and at > self.end + 1
        stalled = off < 0 and self._running < 0.5 and not first  # for example, all frames have the same timestamp
        anew = off < -_OVERLAP and not stalled
        if anew or stalled or beyond or off > self._longest_gap:
            self._longest_gap = _SPLICED_GAP if anew else self._longest_gap
            self.zero = (self.zero or 0.0) + off
            return 0.0
        return off

    def _lasting(self, off: float, seconds: float) -> float:
        """The common offset of all frames in a while."""
        if not self._while:
            self._low = self._high = off
        self._low, self._high = min(self._low, off), max(self._high, off)
        self._while += seconds
        if self._while < _WATCHED:
            return 0.0
        self._while = 0.0
        return self._low if self._low > 0 else self._high if self._high < 0 else 0.0
