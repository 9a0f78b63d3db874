"""`v2t etl` and `v2t convert`: send work, and see it through."""

import asyncio
import mimetypes
import secrets
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, get_args

import click
import msgspec
import uvloop

from schemas.options import Accelerator
from schemas.requests import SubmitRequest
from v2t_stream.cli.follow import Bars, JobFailed, Segments, follow
from v2t_stream.errors import SettingsError, V2TError
from v2t_stream.formats import FORMATS
from v2t_stream.session import Session, session
from v2t_stream.settings import Settings
from v2t_stream.submission import check, submit
from v2t_stream.text import one_line

_AT_ONCE: Final = 16  # files sent and followed together; the stages take them one after the other anyway

_OPTIONS = (
    click.option("--language", help="Spoken language as an ISO 639 code such as en; detected where not given."),
    click.option("--model", help="A known name such as small or large-v3, a path, or demo."),
    click.option("--engine", help="As faster-whisper, whisper-cpp or openai; the node's own order where not given."),
    click.option("--accelerator", default="any", type=click.Choice(get_args(Accelerator))),
    click.option("--task", default="transcribe", type=click.Choice(["transcribe", "translate"])),
    click.option("--word-timestamps", is_flag=True, help="Times of single words, in the JSON transcript."),
    click.option("--multilingual", is_flag=True, help="Each chunk in its own language, instead of one for the job."),
    click.option("--remote/--no-remote", default=False, help="Allow paid or remote providers."),
)


def _transcription_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the fields of schemas.options.Options as options of the same names."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command()
@click.option("--url", required=True, help="An http(s) link: a page yt-dlp knows, or a media file itself.")
@_transcription_options
@click.option("--wait", is_flag=True, help="Show progress until it is done, then print the transcript.")
@click.option("--follow", "following", is_flag=True, help="Print segments in order the moment they are final.")
def etl(url: str, *, wait: bool, following: bool, **options: Any) -> None:
    """Transcribe the media at a URL."""
    settings = Settings.from_environment()
    request = SubmitRequest(url=url, **options)
    check(request)

    async def run() -> None:
        async with session(settings, work=True, options=request) as pipeline:
            job, duplicate = await submit(pipeline.connection, request)
            if duplicate:
                click.echo("the same was submitted within the last two minutes: this is its job", err=True)
            if not (wait or following or pipeline.local):
                click.echo(job)
                return
            click.echo(f"job {job}", err=True)
            if not (wait or following):
                click.echo("NATS_URL names no broker, so this command stays until the job is done", err=True)
            try:
                with Bars() as bars:
                    await follow(pipeline.connection, job, bars, *([Segments(bars.say)] if following else []))
            except asyncio.CancelledError:
                when = "with the next command here" if pipeline.local else "without you"
                click.echo(f"job {job} goes on {when}: v2t job status {job}", err=True)
                raise
            if not following:
                transcript = await pipeline.store.get(f"transcripts/{job}/transcript.txt")
                click.echo(transcript.decode(), nl=False)

    uvloop.run(run())


@click.command()
@click.option(
    "--input", "source", required=True, type=click.Path(exists=True, path_type=Path), help="A file, or a folder."
)
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), help="Folder for the transcripts.")
@click.option(
    "--format", "formats", default="srt", show_default=True, help=f"Of {','.join(FORMATS)}; several by commas."
)
@_transcription_options
def convert(source: Path, output: Path | None, formats: str, **options: Any) -> None:
    """Transcribe files and write transcripts beside them, or into a folder."""
    settings = Settings.from_environment()
    wanted = _formats(formats)
    request = SubmitRequest(media="media/", **options)
    check(request)
    files = _targets(source, output)
    if output:
        _make_writable(output)

    async def run() -> None:
        failures = 0
        at_once = asyncio.Semaphore(_AT_ONCE)

        async def one(file: Path, stem: Path) -> None:
            nonlocal failures
            async with at_once:
                try:
                    job = await _convert(pipeline, request, file, bars)
                    for path in await _written(pipeline, job, stem, wanted):
                        bars.say(str(path))
                except V2TError as error:
                    failures += 1
                    bars.warn(f"v2t: {one_line(str(file))}: {error}")

        async with session(settings, work=True, options=request) as pipeline:
            with Bars() as bars:
                await asyncio.gather(*(one(file, stem) for file, stem in files.items()))
        if failures:
            raise JobFailed(f"{failures} of {len(files)} files gave no transcript")

    uvloop.run(run())


async def _convert(pipeline: Session, wish: SubmitRequest, file: Path, bars: Bars) -> str:
    """Send one file through; the job that did it."""
    media = f"media/uploads/{secrets.token_hex(12)}/source{file.suffix}"
    with bars.step(file.name, "sending"):
        await pipeline.store.put_file(media, file)
    job, _ = await submit(pipeline.connection, msgspec.structs.replace(wish, media=media, title=file.name))
    await follow(pipeline.connection, job, bars)
    return job


async def _written(pipeline: Session, job: str, stem: Path, formats: list[str]) -> list[Path]:
    """Fetch the job's transcript in `formats`, to files named after `stem`."""
    paths = [stem.parent / f"{stem.name}.{format_}" for format_ in formats]
    for path, format_ in zip(paths, formats, strict=True):
        data = await pipeline.store.get(f"transcripts/{job}/transcript.{format_}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        except OSError as error:
            raise _unwritable(path, error) from error
    return paths


def _make_writable(folder: Path) -> None:
    """Find out before the work rather than after it that nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(path: Path, error: OSError) -> SettingsError:
    return SettingsError(f"{path} cannot be written ({error.strerror}): choose another --output")


def _formats(text: str) -> list[str]:
    wanted = [name.strip() for name in text.split(",")]
    for name in wanted:
        if name not in FORMATS:
            raise SettingsError(f"unknown format {name!r}: there are {', '.join(FORMATS)}")
    return wanted


def _targets(source: Path, output: Path | None) -> dict[Path, Path]:
    """Each file to do, with the path of its transcript less the suffix: a/b.mp4 gives a/b, or OUTPUT/b."""
    files = sorted(_media(source)) if source.is_dir() else [source]
    if not files:
        raise SettingsError(f"there is no video or audio file in {source}")
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
