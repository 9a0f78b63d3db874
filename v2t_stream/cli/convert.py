"""`v2t convert`: send files, and write their transcripts."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from v2t_stream.cli import completion
from v2t_stream.cli.afterwards import Afterwards, afterwards_options
from v2t_stream.cli.bars import Bars
from v2t_stream.cli.batch import Batch
from v2t_stream.cli.broker import mention
from v2t_stream.cli.caveats import Caveats, allow_truncated
from v2t_stream.cli.files import Files, overwrite_option
from v2t_stream.cli.inputs import Input, Inputs
from v2t_stream.cli.loop import in_loop
from v2t_stream.cli.options import transcription_options, wish
from v2t_stream.cli.recordings import Recording, Recordings
from v2t_stream.cli.started import started
from v2t_stream.cli.subtitles import Shape, subtitle_options
from v2t_stream.cli.waiting import fleet_shown, patience
from v2t_stream.errors import SettingsError
from v2t_stream.jobs.formats import FORMATS
from v2t_stream.jobs.submission import check
from v2t_stream.runtime.session import session
from v2t_stream.settings import Settings


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE|FOLDER|-]...", type=click.Path(allow_dash=True))
@click.option("--input", "more", multiple=True, type=click.Path(allow_dash=True), help="The same as an argument.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder for the transcripts; without it they are written beside the recordings.",
)
@overwrite_option
@click.option(
    "--format",
    "formats",
    multiple=True,
    default=["srt"],
    show_default=True,
    help=f"One or more of {','.join(FORMATS)}, separated by commas.",
    shell_complete=completion.formats,
)
@click.option("--distributed", is_flag=True, help="Use only the nodes at the broker of NATS_URL; fail if none is set.")
@click.option(
    "--parallel",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="How many files to send at the same time.",
)
@transcription_options
@subtitle_options
@allow_truncated
@afterwards_options
def convert(
    files: tuple[str, ...],
    more: tuple[str, ...],
    output: Path | None,
    formats: tuple[str, ...],
    *,
    overwrite: bool,
    distributed: bool,
    parallel: int,
    allow_truncated: bool,
    afterwards: Afterwards,
    **options: Any,
) -> None:
    """Transcribe files and write the transcripts beside them, or into a folder.

    A folder stands for all recordings in it, whatever their names, except hidden ones. A pipe, such as - for standard
    input, is read once; without --output its transcript is printed.
    """
    settings = Settings.from_environment()
    mention(settings, always=True)
    if distributed and not settings.nats_url:
        raise SettingsError("--distributed needs a broker: set NATS_URL, for example to nats://host:4222")
    wanted = _formats(formats)
    shape = Shape.of(options)
    shape.check(wanted)
    options["word_timestamps"] |= shape.needs_word_times(wanted)
    request = wish(media="media/", **options)
    check(request)
    inputs = Inputs((*files, *more), output)
    if inputs.prints and len(wanted) > 1:
        raise click.UsageError("several formats cannot be printed: choose one, or give a folder with --output")
    written = Files(settings.home, overwrite=overwrite)
    if output:
        written.check(output)

    async def run() -> None:
        recordings = Recordings(inputs)
        first = await _asked_about(recordings, written, wanted)
        others = recordings.among()
        if not first and (one := await anext(others, None)):
            first = [one]
        if not first:
            raise recordings.nothing((*files, *more))
        async with session(settings, work=True, options=request) as pipeline, started(pipeline) as mine:
            with Bars() as bars:
                caveats = Caveats(bars.warn, allow_truncated=allow_truncated)
                batch = Batch(
                    pipeline,
                    mine,
                    settings,
                    request=request,
                    formats=wanted,
                    shape=shape,
                    files=written,
                    bars=bars,
                    caveats=caveats,
                    afterwards=afterwards,
                    at_once=parallel,
                )
                async with fleet_shown(pipeline.connection, bars, patience(pipeline)):
                    await batch.run(first, others, recordings)
        batch.conclude()

    in_loop(run())


async def _asked_about(recordings: Recordings, written: Files, formats: list[str]) -> list[Recording]:
    """Those whose transcripts v2t would keep, after a question whether it should: an hour later nobody is there."""

    def may_be_kept(file: Input) -> bool:
        stems = [Recording(file.path, file.name, stem) for stem in (file.short, file.whole)]
        return any(written.keeps(path) for each in stems for path in each.paths(formats))

    found = [each async for each in recordings.among(may_be_kept)]
    written.ask([path for each in found for path in each.paths(formats) if written.keeps(path)])
    return found


def _formats(texts: Iterable[str]) -> list[str]:
    wanted = list(dict.fromkeys(name.strip() for text in texts for name in text.split(",")))
    for name in wanted:
        if name not in FORMATS:
            raise SettingsError(f"unknown format {name!r}: use {', '.join(FORMATS)}")
    return wanted
