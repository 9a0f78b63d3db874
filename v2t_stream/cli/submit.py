"""`v2t etl` and `v2t convert`: send work, and see it through."""

import asyncio
import mimetypes
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

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

_OPTIONS = (
    click.option("--language", help="Spoken language as an ISO 639 code such as en; detected where not given."),
    click.option("--model", help="A known name such as small or large-v3, a path, or demo."),
    click.option("--engine", help="As faster-whisper, whisper-cpp or openai; the node's own order where not given."),
    click.option("--accelerator", default="any", type=click.Choice(get_args(Accelerator))),
    click.option("--task", default="transcribe", type=click.Choice(["transcribe", "translate"])),
    click.option("--word-timestamps", is_flag=True, help="Times of single words, in the JSON transcript."),
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
            click.echo(f"job {job}{' (submitted before)' if duplicate else ''}", err=True)
            if not (wait or following):
                if not pipeline.local:
                    return
                click.echo("no broker is configured, so this command does the work itself (v2t up keeps one)", err=True)
            with Bars() as bars:
                await follow(pipeline.connection, job, bars, *([Segments()] if following else []))
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

    async def run() -> None:
        async with session(settings, work=True, options=request) as pipeline:
            with Bars() as bars:
                outcomes = await asyncio.gather(
                    *(_convert(pipeline, request, file, bars) for file in files),
                    return_exceptions=True,
                )
                failures = 0
                for (file, stem), outcome in zip(files.items(), outcomes, strict=True):
                    if isinstance(outcome, V2TError):
                        failures += 1
                        click.echo(f"v2t: {file}: {outcome}", err=True)
                    elif isinstance(outcome, BaseException):
                        raise outcome
                    else:
                        await _write(pipeline, outcome, stem, wanted)
        if failures:
            raise JobFailed(f"{failures} of {len(files)} files gave no transcript")

    uvloop.run(run())


async def _convert(pipeline: Session, wish: SubmitRequest, file: Path, bars: Bars) -> str:
    """Send one file through; the job that did it."""
    media = f"media/uploads/{secrets.token_hex(12)}/source{file.suffix}"
    await pipeline.store.put_file(media, file)
    job, _ = await submit(pipeline.connection, msgspec.structs.replace(wish, media=media, title=file.name))
    await follow(pipeline.connection, job, bars)
    return job


async def _write(pipeline: Session, job: str, stem: Path, formats: list[str]) -> None:
    """Fetch the job's transcript in `formats`, to files named after `stem`."""
    for format_ in formats:
        path = stem.parent / f"{stem.name}.{format_}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(await pipeline.store.get(f"transcripts/{job}/transcript.{format_}"))
        except OSError as error:
            raise SettingsError(f"{path} cannot be written ({error.strerror}): choose another --output") from error
        click.echo(path)


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
