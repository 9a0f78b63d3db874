"""A media file's audio as a stream of 16 kHz mono blocks: memory stays flat at any length."""

import os
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Final, NamedTuple, Self

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream

from schemas.chunks import SAMPLE_RATE
from schemas.transcript import Sound, Track, Truncated
from v2t_stream.audio.clock import Clock
from v2t_stream.audio.damage import Damage, unreadable
from v2t_stream.audio.declared import declared, falls_short, first_missing
from v2t_stream.audio.demux import frames_of, goes_on
from v2t_stream.audio.level import Block, Leveller, Wave
from v2t_stream.audio.line import Line
from v2t_stream.audio.parts import Part
from v2t_stream.audio.probe import choose_track
from v2t_stream.audio.resample import MonoResampler
from v2t_stream.audio.source import Media, look_at, open_media
from v2t_stream.audio.tracks import is_decodable
from v2t_stream.errors import Reject

_NOTICEABLE: Final = 5.0  # missing seconds that matter at any length: a whole sentence
_WITHOUT_GAPS: Final = ("flac",)  # formats that number their frames one by one


class MediaReader:
    """Opens `path` and decodes the right audio track; a context manager.

    `name` is the file's name in errors. `track` (a number from 1, or a language) chooses the track; otherwise it is
    the one in `language`, the main one, the one with speech. Unreadable input raises Reject, on opening if possible;
    a file that ends early yields all its sound, and `truncated` says so. Times count from the start of the media,
    which may be before its audio: silence fills that and any gaps, so sample n of the blocks is at n/16000 s.
    """

    def __init__(
        self, path: Path, name: str | None = None, *, track: str | None = None, language: str | None = None
    ) -> None:
        self.name = name or path.name
        self.position = 0.0  # seconds yielded so far; any thread may read it
        self.truncated: Truncated | None = None  # after the last block
        self._path = path
        self._lock, self._closed = Lock(), False
        self._leveller = Leveller()
        self._wanted = track, language
        first, self._later = self._surveyed()
        self._media = self._opened(first)
        container = self._media.container
        try:
            self._stream, self.tracks = self._chosen(first)
            start = container.start_time
            self._clock = Clock(None if start is None else start / av.time_base)
            self._clock.end = self._declared()
        except BaseException:
            self.close()
            raise
        self.title: str | None = container.metadata.get("title") or None  # by the file's metadata
        # Seconds, as known before decoding; None if unknown.
        self.duration = None if self._later or not container.duration else container.duration / av.time_base
        self._decoded = 0.0  # seconds of sound, without filled gaps
        self._damage = Damage(self.name)

    def _surveyed(self) -> tuple[Part, Iterable[Part]]:
        """The first part of the file, and all later ones."""
        self._state, self._survey = _state(self._path), look_at(self._path, self.name)
        return self._survey.parts[0], self._survey.parts[1:]

    def _opened(self, part: Part) -> Media:
        return open_media(self._path, part, self.name)

    def _chosen(self, first: Part) -> tuple[AudioStream, tuple[Track, ...]]:
        """The track to decode, and all there are."""
        track, language = self._wanted
        container = self._media.container
        return choose_track(self._path, first, container, self.name, track=track, language=language)

    def _declared(self) -> float | None:
        """The timestamp at which the sound ends, in seconds, as the file declares it; None if it does not."""
        if self._later:
            return None
        with self._path.open("rb", buffering=0) as file:
            read = partial(os.pread, file.fileno())
            return declared(read, self._state.size, self._media.container, self._stream)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, after any block that another thread is decoding."""
        with self._lock:
            self._closed = True
            self._media.closing.close()

    @property
    def sound(self) -> Sound:
        """The sound so far, without the seconds of speech."""
        return Sound(peak=self._leveller.peak, level=self._leveller.level, tracks=self.tracks)

    def blocks(self) -> Iterator[Block]:
        """Decode the audio from start to end, once, in blocks of seconds; raises Reject if it cannot go on."""
        blocks = self._blocks()
        while True:
            with self._lock:  # FFmpeg crashes the process if its file is closed
                if self._closed:
                    raise RuntimeError(f"{self.name} was closed before its end")
                try:
                    block = next(blocks, None)
                except av.FFmpegError as error:
                    raise unreadable(self.name) from error
            if block is None:
                return
            yield block

    def _blocks(self) -> Iterator[Block]:
        samples = 0
        for wave in self._line():
            samples += len(wave)
            self.position = samples / SAMPLE_RATE
            yield self._leveller.feed(wave)
        if not samples:
            raise unreadable(self.name)
        self._check()
        self.truncated = self._verdict()

    def _check(self) -> None:
        """Raises Reject if what was read is not what the file has."""
        if _state(self._path) != self._state:
            raise Reject(
                f"{self.name} changed while it was being read, such as a recording in progress: send it again when it "
                "is finished"
            )

    def _line(self) -> Iterator[Wave]:
        """The sound on the media's own clock."""
        clock, resampler, line = self._clock, MonoResampler(self.name), Line()
        for frame, at, following in _with_times(self._frames(clock)):
            seconds = frame.samples / frame.sample_rate
            self._decoded += seconds
            if clock.shift(at, seconds, following):
                for wave in resampler.flush():
                    yield from line.add(wave)
                yield from line.move_to(round((clock.now - seconds) * SAMPLE_RATE))
            for wave in resampler.push(frame):
                yield from line.add(wave)
        for wave in resampler.flush():
            yield from line.add(wave)
        yield from line.finish()

    def _frames(self, clock: Clock) -> Iterator[AudioFrame]:
        damage = self._damage
        yield from frames_of(self._media.container, self._stream, damage, clock, self._ends_at())
        for part in self._later:
            self._media.closing.close()
            self._media = self._opened(part)
            clock.restart()
            stream = self._media.container.streams.best("audio")
            if isinstance(stream, AudioStream) and is_decodable(stream):
                yield from frames_of(self._media.container, stream, damage, clock)
            else:
                damage.passed(0)

    def _ends_at(self) -> float | None:
        """The timestamp, in seconds, behind which the file has no bytes; None if it has all that its index names."""
        return None if self._later else first_missing(self._stream, self._state.size)

    def _verdict(self) -> Truncated | None:
        """Whether less was decoded than declared, for another reason than longer pictures."""
        zero, end = self._clock.origin or 0.0, self._clock.end
        declared = self.position if end is None else end - zero
        missing = self._missing()
        decoded = self.position - missing
        if missing < _NOTICEABLE and not falls_short(decoded, declared):
            return None
        if not missing and goes_on(self._media.container, self._stream, zero + decoded, zero + declared):
            return None
        return Truncated(declared=declared, decoded=decoded)

    def _missing(self) -> float:
        """Seconds up to here that existed once; other gaps are silence, which some media leave out."""
        has_holes = self._survey.holes or self._media.container.format.name in _WITHOUT_GAPS
        gaps = max(self.position - self._decoded, 0.0)
        return gaps if has_holes else min(gaps, self._damage.undecoded)


class _State(NamedTuple):
    """Values that show whether a file has changed."""

    size: int
    changed: int


def _state(path: Path) -> _State:
    try:
        status = path.stat()
    except OSError:  # opening reports it; or the file was removed while open, and is still whole
        return _State(0, 0)
    return _State(status.st_size, status.st_mtime_ns)


def _with_times(frames: Iterator[AudioFrame]) -> Iterator[tuple[AudioFrame, float | None, float | None]]:
    """Each frame with its timestamp and that of the next, in seconds, if they have one."""
    frame = next(frames, None)
    at = frame.time if frame else None
    while frame is not None:
        following = next(frames, None)
        then = following.time if following else None
        yield frame, at, then
        frame, at = following, then
