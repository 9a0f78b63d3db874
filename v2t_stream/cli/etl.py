"""`v2t etl`: submit links, and with --wait or --follow watch them to their end."""

import asyncio
import contextlib
import shlex
from collections.abc import Iterator
from functools import partial
from itertools import starmap
from typing import Any, BinaryIO

import click
import msgspec

from schemas.requests import SubmitRequest
from v2t_stream.cli.afterwards import Afterwards, Ready, afterwards_options
from v2t_stream.cli.bars import Bars
from v2t_stream.cli.broker import mention
from v2t_stream.cli.caveats import Caveats, allow_truncated
from v2t_stream.cli.follow import JobFailed, Segments, View, follow, heading
from v2t_stream.cli.inputs import is_there
from v2t_stream.cli.loop import in_loop
from v2t_stream.cli.options import transcription_options, wish
from v2t_stream.cli.started import Started, started
from v2t_stream.cli.waiting import fleet_shown, patience
from v2t_stream.errors import Denied, Reject, SettingsError
from v2t_stream.jobs.assembly import stored
from v2t_stream.jobs.formats import render
from v2t_stream.jobs.lists import read
from v2t_stream.jobs.once import message_ids
from v2t_stream.jobs.state import Job
from v2t_stream.jobs.submission import check
from v2t_stream.runtime.session import Session, session
from v2t_stream.settings import Settings
from v2t_stream.text import one_line, path_text, without_secrets


@click.command()
@click.argument("links", nargs=-1, metavar="[URL]...")
@click.option("--url", "urls", multiple=True, help="The same as an argument.")
@click.option("--file", type=click.File("rb"), help="A file with one link per line; - reads standard input.")
@click.option("--limit", type=click.IntRange(min=1), help="Take at most this many entries of each playlist or channel.")
@transcription_options
@allow_truncated
@click.option(
    "--wait",
    is_flag=True,
    help="Show progress until the job is done, then print the transcript. Ctrl-C cancels the job.",
)
@click.option("--follow", "following", is_flag=True, help="Print segments in order, each as soon as it is final.")
@afterwards_options
def etl(
    links: tuple[str, ...],
    urls: tuple[str, ...],
    file: BinaryIO | None,
    *,
    limit: int | None,
    allow_truncated: bool,
    wait: bool,
    following: bool,
    afterwards: Afterwards,
    **options: Any,
) -> None:
    """Transcribe the media at links: pages that yt-dlp knows, playlists, media files, objects in a bucket (s3://…)."""
    settings = Settings.from_environment()
    mention(settings, always=True)
    asked = wish(limit=limit, **options)
    requests = _requests((*links, *urls), file, asked)

    async def run() -> None:
        async with session(settings, work=True, options=asked) as pipeline, started(pipeline) as mine:
            staying = wait or following or bool(afterwards) or pipeline.local
            jobs = await _submitted(pipeline, mine, settings, requests, staying=staying)
            if not staying:
                return
            if not (wait or following or afterwards):
                click.echo("no v2t up runs here: waiting until the job is done", err=True)
            caveats = Caveats(partial(click.echo, err=True), allow_truncated=allow_truncated)
            await _see_through(pipeline, jobs, caveats, afterwards, following=following)

    in_loop(run())


async def _submitted(
    pipeline: Session, mine: Started, settings: Settings, requests: list[SubmitRequest], *, staying: bool
) -> list[str]:
    """Submit the requests; returns their jobs. Where this command stays, their names go to stderr."""
    jobs = []
    for request, message_id in zip(requests, message_ids(settings.home, requests), strict=True):
        job, duplicate = await mine.submit(request, message_id=message_id)
        if duplicate and await _came_to_nothing(pipeline, job):
            (again,) = message_ids(settings.home, [request], anew=True)
            job, duplicate = await mine.submit(request, message_id=again)
        jobs.append(job)
        if duplicate:
            link = without_secrets(request.url or "")
            click.echo(f"{link} was already submitted in the last two minutes: this is its job", err=True)
        click.echo(f"job {job}" if staying else job, err=staying)
    return jobs


async def _came_to_nothing(pipeline: Session, job: str) -> bool:
    """Whether a job has ended without a transcript, so that whoever submits the same again means a new one."""
    with contextlib.suppress(Denied):  # some roles may not look
        return (await read(pipeline.connection, job)).state in ("cancelled", "failed")
    return False


def _requests(urls: tuple[str, ...], file: BinaryIO | None, asked: SubmitRequest) -> list[SubmitRequest]:
    """`asked` for each link, once. If one link is wrong, nothing is submitted."""
    for url in urls:
        _check_is_no_file(url)
        check(msgspec.structs.replace(asked, url=url))
    links = dict.fromkeys([*urls, *(_links(file, asked) if file else [])])
    if not links:
        raise click.UsageError("give a link, or a --file with links")
    return [msgspec.structs.replace(asked, url=url) for url in links]


def _check_is_no_file(word: str) -> None:
    if "://" not in word and is_there(word):
        name = path_text(word)
        raise SettingsError(f"{one_line(name)} is not a link: v2t convert {shlex.quote(name)} transcribes files")


def _links(file: BinaryIO, asked: SubmitRequest) -> Iterator[str]:
    """The links of a file, one per line; blank lines and lines that begin with # are skipped."""
    name = one_line(file.name)
    for number, line in enumerate(file, 1):
        try:
            link = line.decode("utf-8-sig").strip()
            if link and not link.startswith("#"):
                check(msgspec.structs.replace(asked, url=link))
                yield link
        except UnicodeDecodeError:
            raise SettingsError(f"line {number} of {name} is not UTF-8 text: put one link on each line") from None
        except Reject as error:
            raise SettingsError(f"line {number} of {name}: {error}") from error


async def _see_through(
    pipeline: Session, jobs: list[str], caveats: Caveats, afterwards: Afterwards, *, following: bool
) -> None:
    """Show the jobs until all have ended, then print their transcripts in order. Raises JobFailed and CutOff."""
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

        async with fleet_shown(pipeline.connection, bars, patience(pipeline)):
            failures = [failure for failure in await asyncio.gather(*starmap(one, enumerate(jobs))) if failure]
    for job in jobs:
        state = await read(pipeline.connection, job)
        await _print(pipeline, state, caveats, titled=several or bool(state.listed), following=following)
        for part in state.parts:
            if part.completed:
                await afterwards.run(Ready(part.id, part.title), click.echo, partial(click.echo, err=True))
    if failures:
        raise JobFailed(f"{len(failures)} of {len(jobs)} jobs failed") if several else failures[0]
    caveats.conclude()


async def _print(pipeline: Session, state: Job, caveats: Caveats, *, titled: bool, following: bool) -> None:
    """Print the transcripts of a job, except those that were already printed segment by segment."""
    for part in state.parts:
        if not part.completed:
            continue
        record = await stored(pipeline.store, part.transcript)
        if part.completed.of or not following:
            if titled:
                click.echo(heading(part))
            click.echo(render(record, "txt"), nl=False)
        caveats.tell(part.title, record)
