"""A media file's audio as a stream of 16 kHz mono blocks: memory stays flat whatever the length."""

from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.packet import Packet

from schemas.chunks import SAMPLE_RATE
from v2t_stream.audio.damage import Damage, ends_early, first_missing, unreadable
from v2t_stream.audio.resample import BLOCK_SECONDS, Block, MonoResampler
from v2t_stream.audio.source import open_media

# Gaps in the timestamps that become silence, in seconds. Shorter ones are rounding and jitter; over the longest, the
# timestamps are taken to be wrong rather than the speakers silent, and time goes on as if there were no gap.
SHORTEST_GAP = 0.1
LONGEST_GAP = 3600.0
RESTART = 5.0  # timestamps that go back this far have started anew, as in files that were joined


class MediaReader:
    """Opens `path` and decodes its best audio stream; a context manager.

    `name` is what the file is called in errors. Every input that cannot be read, or not to its end, raises Reject,
    on opening where it shows by then. Times count from the start of the media, which is not always that of its audio:
    silence stands for what lies before and for gaps within, so that sample n of the blocks was heard at n/16000 s.
    """

    def __init__(self, path: Path, name: str | None = None) -> None:
        self.name = name or path.name
        self.position = 0.0  # seconds given out so far; any thread may read it
        self._written = 0  # samples given out
        self._heard = 0.0  # where the next frame should start, in seconds of source time
        self._lock, self._closed = Lock(), False
        self._container, self._stream, self._closing = open_media(path, self.name)
        self._mov = "mov" in self._container.format.name.split(",")
        self.title: str | None = self._container.metadata.get("title") or None  # what the file says of itself
        start = self._container.start_time
        # The timestamp at which source time is 0.
        self._zero: float | None = None if start is None else start / av.time_base
        self._audio_end = self._declared_end()
        total = self._container.duration
        # Seconds, as the file declares it; None where it does not, as in a live recording.
        self.duration = self._audio_end if self._audio_end or total is None else total / av.time_base
        if self._mov:
            missing = first_missing(self._stream, path.stat().st_size)
            if missing is not None and self._audio_end:
                self.close()
                raise ends_early(self.name, missing - (self._zero or 0.0), self._audio_end)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, after the block that another thread may be decoding."""
        with self._lock:
            self._closed = True
            self._closing.close()

    def blocks(self) -> Iterator[Block]:
        """Decode the audio from start to end, once, in blocks of seconds; raises Reject where it cannot go on."""
        blocks = self._blocks()
        while True:
            with self._lock:  # FFmpeg crashes the process when a file is closed under it
                if self._closed:
                    raise RuntimeError(f"{self.name} was closed before its end")
                try:
                    block = next(blocks, None)
                except av.FFmpegError as error:
                    raise unreadable(self.name) from error
            if block is None:
                return
            self._written += len(block)
            self.position = self._written / SAMPLE_RATE
            yield block

    def _blocks(self) -> Iterator[Block]:
        resampler = MonoResampler(self.name)
        for frame in self._frames():
            gap = self._gap(frame)
            if gap:
                yield from resampler.flush()
                self._heard += gap
                yield from _silence(round(self._heard * SAMPLE_RATE) - self._written)
            self._heard += frame.samples / frame.sample_rate
            yield from resampler.push(frame)
        yield from resampler.flush()
        if not self._written:
            raise unreadable(self.name)
        # Elsewhere a declared duration is a guess, or that of the pictures; and a player, too, plays what is there.
        if self._mov and self._audio_end and self._audio_end - self.position > 2 + self._audio_end / 100:
            raise ends_early(self.name, self.position, self._audio_end)

    def _frames(self) -> Iterator[AudioFrame]:
        """Every frame that can be decoded. What cannot is skipped, as players do, as long as it is not too much."""
        damage = Damage(self.name)
        while True:
            try:
                for packet in self._container.demux(self._stream):
                    try:
                        frames = packet.decode()
                    except av.FFmpegError:
                        damage.skip(_seconds(packet), self._heard)
                        continue
                    damage.passed(len(frames))
                    yield from frames
            except IndexError:  # a packet of a stream that came up later: PyAV knows those of the start alone
                continue
            except av.FFmpegError:  # the container is damaged here, and its reader looks for the next sound place
                damage.skip(1.0, self._heard)
            else:
                return

    def _gap(self, frame: AudioFrame) -> float:
        """Seconds of silence that belong before the frame."""
        if frame.pts is None or frame.time_base is None:
            return 0.0
        at = float(frame.pts * frame.time_base)
        if self._zero is None:
            self._zero = at
        gap = at - self._zero - self._heard
        beyond = self.duration is not None and at - self._zero > self.duration + 1
        if gap < -RESTART or gap > LONGEST_GAP or (gap > SHORTEST_GAP and beyond):
            self._zero += gap
            return 0.0
        # Overlaps cost no speech: the surplus stays, and the next gap is that much shorter.
        return gap if gap > SHORTEST_GAP else 0.0

    def _declared_end(self) -> float | None:
        stream = self._stream
        if stream.duration is None or stream.time_base is None:
            return None
        return float((stream.duration + (stream.start_time or 0)) * stream.time_base) - (self._zero or 0.0)


def _silence(samples: int) -> Iterator[Block]:
    size = BLOCK_SECONDS * SAMPLE_RATE
    for done in range(0, samples, size):
        yield np.zeros(min(size, samples - done), np.int16)


def _seconds(packet: "Packet[AudioStream]") -> float:
    return float((packet.duration or 0) * packet.time_base) or 0.02  # the shortest usual packet
