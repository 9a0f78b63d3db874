"""Passes on what a child process writes, and keeps its last line in case it dies."""

import asyncio
import contextlib
import os
from collections.abc import Iterator
from typing import Final

from v2t_stream.logs import said
from v2t_stream.text import one_line

_KEPT: Final = 1 << 15  # bytes; a traceback in JSON is one line


class Output:
    """The output of one child, read in the event loop."""

    def __init__(self, source: int, to: int) -> None:
        self._source, self._to = source, to
        self._tail = b""

    def pass_on(self) -> None:
        """Pass on all output so far."""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._source, 1 << 16):
                self._tail = (self._tail + data)[-_KEPT:]
                _write(self._to, data)
            asyncio.get_running_loop().remove_reader(self._source)  # it closed its end

    @property
    def last_line(self) -> str:
        """Its last line, which for a Python error is the message; empty if there was no output."""
        self.pass_on()
        lines = self._tail.decode(errors="replace").split("\n")
        return one_line(said(next((line for line in reversed(lines) if line.strip()), "")))


@contextlib.contextmanager
def output_to(to: int) -> Iterator[tuple[Output, int]]:
    """Pass a child's output on to the file `to`; yields the output and the file that the child writes to."""
    source, sink = os.pipe()
    os.set_blocking(source, False)
    output = Output(source, to)
    loop = asyncio.get_running_loop()
    loop.add_reader(source, output.pass_on)
    try:
        yield output, sink
    finally:
        loop.remove_reader(source)
        os.close(source)
        os.close(sink)


def _write(to: int, data: bytes) -> None:
    with contextlib.suppress(OSError):  # the disk is full or nobody reads: that must not end a stage
        while data:
            data = data[os.write(to, data) :]
