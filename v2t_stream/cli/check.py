"""`v2t check`: what in a file of subtitles breaks a style."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click

from v2t_stream.cli.output import echo_json, json_option
from v2t_stream.cli.subtitles import style_options, wanted
from v2t_stream.errors import SettingsError, V2TError
from v2t_stream.subtitles.check import problems
from v2t_stream.subtitles.reading import Subtitles, read
from v2t_stream.subtitles.style import BROADCAST
from v2t_stream.text import one_line, path_text
from v2t_stream.units import counted

_FILE: Final = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
_PIPE: Final = Path("-")


@click.command()
@click.argument("files", nargs=-1, required=True, type=_FILE)
@style_options("broadcast")
@click.option("--language", help="Of the text, such as en: which words a line must not end with. A .vtt file says it.")
@json_option
def check(files: tuple[Path, ...], *, language: str | None, as_json: bool, **options: Any) -> None:
    """List what in .srt and .vtt files breaks a style, cue by cue. Exits with 1 if anything does.

    - is standard input.
    """
    style = wanted(options) or BROADCAST
    found = 0
    for file in files:
        subtitles = _read(file)
        listed: list[tuple[int, str | None, str]] = [(1, None, reason) for reason in _whole(file, subtitles)]
        listed += [(cue.line, cue.name, reason) for cue, reason in problems(subtitles, style, language)]
        found += len(listed)
        for line, cue, reason in listed:
            if as_json:
                echo_json({"file": path_text(file), "line": line, "cue": cue, "reason": reason})
            else:
                where = f"cue {one_line(cue)}: " if cue is not None else ""
                click.echo(f"{_name(file)}:{line}: {where}{reason}")
        if not listed and not as_json:
            click.echo(f"{_name(file)}: {counted(len(subtitles.cues), 'cue')}, nothing breaks the style")
    if found:
        raise V2TError(f"{counted(found, 'problem')} found")


def _read(file: Path) -> Subtitles:
    """Raises SettingsError, with the file's name, if these are no subtitles."""
    try:
        written = sys.stdin.buffer.read() if file == _PIPE else file.read_bytes()
        return read(written.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise SettingsError(f"{_name(file)} is not UTF-8 text: convert it, for example with iconv") from None
    except SettingsError as error:
        raise SettingsError(f"{_name(file)} is neither SRT nor WebVTT: {error}") from None
    except OSError as error:
        raise SettingsError(f"{_name(file)} cannot be read ({error.strerror})") from None


def _whole(file: Path, subtitles: Subtitles) -> Iterator[str]:
    """What is wrong with a file as a whole."""
    if not subtitles.cues:
        yield "the file has no cues"
    if file.suffix.lower() == ".vtt" and not subtitles.is_vtt:
        yield "the file does not begin with WEBVTT, so browsers refuse it"


def _name(file: Path) -> str:
    return one_line(path_text(file))
