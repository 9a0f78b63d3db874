"""`v2t check`: what in a file of subtitles breaks a style."""

from pathlib import Path
from typing import Any

import click

from v2t_stream.cli.output import echo_json, json_option
from v2t_stream.cli.subtitles import style_options, wanted
from v2t_stream.errors import SettingsError, V2TError
from v2t_stream.subtitles.check import problems
from v2t_stream.subtitles.reading import read
from v2t_stream.subtitles.style import BROADCAST
from v2t_stream.text import one_line, path_text


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@style_options("broadcast")
@click.option("--language", help="Of the text, such as en: which words a line must not end with. A .vtt file says it.")
@json_option
def check(files: tuple[Path, ...], *, language: str | None, as_json: bool, **options: Any) -> None:
    """List what in .srt and .vtt files breaks a style, cue by cue. Exits with 1 if anything does."""
    style = wanted(options) or BROADCAST
    found = 0
    for file in files:
        name = path_text(file)
        try:
            subtitles = read(file.read_text("utf-8-sig"))
        except UnicodeDecodeError:
            raise SettingsError(f"{name} is not UTF-8 text: convert it, for example with iconv") from None
        except SettingsError as error:
            raise SettingsError(f"{name} is neither SRT nor WebVTT: {error}") from None
        except OSError as error:
            raise SettingsError(f"{name} cannot be read ({error.strerror})") from None
        listed = list(problems(subtitles, style, language))
        found += len(listed)
        for cue, reason in listed:
            if as_json:
                echo_json({"file": name, "line": cue.line, "cue": cue.name, "reason": reason})
            else:
                click.echo(f"{name}:{cue.line}: cue {one_line(cue.name)}: {reason}")
        if not listed and not as_json:
            click.echo(f"{name}: {len(subtitles.cues)} cues, nothing breaks the style")
    if found:
        raise V2TError(f"{found} {'problem' if found == 1 else 'problems'} found")
