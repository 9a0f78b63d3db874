"""`v2t etl` and `v2t convert`: send work, and see it through."""

import asyncio
import contextlib
import logging
import mimetypes
import tempfile
from collections.abc import Callable, Iterator
from itertools import starmap
from pathlib import Path
from typing import Any, BinaryIO

import click
import msgspec
import uvloop

from schemas.requests import SubmitRequest
from v2t_stream.cli.caveats import Caveats, allow_truncated
from v2t_stream.cli.follow import Bars, JobFailed, Segments, View, fleet_shown, follow, heading
from v2t_stream.errors import Denied, Reject, SettingsError, V2TError
from v2t_stream.jobs import previous
from v2t_stream.jobs.assembly import stored
from v2t_stream.jobs.formats import FORMATS, render
from v2t_stream.jobs.lists import read
from v2t_stream.jobs.once import message_ids
from v2t_stream.jobs.options import OPTIONS, Option
from v2t_stream.jobs.submission import check, store_file, submit
from v2t_stream.runtime.session import Session, session
from v2t_stream.settings import Settings
from v2t_stream.text import one_line, path_text, without_secrets

log = logging.getLogger(__name__)


def _transcription_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that `schemas` declares for a job, under their names, and --no-vad."""
    command = click.option("--no-vad", is_flag=True, help="The same as --vad-threshold 0.")(command)
    for option in reversed(OPTIONS.values()):
        command = _flag(option)(command)
    return command


def _flag(option: Option) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    name = f"--{option.name.replace('_', '-')}"
    text = f"{option.meaning[0].upper()}{option.meaning[1:]}."
    if option.kind is bool:
        return click.option(f"{name}/{name.replace('--', '--no-', 1)}", default=False, help=text)
    return click.option(name, type=_type(option), default=option.default, show_default=True, help=text)


def _type(option: Option) -> Any:
    if option.choices:
        return click.Choice(option.choices)
    if option.kind is str:
        return str
    meta = option.meta
    limits: dict[str, Any] = {"min": meta.ge, "max": meta.le if meta.lt is None else meta.lt}
    kind = click.IntRange if option.kind is int else click.FloatRange
    return kind(**limits, max_open=meta.lt is not None)


def _wish(*, no_vad: bool, **fields: Any) -> SubmitRequest:
    """The request of what stands on the command line."""
    if no_vad:
        if fields["vad_threshold"]:
            raise click.UsageError("--no-vad takes everything, and --vad-threshold does not: name one of them")
        fields["vad_threshold"] = 0.0
    return SubmitRequest(**fields)


@click.command()
@click.option("--url", "urls", multiple=True, help="An http(s) link: a page yt-dlp knows, a playlist, or a media file.")
@click.option("--file", type=click.File("rb"), help="A file with a link on each line; - is standard input.")
@click.option("--limit", type=click.IntRange(min=1), help="Only so many entries of each playlist or channel.")
@_transcription_options
@allow_truncated
@click.option("--wait", is_flag=True, help="Show progress until it is done, then print the transcript.")
@click.option("--follow", "following", is_flag=True, help="Print segments in order the moment they are final.")
def etl(
    urls: tuple[str, ...],
    file: BinaryIO | None,
    *,
    limit: int | None,
    allow_truncated: bool,
    wait: bool,
    following: bool,
    **options: Any,
) -> None:
    """Transcribe the media at one or more URLs."""
    settings = Settings.from_environment()
    wish = _wish(limit=limit, **options)
    requests = _requests(urls, file, wish)

    async def run() -> None:
        async with session(settings, work=True, options=wish) as pipeline:
            staying = wait or following or pipeline.local
            jobs = []
            for request, message_id in zip(requests, message_ids(settings.home, requests), strict=True):
                job, duplicate = await submit(pipeline.connection, request, message_id=message_id)
                jobs.append(job)
                if duplicate:
                    link = without_secrets(request.url or "")
                    click.echo(f"{link} was submitted within the last two minutes: this is its job", err=True)
                click.echo(f"job {job}" if staying else job, err=staying)
            if not staying:
                return
            if not (wait or following):
                click.echo("NATS_URL names no broker, so this command stays until all is done", err=True)
            try:
                await _see_through(pipeline, jobs, following=following, allow_truncated=allow_truncated)
            except asyncio.CancelledError:
                when = "with the next command here" if pipeline.local else "without you"
                for job in jobs:
                    click.echo(f"job {job} goes on {when}: v2t job status {job}", err=True)
                raise

    uvloop.run(run())


def _requests(urls: tuple[str, ...], file: BinaryIO | None, wish: SubmitRequest) -> list[SubmitRequest]:
    """`wish` for each link, once. All are right, or none is made."""
    for url in urls:
        check(msgspec.structs.replace(wish, url=url))
    links = dict.fromkeys([*urls, *(_links(file, wish) if file else [])])
    if not links:
        raise click.UsageError("name a --url, or a --file of them")
    return [msgspec.structs.replace(wish, url=url) for url in links]


def _links(file: BinaryIO, wish: SubmitRequest) -> Iterator[str]:
    """The links of a file, a line each; blank lines and those that begin with # say nothing."""
    name = one_line(file.name)
    for number, line in enumerate(file, 1):
        try:
            link = line.decode("utf-8-sig").strip()
            if link and not link.startswith("#"):
                check(msgspec.structs.replace(wish, url=link))
                yield link
        except UnicodeDecodeError:
            raise SettingsError(f"line {number} of {name} is not UTF-8 text: put one link on each line") from None
        except Reject as error:
            raise SettingsError(f"line {number} of {name}: {error}") from error


async def _see_through(pipeline: Session, jobs: list[str], *, following: bool, allow_truncated: bool) -> None:
    """Show the jobs until all have ended, and print what they heard, in their order. Raises JobFailed and CutOff."""
    several = len(jobs) > 1
    with Bars() as bars:
        views: list[View] = [bars, Segments(bars.say, titled=several)] if following else [bars]

        async def one(place: int, job: str) -> JobFailed | None:
            try:
                jobs[place] = (await follow(pipeline.connection, job, *views)).id
            except JobFailed as error:
                if several:
                    bars.warn(f"v2t: {error}")
                return error
            return None

        async with fleet_shown(pipeline.connection, bars):
            failures = [failure for failure in await asyncio.gather(*starmap(one, enumerate(jobs))) if failure]
    caveats = Caveats(bars.warn, allow_truncated=allow_truncated)
    for job in jobs:
        state = await read(pipeline.connection, job)
        for part in state.parts:
            if not part.completed:
                continue
            record = await stored(pipeline.store, part.completed.transcript)
            if part.completed.of or not following:
                if several or state.listed:
                    click.echo(heading(part))
                click.echo(render(record, "txt"), nl=False)
            caveats.tell(part.title, record)
    if failures:
        raise JobFailed(f"{len(failures)} of {len(jobs)} jobs failed") if several else failures[0]
    caveats.conclude()


@click.command()
@click.option(
    "--input", "source", required=True, type=click.Path(exists=True, path_type=Path), help="A file, or a folder."
)
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), help="Folder for the transcripts.")
@click.option(
    "--format", "formats", default="srt", show_default=True, help=f"Of {','.join(FORMATS)}; several by commas."
)
@click.option("--distributed", is_flag=True, help="By the nodes of the broker of NATS_URL, or not at all.")
@click.option(
    "--parallel", type=click.IntRange(min=1), default=16, show_default=True, help="Files sent and followed at once."
)
@_transcription_options
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
    """Transcribe files and write transcripts beside them, or into a folder."""
    settings = Settings.from_environment()
    if distributed and not settings.nats_url:
        raise SettingsError("--distributed needs a broker: name it in NATS_URL, as in nats://host:4222")
    wanted = _formats(formats)
    request = _wish(media="media/", **options)
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
                except Exception as error:  # whatever is wrong with one file, the others go on
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
            raise JobFailed(f"{failures} of {len(files)} files gave no transcript")
        caveats.conclude()

    uvloop.run(run())


async def _convert(pipeline: Session, wish: SubmitRequest, file: Path, bars: Bars) -> str:
    """Send one file through, unless it was done before; the prefix of its transcript."""
    with bars.step(file.name, "reading"):
        sha256 = await asyncio.to_thread(previous.sha256, file)
    if not wish.force:
        before = None
        with contextlib.suppress(Denied):  # a submitter, who may not look what was done
            before = await previous.find(pipeline.connection, pipeline.store, previous.of_content(sha256), wish)
        if before:
            bars.warn(f"{one_line(file.name)} was done before as job {before.job} (--force does it again)")
            return before.transcript
    with bars.step(file.name, "sending"):
        media = await store_file(pipeline.store, file, sha256=sha256)
    job, _ = await submit(pipeline.connection, msgspec.structs.replace(wish, media=media, title=path_text(file.name)))
    try:
        state = await follow(pipeline.connection, job, bars)
    except Denied as error:
        raise Denied(f"sent as job {job}, but {error} to see it through") from error
    return state.completed.transcript if state.completed else ""  # or follow would have raised


async def _written(pipeline: Session, transcript: str, stem: Path, formats: list[str]) -> list[Path]:
    """Fetch the transcript of this prefix in `formats`, to files named after `stem`."""
    paths = [stem.parent / f"{stem.name}.{format_}" for format_ in formats]
    for path, format_ in zip(paths, formats, strict=True):
        data = await pipeline.store.get(f"{transcript}.{format_}")
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
