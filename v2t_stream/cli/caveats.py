"""What a command says about incomplete transcripts, and how it exits then."""

from collections.abc import Callable
from typing import ClassVar

import click

from schemas.transcript import Transcript
from v2t_stream.errors import V2TError
from v2t_stream.jobs.caveats import caveats
from v2t_stream.text import one_line

allow_truncated = click.option(
    "--allow-truncated", is_flag=True, help="Exit with 0 even if a recording ends before its declared length."
)


class CutOff(V2TError):
    """Everything was transcribed, but a recording ends before its declared length."""

    EXIT_CODE: ClassVar[int] = 3


class Caveats:
    """Warns of what each transcript lacks, and counts the recordings that are cut off."""

    def __init__(self, warn: Callable[[str], None], *, allow_truncated: bool) -> None:
        self._warn = warn
        self._allow_truncated = allow_truncated
        self._told = self._cut_off = 0

    def tell(self, name: str, record: Transcript) -> None:
        """Print a line for each caveat, after the user's name for the recording."""
        for caveat in caveats(record):
            self._warn(f"v2t: {one_line(name)}: {caveat}")
        self._told += 1
        self._cut_off += record.truncated is not None

    def conclude(self) -> None:
        """Raises CutOff if a recording is cut off, unless that is allowed."""
        if self._cut_off and not self._allow_truncated:
            which = "the recording" if self._told == 1 else f"{self._cut_off} of {self._told} recordings"
            verb = "is" if self._cut_off == 1 else "are"
            raise CutOff(f"{which} {verb} cut off, so the transcript is incomplete: --allow-truncated accepts that")
