"""What a child process writes: passed on as it comes, and its last line kept for when it has died."""

import asyncio
import contextlib
import os
from collections.abc import Iterator
from typing import Final

from v2t_stream.logs import said
from v2t_stream.text import one_line

_KEPT: Final = 1 << 15  # bytes; a traceback in JSON is one line


class Output:
    """The output of one child, read by the loop."""

    def __init__(self, source: int, to: int) -> None:
        self._source, self._to = source, to
        self._tail = b""

    def pass_on(self) -> None:
        """All that is there by now."""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._source, 1 << 16):
                self._tail = (self._tail + data)[-_KEPT:]
                _write(self._to, data)
            asyncio.get_running_loop().remove_reader(self._source)  # it closed its end

    @property
    def last_line(self) -> str:
        """What it says. Of an error in Python that is its sentence; empty where nothing was written."""
        self.pass_on()
        lines = self._tail.decode(errors="replace").split("\n")
        return one_line(said(next((line for line in reversed(lines) if line.strip()), "")))


@contextlib.contextmanager
def output_to(to: int) -> Iterator[tuple[Output, int]]:
    """Pass what a child writes on to the file `to`; gives that output and the file for the child to write to."""
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
    with contextlib.suppress(OSError):  # the disk is full, or nobody reads on: a stage must not end by that
        while data:
            data = data[os.write(to, data) :]
