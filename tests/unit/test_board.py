"""What the HTTP server knows of all jobs, and how it tells many listeners at once."""

import asyncio
from typing import Any, cast

import pytest

from schemas.events import Cancelled, Listed, Tries
from schemas.message import Message
from schemas.speakers import Voice, Window
from tests import builders
from v2t_stream.broker.requests import Stored
from v2t_stream.jobs.state import fold, fold_all
from v2t_stream.serve.board import Board
from v2t_stream.serve.facts import event_of
from v2t_stream.serve.fresh import Fresh, Kept
from v2t_stream.serve.listening import Listeners
from v2t_stream.serve.tail import Event, Tail


def board(*facts: Message) -> Board:
    """A board that has read these facts, one a second."""
    made = Board(cast("Any", None))  # it asks no broker in these tests
    made._show(fold_all(builders.stored(*facts)), len(facts))
    return made


def ids(found: Any) -> list[str]:
    return [job.id for job in found]


def stored(fact: Message, sequence: int) -> Stored:
    (one,) = builders.stored(fact)
    return one._replace(sequence=sequence, at=1000.0 + sequence)


async def test_jobs_are_in_the_order_of_their_submission() -> None:
    """The newest job is on page five, or on no page."""
    made = board(builders.submitted("a"), builders.submitted("b"), builders.failed("a"), builders.submitted("c"))
    assert ids(made.newest_first()) == ["c", "b", "a"]
    await made._hear(stored(builders.failed("d"), 9))  # refused before it was a job
    await made._hear(stored(builders.failed("b"), 10))
    assert ids(made.newest_first()) == ["d", "c", "b", "a"]
    assert ids(made.newest_first("c")) == ["b", "a"]
    with pytest.raises(KeyError):
        made.newest_first("x")


async def test_removed_jobs_are_not_shown_but_known() -> None:
    """What somebody has removed for good comes back on the page."""
    made = board(builders.submitted("a"), builders.failed("a"))
    await made._hear(stored(Cancelled(job="a", removed=True), 9))
    assert ids(made.newest_first()) == []
    found = made.find("a")
    assert found
    assert found.removed


async def test_jobs_whose_facts_have_expired_are_forgotten() -> None:
    """A server that runs for months fills its memory with what nobody else knows any more."""
    made = board(builders.submitted("a"), builders.submitted("b"), builders.failed("a"))  # at 1001, 1002 and 1003
    made.drop_older(1002.5)
    assert ids(made.newest_first()) == ["a"]
    assert made.find("b") is None
    made.drop_older(1003.5)
    assert ids(made.newest_first()) == []


async def test_the_results_of_a_job_that_has_ended_take_no_memory() -> None:
    """Each finished job of ten hours keeps its thousands of results for as long as the server runs."""
    made = board(builders.submitted(), builders.downloaded())
    for n in range(3):
        await made._hear(stored(builders.chunk(n), 10 + n))
    job = made.find("job")
    assert job
    assert len(job.chunks) == 3
    await made._hear(stored(builders.converted(chunks=3), 20))
    await made._hear(stored(builders.completed(), 21))
    assert (job.state, len(job.chunks), len(job.sequences)) == ("completed", 0, 4)


async def test_only_what_changed_is_told_when_the_stream_is_read_again() -> None:
    """After each hiccup of the broker, every page is sent thousands of jobs."""
    facts = [builders.submitted("a"), builders.submitted("b")]
    made = board(*facts)
    with made.listeners.to_all() as listener:
        made._show(fold_all(builders.stored(*facts, builders.failed("b"), builders.submitted("c"))), 4)
        assert sorted(await listener.changed()) == ["b", "c"]


async def test_a_listener_that_does_not_look_holds_each_job_once() -> None:
    """A page on a sleeping phone fills the server's memory."""
    listeners = Listeners()
    with listeners.to_all() as listener, listeners.to_all(of="l") as to_list:
        for n in range(1000):
            listeners.note(f"l_{n % 3 + 1}", "l", stored(builders.submitted("x"), n + 1))
        assert await listener.changed() == ["l"]
        assert sorted(await to_list.changed()) == ["l_1", "l_2", "l_3"]
    assert not listeners._listeners


def test_a_tail_is_bounded_and_says_from_where_on_it_knows_all() -> None:
    """A job of a hundred hours fills the memory, or a client misses what did not fit."""
    tail = Tail(floor=5)
    assert tail.after(5) == []
    assert tail.after(4) is None
    for n in range(6, 1000):
        tail.put(Event(n, b"x"))
    assert tail.after(tail.floor - 1) is None
    known = tail.after(tail.floor)
    assert known
    assert [event.sequence for event in known] == list(range(tail.floor + 1, 1000))
    assert len(known) < 500
    for n in range(1000, 1020):
        tail.put(Event(n, b"x" * 500_000))
    assert sum(len(event.text) for event in tail.after(tail.floor) or ()) <= 1 << 20
    tail.reset(2000)
    assert (tail.after(2000), tail.after(1999)) == ([], None)


async def test_whoever_looks_after_taking_the_bell_misses_nothing() -> None:
    """A client waits fifteen seconds for a word that has long come."""
    tail = Tail(0)
    bell = tail.bell()
    tail.put(Event(1, b"x"))
    async with asyncio.timeout(1):
        await bell.wait()


def test_events_have_no_voices_and_no_places_of_secrets() -> None:
    """Prints of voices, or the place of a link's password, leave the pipeline."""
    window = Window(0, 1, (Voice(0, ((0, 1),), 1.0, b"print"),))
    begins = builders.submitted(link="media/job/link")
    for fact in (builders.chunk(windows=(window,)), begins, builders.rerun(begins)):
        event = event_of(stored(fact, 7))
        assert event
        assert event.text.startswith(b"event: ")
        assert b"\nid: 7\ndata: {" in event.text
        assert b"print" not in event.text
        assert b"media/job/link" not in event.text
        assert event.text.count(b"\n") == 4


@pytest.mark.parametrize("data", [b"{", b'{"type":"submitted"}', b"\xff", b""])
def test_a_damaged_fact_is_no_event(data: bytes) -> None:
    """One bad message ends the stream of everyone who follows the job."""
    assert event_of(Stored("v2t.job.job.submitted", data, 1, 0.0)) is None
    assert event_of(Stored("v2t.job.job.novelty", data, 1, 0.0)) is None
    assert event_of(stored(Tries(job="job", stage="convert", message=1), 1)) is None


async def test_a_value_is_made_once_for_all_who_ask_and_again_after_a_failure() -> None:
    """Two hundred clients make two hundred requests to the broker, or one failure stays for ever."""
    made = 0

    async def make() -> int:
        nonlocal made
        made += 1
        await asyncio.sleep(0)
        if made == 1:
            raise ValueError
        return made

    fresh = Fresh(make, 1000)
    assert fresh.latest(0) == 0
    found = await asyncio.gather(*(fresh.get() for _ in range(5)), return_exceptions=True)
    assert {type(each) for each in found} == {ValueError}
    assert await asyncio.gather(*(fresh.get() for _ in range(5))) == [2] * 5
    assert fresh.latest(0) == 2


def test_a_kept_value_is_made_anew_with_each_version_and_there_are_not_too_many() -> None:
    """A page shows what was, or the server keeps every answer it ever gave."""
    kept: Kept[list[int]] = Kept(2)
    first = kept.get("a", 1, list)
    assert kept.get("a", 1, list) is first
    assert kept.get("a", 2, list) is not first
    for name in ("b", "c"):
        kept.get(name, 1, list)
    assert list(kept._values) == ["b", "c"]


def test_the_state_of_a_list_follows_its_entries() -> None:
    """A list stays as it was when somebody first looked at it."""
    facts = builders.stored(
        builders.submitted("l"),
        Listed(job="l", title="A podcast", children=2),
        builders.submitted("l_1", parent="l"),
        builders.failed("l_1"),
    )
    job = fold("l", facts)
    assert job.state == "listed"
    for fact in builders.stored(builders.completed("l_2")):
        job.apply(fact)
    assert job.state == "failed"
    job.apply(stored(builders.completed("l_1"), 99))
    assert (job.children[1].state, job.state) == ("completed", "completed")
