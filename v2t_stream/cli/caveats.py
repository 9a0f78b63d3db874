"""What a command says of transcripts that are not whole, and how it exits then."""

from collections.abc import Callable
from typing import ClassVar

import click

from schemas.transcript import Transcript
from v2t_stream.errors import V2TError
from v2t_stream.jobs.caveats import caveats
from v2t_stream.text import one_line

allow_truncated = click.option(
    "--allow-truncated", is_flag=True, help="Exit with 0 although a recording is cut off before its declared length."
)


class CutOff(V2TError):
    """Everything there is was transcribed, but a recording ends before the length it declares."""

    EXIT_CODE: ClassVar[int] = 3


class Caveats:
    """Says on `warn` what each transcript lacks, and counts the recordings that are cut off."""

    def __init__(self, warn: Callable[[str], None], *, allow_truncated: bool) -> None:
        self._warn = warn
        self._allow_truncated = allow_truncated
        self._told = self._cut_off = 0

    def tell(self, name: str, record: Transcript) -> None:
        """A line for each caveat, behind the name that the user knows the recording by."""
        for caveat in caveats(record):
            self._warn(f"v2t: {one_line(name)}: {caveat}")
        self._told += 1
        self._cut_off += record.truncated is not None

    def conclude(self) -> None:
        """Raises CutOff where a recording is, unless that is allowed."""
        if self._cut_off and not self._allow_truncated:
            which = "the recording" if self._told == 1 else f"{self._cut_off} of {self._told} recordings"
            verb = "is" if self._cut_off == 1 else "are"
            raise CutOff(f"{which} {verb} cut off, and so is what was transcribed: --allow-truncated accepts that")
