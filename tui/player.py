"""Plays some seconds of media with ffplay, on a machine that has it."""

import asyncio
import contextlib
import re
import shlex
import shutil
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NamedTuple

from v2t_stream.errors import V2TError
from v2t_stream.host.scratch import scratch
from v2t_stream.jobs.state import Job
from v2t_stream.text import one_line

_PLAYER: Final = "ffplay"
_PLAYED: Final = re.compile(rb"\d M-A:")  # in the status that it writes again and again: the time reached
_STATUS: Final = re.compile(r"[^\r\n]*\r")
_LEAST: Final = 2.0  # seconds: less is hard to understand


class Excerpt(NamedTuple):
    """Some seconds of the media of a job."""

    job: Job
    start: float
    end: float

    @property
    def seconds(self) -> float:
        return max(_LEAST, self.end - self.start)

    def command(self, *media: str) -> str:
        """The line that plays it from `media`. From a pipe, ffplay complains of what does no harm."""
        return f"{shlex.join(self.arguments('fatal'))} {' '.join(media)}"

    def arguments(self, level: str) -> list[str]:
        tracks = self.job.sound.tracks if self.job.sound else ()
        track = next((one.number for one in tracks if one.taken), 1)
        chosen = ["-ast", f"a:{track - 1}"] if track > 1 else []
        begin = self.start if self.end > self.start else self.end - self.seconds  # what comes before the end
        times = ["-ss", f"{max(0.0, begin):.1f}", "-t", f"{self.seconds:.1f}"]
        return [_PLAYER, "-loglevel", level, "-nodisp", "-autoexit", *chosen, *times]


class Player:
    """Plays one excerpt at a time. The media that it fetched is kept until `end`."""

    def __init__(self, home: Path) -> None:
        self._home = home  # of this machine's data
        self._folder: Path | None = None
        self._process: Process | None = None

    @property
    def is_here(self) -> bool:
        return shutil.which(_PLAYER) is not None

    async def play(self, excerpt: Excerpt, fetch: Callable[[Path], Awaitable[None]]) -> None:
        """Play it to its end, or until another is played. Raises V2TError, and OSError.

        `fetch`: writes the media to a path.
        """
        if self._folder is None:
            self._folder = scratch(self._home, "monitor")
        media = self._folder / excerpt.job.id
        if not media.exists():
            await fetch(media)
        self.stop()
        self._process = process = await asyncio.create_subprocess_exec(
            *excerpt.arguments("error"), "-stats", str(media), stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE
        )
        try:
            _, said = await process.communicate()
        finally:
            _kill(process)
        # It ends with 0 also where it could not open the media, and complains of blemishes in what it plays.
        if process.returncode is not None and process.returncode >= 0 and not _PLAYED.search(said):
            reason = _STATUS.sub("", said.decode(errors="replace"))
            raise V2TError(f"{_PLAYER} could not play it: {one_line(reason, 200) or 'it does not say why'}")

    def stop(self) -> bool:
        """Stop what is played; returns whether something was."""
        if self._process is None or self._process.returncode is not None:
            return False
        _kill(self._process)
        return True

    def end(self) -> None:
        self.stop()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)


def _kill(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
