"""`v2t job list`: all jobs, or those that the user looks for."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import click

from v2t_stream.cli.job_view import print_jobs
from v2t_stream.cli.output import echo_json, is_terminal, json_option
from v2t_stream.cli.run import in_session
from v2t_stream.jobs.lists import history
from v2t_stream.jobs.state import Job, fold_all
from v2t_stream.jobs.summary import short
from v2t_stream.jobs.wanted import STATES, Wanted, since_of
from v2t_stream.runtime.session import Session
from v2t_stream.text import one_line
from v2t_stream.topology.ids import place_of
from v2t_stream.topology.subjects import but_chunks, results_of
from v2t_stream.units import counted

_ON_A_SCREEN: Final = 30  # jobs that a terminal shows unless the user says how many


class Since(click.ParamType):  # type: ignore[type-arg]  # the oldest click that will do is not generic
    """An age such as 2h or 3d, or a local date, as Unix seconds."""

    name = "age or date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            return since_of(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command("list")
@click.option(
    "--state", "states", multiple=True, type=click.Choice(STATES), help="Only jobs in this state; may be repeated."
)
@click.option(
    "--since", "--age", "since", type=Since(), help="Only jobs submitted since then: 30min, 2h, 3d, or a date."
)
@click.option("--title", default="", help="Only jobs with this text in their title or link.")
@click.option("--limit", type=click.IntRange(min=1), help=f"At most so many; by default {_ON_A_SCREEN} on a terminal.")
@json_option
def list_(*, states: tuple[str, ...], since: float | None, title: str, limit: int | None, as_json: bool) -> None:
    """List jobs, the newest first. completed! marks an incomplete transcript.

    When the output is not a terminal, every job is one line, with two blanks between columns and the title last. With
    --json the newest comes last.
    """

    async def run(pipeline: Session) -> None:
        wanted = Wanted(states, since, title.casefold())
        facts = await history(pipeline.connection, but_chunks())
        known = fold_all(facts)
        # Chunks are most of the history, and matter only for jobs that still get some.
        matching = {job.id for job in known.values() if wanted.matches(job)}
        parts = [part for id_ in matching for part in known[id_].parts]
        running = [results_of(job.id) for job in parts if job.downloaded and not job.ended]
        known = fold_all([*facts, *await history(pipeline.connection, running)])
        _tell_unread(known.values())
        jobs = [job for job in known.values() if job.id in matching and wanted.is_in_state(job)]
        jobs.sort(key=lambda job: job.started_at or 0.0)
        most = limit or (_ON_A_SCREEN if is_terminal() and not as_json else len(jobs))
        shown = jobs[max(0, len(jobs) - most) :]
        if as_json:
            echo_json([short(job) for job in shown])
            return
        if is_terminal() and not shown:
            is_new = all(job.removed for job in known.values())
            none = "no jobs yet: v2t convert or v2t etl makes one" if is_new else "no job matches"
            click.echo(none, err=True)
            return
        print_jobs(shown[::-1], durations(known))
        if not limit and len(shown) < len(jobs):
            click.echo(
                f"these are the newest {len(shown)} of {len(jobs)} jobs: --limit {len(jobs)} shows all", err=True
            )

    in_session(run)


def durations(known: Mapping[str, Job]) -> dict[str, float]:
    """The seconds of media of each job, by its id; for one that was done before, those of the job that did it."""
    found = {}
    for job in known.values():
        if seconds := job.duration or _of_other(job, known):
            found[job.id] = seconds
    return found


def _of_other(job: Job, known: Mapping[str, Job]) -> float | None:
    parent, place = place_of(job.completed.of if job.completed else "")
    other = known.get(parent)
    if other and place:
        other = other.children.get(place)
    return other.duration if other else None


def _tell_unread(jobs: Iterable[Job]) -> None:
    parts = [part for job in jobs for part in (job, *job.children.values())]
    if unread := sorted(subject for part in parts for subject in part.unread):
        said = f"{counted(len(unread), 'fact')} cannot be read, the first on {one_line(unread[0])}"
        click.echo(f"v2t: {said}", err=True)
