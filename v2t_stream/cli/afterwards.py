"""`--exec` and `--notify`: what a command does when a transcript is ready, and at its end."""

import asyncio
import contextlib
import functools
import html
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from v2t_stream.cli.output import say as tell
from v2t_stream.errors import V2TError
from v2t_stream.text import one_line

# In a command, {} is the shell's own list of arguments. So the shell never reads what is in it, whatever quotes the
# user wrote around it: a title or a file name from a stranger is not executed.
_PLACES: Final = ('"{}"', "'{}'", "{}")
_OURS: Final = '"$@"'
_LONGEST: Final = 200  # characters of a notification


class Ready(NamedTuple):
    """A transcript that is finished."""

    job: str
    title: str
    files: Sequence[Path] = ()  # where it was written, if it was written to files


class CommandFailed(V2TError):
    """The transcripts are ready, but a command of --exec failed."""


class Afterwards:
    """Runs the user's commands, one at a time, and counts those that fail."""

    def __init__(self, commands: Sequence[str]) -> None:
        self._commands = commands
        self._turn = asyncio.Lock()
        self._ran = self._failed = 0

    def __bool__(self) -> bool:
        """Whether there is anything to do for each transcript."""
        return bool(self._commands)

    async def run(self, ready: Ready, say: Callable[[str], None], warn: Callable[[str], None]) -> None:
        """Run all commands for a transcript. `say` and `warn` print their output; a failure does not stop the rest."""
        for command in self._commands:
            async with self._turn:
                code = await _run(command, ready, say, warn)
            self._ran += 1
            if code:
                self._failed += 1
                warn(f"v2t: {one_line(ready.title)}: the command of --exec exited with {code}; its transcript is ready")

    def conclude(self) -> None:
        """Raises CommandFailed if a command failed."""
        if self._failed:
            which = "" if self._ran == 1 else f"{self._failed} of {self._ran} times "
            raise CommandFailed(
                f"the command of --exec failed {which}after the transcript was ready: see above".strip()
            )


async def _run(command: str, ready: Ready, say: Callable[[str], None], warn: Callable[[str], None]) -> int:
    arguments = [str(file) for file in ready.files] or [ready.job]
    told = {"TRANSCRIPT_JOB": ready.job, "TRANSCRIPT_TITLE": ready.title, "TRANSCRIPT_FILE": ""}
    if ready.files:
        told["TRANSCRIPT_FILE"] = arguments[0]
    process = await asyncio.create_subprocess_exec(
        *("/bin/sh", "-c", script(command), "v2t", *arguments),
        env={**os.environ, **{name: text.replace("\0", "") for name, text in told.items()}},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        printed = await process.communicate()
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
        raise
    for text, show in zip(printed, (say, warn), strict=True):
        if text:
            show(text.decode(errors="replace").rstrip("\n"))
    return process.returncode or 0


def script(command: str) -> str:
    """The command with the shell's arguments in the places of {}."""
    for place in _PLACES:
        command = command.replace(place, _OURS)
    return command


def afterwards_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --exec and --notify; the command gets `afterwards`, and `run`s it for each transcript that is ready."""

    @click.option(
        "--exec",
        "commands",
        multiple=True,
        metavar="CMD",
        help="Run this in a shell for each finished transcript. {} is its file, or its job if it is only printed; "
        "also in $TRANSCRIPT_FILE, $TRANSCRIPT_JOB and $TRANSCRIPT_TITLE. May be repeated.",
    )
    @click.option("--notify", is_flag=True, help="Show a notification on this desktop at the end.")
    @functools.wraps(command)
    def wrapped(*arguments: Any, commands: tuple[str, ...], notify: bool, **options: Any) -> Any:
        if notify and not _notifier():
            missing = "--notify finds neither notify-send nor osascript on this machine: install one"
            tell(missing, name="v2t: ", indent=len("v2t: "), err=True)
        afterwards, said = Afterwards(commands), "everything is transcribed"
        try:
            result = command(*arguments, afterwards=afterwards, **options)
            afterwards.conclude()
        except (click.Abort, KeyboardInterrupt, click.UsageError):
            notify = False  # the user is here
            raise
        except V2TError as error:
            said = str(error)
            raise
        finally:
            if notify:
                show("v2t", one_line(said, _LONGEST))
        return result

    return wrapped


def _notifier() -> str:
    return next(filter(None, map(shutil.which, ("notify-send", "osascript"))), "")


def show(title: str, text: str) -> None:
    """Show a notification on the desktop, if there is a program for it; one that fails does no harm."""
    program = _notifier()
    if not program:
        return
    if program.endswith("osascript"):
        lines = ("on run argv", "display notification (item 2 of argv) with title (item 1 of argv)", "end run")
        arguments = [part for line in lines for part in ("-e", line)] + [title, text]
    else:
        arguments = ["--app-name=v2t", "--", title, html.escape(text)]  # its text may hold markup
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        subprocess.run(  # noqa: S603  # a list, which no shell reads
            [program, *arguments], check=False, capture_output=True, stdin=subprocess.DEVNULL, timeout=10
        )
