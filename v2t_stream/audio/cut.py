"""Media to chunks: decoding, voice detection and packing as one stream."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from v2t_stream.audio.decode import MediaReader
from v2t_stream.audio.level import Block
from v2t_stream.audio.packing import Chunk, Packer
from v2t_stream.audio.speech import THRESHOLD, SpeechFinder, Stretch
from v2t_stream.audio.vad import Everything, SileroVad


def cut(reader: MediaReader, *, threshold: float = THRESHOLD) -> Iterator[tuple[Chunk, ...]]:
    """Yield the chunks of `reader` as they are cut: one tuple, mostly empty, for every few seconds of audio.

    `threshold`: the lowest probability that counts as speech; 0: all sound goes into chunks, without marks of
    speech. The empty tuples let the caller show progress (`reader.position`) and stop, even during hours of silence.
    Raises Reject if the media cannot be read to its end; chunks may have gone out before.
    """
    for chunks in _cut(reader, threshold):
        yield chunks if threshold else tuple(chunk._replace(speech=None) for chunk in chunks)


def _cut(reader: MediaReader, threshold: float) -> Iterator[tuple[Chunk, ...]]:
    vad = SileroVad() if threshold else Everything()
    finder, packer, tape = SpeechFinder(threshold), Packer(), Tape()

    def pack(stretch: Stretch, *, complete: bool = True) -> Iterator[Chunk]:
        rest = stretch._replace(start=max(stretch.start, packer.taken))
        return packer.add(rest, tape.read(rest.start, rest.end), complete=complete)

    for block in _ahead(reader.blocks()):
        tape.append(block)
        chunks: list[Chunk] = []
        for stretch in finder.feed(vad.feed(block).tolist()):
            chunks += pack(stretch)
        if finder.running:
            chunks += pack(finder.running, complete=False)
        tape.forget(max(finder.settled, packer.taken))
        yield tuple(chunks)
    chunks = []
    for stretch in (*finder.feed(vad.finish().tolist()), *finder.finish(tape.end)):
        chunks += pack(stretch)
    yield (*chunks, *packer.flush())


class Tape:
    """The last stretch of a stream of samples, indexed by place in the stream."""

    def __init__(self) -> None:
        self._blocks: deque[Block] = deque()
        self.start = 0  # the first held sample
        self.end = 0  # the first sample still to come

    def append(self, block: Block) -> None:
        self._blocks.append(block)
        self.end += len(block)

    def read(self, start: int, end: int) -> NDArray[np.int16]:
        """Copy the samples from `start` to `end`, which must still be held."""
        parts, at = [], self.start
        for block in self._blocks:
            parts.append(block[max(0, start - at) : max(0, end - at)])
            at += len(block)
        return np.concatenate(parts) if parts else np.zeros(0, np.int16)

    def forget(self, before: int) -> None:
        """Drop the blocks that end before the sample."""
        while self._blocks and self.start + len(self._blocks[0]) <= before:
            self.start += len(self._blocks.popleft())


def _ahead(blocks: Iterator[Block]) -> Iterator[Block]:
    """Decode the next block in a thread while the caller works on this one: both release the GIL."""
    with ThreadPoolExecutor(1, "decode") as thread:
        coming = thread.submit(next, blocks, None)
        while (block := coming.result()) is not None:
            coming = thread.submit(next, blocks, None)
            yield block
