"""What the table and a job's own screen say of a job that does not go on."""

import pytest

from schemas.events import Failed
from schemas.message import Message
from schemas.options import Options
from tests.tui.pictures import picture
from tests.tui.still import chunk, converted, downloaded, node, queue, shown, stored, submitted
from tui.feed import Around
from tui.state.holds import hold
from tui.state.picture import Picture
from v2t_stream.jobs.state import Job, fold
from v2t_stream.monitoring.waiting import ahead

STAGES = [node("m4", stage) for stage in ("intake", "download", "convert", "aggregate")]
Facts = list[tuple[float, Message]]
QUEUED: Facts = [(60.0, submitted("a-1", "A talk"))]
CUT: Facts = [*QUEUED, (50.0, downloaded("a-1", "A talk")), (20.0, converted("a-1", 3)), (9.0, chunk("a-1", 0))]


def job(facts: Facts) -> Job:
    return fold("a-1", stored(facts))


@pytest.mark.parametrize(
    ("facts", "paused", "word"),
    [
        (QUEUED, "download", "paused"),
        (QUEUED, "transcribe-any", None),
        (CUT, "transcribe-any", "paused"),
        (CUT, "transcribe-cuda", None),
    ],
    ids=["its queue", "a later one", "chunks", "chunks for other hardware"],
)
def test_a_job_whose_queue_is_paused_says_so(facts: Facts, paused: str, word: str | None) -> None:
    """Somebody paused a queue last week, and everybody else looks for a broken machine."""
    around = Around([*STAGES, node("m4")], [queue(paused, paused.partition("-")[0], paused=True)])
    found = hold(job(facts), around, ahead=0)
    assert (found.word if found else None) == word
    if found:
        assert f"v2t queue resume {paused}" in found.sentence


def test_a_job_that_nobody_can_do_says_what_to_start() -> None:
    """It stands in the queue, and nothing says that it will stand there for ever."""
    found = hold(
        job([(60.0, submitted("a-1", "A talk", options=Options(accelerator="cuda")))]), Around(STAGES), ahead=2
    )
    assert found
    assert (found.word, found.passes) == ("waiting!", False)
    assert "transcribe" in found.sentence or "cuda" in found.sentence


def test_a_job_in_turn_is_no_trouble() -> None:
    """A fair share looks like a stuck job, and is cancelled."""
    busy = node("m4", working={"v2t.chunk.any.b-2.5": 1.0, "v2t.chunk.any.c-3.0": 1.0})
    found = hold(job(CUT), Around([*STAGES, busy]), ahead=0)
    assert found
    assert (found.word, found.passes) == ("takes turns", True)
    assert "2 other jobs" in found.sentence
    mine = node("m4", working={"v2t.chunk.any.a-1.1": 1.0, "v2t.chunk.any.c-3.0": 1.0})
    assert hold(job(CUT), Around([*STAGES, mine]), ahead=0) is None


def test_the_jobs_before_it_in_its_queue_are_counted() -> None:
    """Nobody can tell whether the turn comes in a minute or tomorrow."""
    picture = Picture()
    jobs = [f"inbox-{n}" for n in ("9", "a", "z", "10")]  # in the order in which the inbox numbers them
    facts: Facts = [(60.0, submitted(job, "A talk")) for job in jobs]
    picture.apply([*stored(facts), None])
    picture.refresh()
    unfinished = [*jobs]

    def counted() -> list[int]:
        return [picture.ahead(found) for job in jobs if (found := picture.job(job))]

    assert counted() == [ahead(job, unfinished) for job in jobs] == [0, 1, 2, 3]
    picture.apply(stored([*facts, (9.0, Failed(job="inbox-a", stage="download", reason="gone"))])[-1:])
    picture.refresh()
    assert counted() == [0, 0, 1, 2]


async def test_the_table_and_the_job_say_what_holds_it_up() -> None:
    """What is known is not shown where people look."""
    async with shown() as (app, settle, pilot):
        facts: Facts = [(60.0, submitted("a-1", "The first")), (30.0, submitted("a-2", "The second"))]
        app.tell(facts)
        app.look(nodes=[*STAGES, node("m4")])
        await settle()
        assert "1 job ahead" in picture(app)
        app.look(nodes=[*STAGES, node("m4")], queues=[queue("download", "download", paused=True)])
        await settle()
        assert "paused" in picture(app)
        await pilot.press("enter")
        await settle()
        app.tell(facts[1:], "a-2")
        await settle()
        assert "v2t queue resume download" in " ".join(picture(app).split())
