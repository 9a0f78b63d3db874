"""`v2t convert`: send files, and write their transcripts."""

import asyncio
import contextlib
import logging
import mimetypes
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
import uvloop

from schemas.requests import SubmitRequest
from v2t_stream.cli.bars import Bars, fleet_shown
from v2t_stream.cli.caveats import Caveats, allow_truncated
from v2t_stream.cli.follow import JobFailed, follow
from v2t_stream.cli.options import transcription_options, wish
from v2t_stream.cli.output import unwritable
from v2t_stream.errors import Denied, SettingsError, V2TError
from v2t_stream.jobs import previous
from v2t_stream.jobs.assembly import stored
from v2t_stream.jobs.formats import FORMATS
from v2t_stream.jobs.submission import check, store_file, submit
from v2t_stream.runtime.session import Session, session
from v2t_stream.settings import Settings
from v2t_stream.text import one_line, path_text

log = logging.getLogger(__name__)


@click.command()
@click.option(
    "--input", "source", required=True, type=click.Path(exists=True, path_type=Path), help="A file or a folder."
)
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), help="The folder for the transcripts.")
@click.option(
    "--format",
    "formats",
    default="srt",
    show_default=True,
    help=f"One or more of {','.join(FORMATS)}, separated by commas.",
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
@allow_truncated
def convert(
    source: Path,
    output: Path | None,
    formats: str,
    *,
    distributed: bool,
    parallel: int,
    allow_truncated: bool,
    **options: Any,
) -> None:
    """Transcribe files and write the transcripts next to them, or into a folder."""
    settings = Settings.from_environment()
    if distributed and not settings.nats_url:
        raise SettingsError("--distributed needs a broker: set NATS_URL, for example to nats://host:4222")
    wanted = _formats(formats)
    request = wish(media="media/", **options)
    check(request)
    files = _targets(source, output)
    if output:
        _make_writable(output)

    async def run() -> None:
        failures = 0
        at_once = asyncio.Semaphore(parallel)

        async def one(file: Path, stem: Path) -> None:
            nonlocal failures
            name = path_text(file)
            async with at_once:
                try:
                    transcript = await _convert(pipeline, request, file, bars)
                    for path in await _written(pipeline, transcript, stem, wanted):
                        bars.say(path_text(path))
                    caveats.tell(name, await stored(pipeline.store, transcript))
                except Exception as error:  # whatever is wrong with one file, the others must go on
                    failures += 1
                    log.debug("unexpected, from %s", name, exc_info=error)
                    reason = str(error) if isinstance(error, V2TError) else f"{type(error).__name__}: {error}"
                    bars.warn(f"v2t: {one_line(name)}: {reason}")

        async with session(settings, work=True, options=request) as pipeline:
            with Bars() as bars:
                caveats = Caveats(bars.warn, allow_truncated=allow_truncated)
                async with fleet_shown(pipeline.connection, bars):
                    await asyncio.gather(*(one(file, stem) for file, stem in files.items()))
        if failures:
            raise JobFailed(f"{failures} of {len(files)} files could not be transcribed")
        caveats.conclude()

    uvloop.run(run())


async def _convert(pipeline: Session, request: SubmitRequest, file: Path, bars: Bars) -> str:
    """Send one file and wait for it, unless it was done before; returns the prefix of its transcript."""
    with bars.step(file.name, "reading"):
        sha256 = await asyncio.to_thread(previous.sha256, file)
    if not request.force:
        before = None
        with contextlib.suppress(Denied):  # a submitter may not see what was done
            before = await previous.find(pipeline.connection, pipeline.store, previous.of_content(sha256), request)
        if before:
            bars.warn(f"{one_line(file.name)} was already done as job {before.job}; --force does it again")
            return before.transcript
    with bars.step(file.name, "sending"):
        media = await store_file(pipeline.store, file, sha256=sha256)
    job, _ = await submit(
        pipeline.connection, msgspec.structs.replace(request, media=media, title=path_text(file.name))
    )
    try:
        state = await follow(pipeline.connection, job, bars)
    except Denied as error:
        raise Denied(f"sent as job {job}, but {error} to watch it") from error
    return state.completed.transcript if state.completed else ""  # always set: otherwise follow would have raised


async def _written(pipeline: Session, transcript: str, stem: Path, formats: list[str]) -> list[Path]:
    """Fetch the transcript at this prefix in `formats`, into files named after `stem`."""
    paths = [stem.parent / f"{stem.name}.{format_}" for format_ in formats]
    for path, format_ in zip(paths, formats, strict=True):
        data = await pipeline.store.get(f"{transcript}.{format_}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        except OSError as error:
            raise unwritable(path, error) from error
    return paths


def _make_writable(folder: Path) -> None:
    """Check before the work, not after it, that files can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise unwritable(folder, error) from error


def _formats(text: str) -> list[str]:
    wanted = [name.strip() for name in text.split(",")]
    for name in wanted:
        if name not in FORMATS:
            raise SettingsError(f"unknown format {name!r}: use {', '.join(FORMATS)}")
    return wanted


def _targets(source: Path, output: Path | None) -> dict[Path, Path]:
    """Each file, with the path of its transcript without suffix: for a/b.mp4 that is a/b, or OUTPUT/b."""
    files = sorted(_media(source)) if source.is_dir() else [source]
    if not files:
        raise SettingsError(f"{source} contains no video or audio file")
    root = source if source.is_dir() else source.parent
    stems = {file: (output / file.relative_to(root) if output else file).with_suffix("") for file in files}
    names = list(stems.values())
    # talk.mp4 and talk.wav would both write talk.srt
    return {file: stem if names.count(stem) == 1 else stem.with_name(file.name) for file, stem in stems.items()}


def _media(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        kind = mimetypes.guess_type(path.name)[0] or ""
        if kind.startswith(("audio/", "video/")) and path.is_file():
            yield path
