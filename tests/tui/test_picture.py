"""The table's state: the same for early and late viewers, and no larger for more words."""

import random
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.events import Cancelled, Rerun
from schemas.message import Message
from tests.tui.still import chunk, done, downloaded, everything, running, stored
from tui.state.picture import Picture
from tui.state.rows import Row, ordered, wanted
from v2t_stream.broker.requests import Stored


def rows(picture: Picture) -> set[Row]:
    picture.refresh()
    return {*picture.rows(), *picture.rows("list-6")}


def is_chunk(fact: Stored) -> bool:
    return ".chunk." in fact.subject


def standing(facts: Iterable[Stored]) -> list[Stored]:
    """What the stream still holds: the latest on each subject."""
    latest = {fact.subject: fact for fact in facts}
    return sorted(latest.values(), key=lambda fact: fact.sequence)


def joined(facts: list[Stored], at: int) -> Picture:
    """Of somebody who joins when so many facts are stored: the history without chunks, those that count, then live."""
    picture = Picture()
    history = standing(facts[:at])
    picture.apply([*(fact for fact in history if not is_chunk(fact)), None])
    picture.refresh()
    wanted_ = picture.uncounted()
    picture.apply(fact for fact in history if is_chunk(fact) and fact.subject.split(".")[2] in wanted_)
    for fact in facts[at:]:
        picture.apply([fact])
        picture.refresh()
        if later := picture.uncounted():
            held = standing(facts[: facts.index(fact) + 1])
            picture.apply(one for one in held if is_chunk(one) and one.subject.split(".")[2] in later)
    return picture


FACTS: list[tuple[float, Message]] = [
    *everything(),
    *[(10.0, chunk("talk-2", n)) for n in range(3)],
    (9.0, Rerun(job="talk-2", run=1, begins=replace(downloaded("talk-2", "A talk"), run=1), keeps=(0, 1))),
    (8.5, chunk("talk-2", 2)),
    (8.0, replace(chunk("talk-2", 2), run=1)),
    (7.0, Cancelled(job="sea-3")),
]


@given(st.integers(0, len(FACTS)))
def test_a_monitor_opened_late_shows_the_same_as_one_that_was_open(at: int) -> None:
    """Two people look at the same broker and see different jobs."""
    facts = stored(FACTS)
    assert rows(joined(facts, at)) == rows(joined(facts, 0))


def test_a_removed_job_leaves_the_table() -> None:
    """A job that was removed for good stands in every open monitor as cancelled, and comes back in the next."""
    facts = stored([*FACTS, (6.0, Cancelled(job="talk-2", removed=True))])
    for at in (0, len(facts)):
        assert "talk-2" not in {row.id for row in rows(joined(facts, at))}


def test_the_words_are_not_kept() -> None:
    """A monitor that is left open for a week holds all that was said in it."""
    picture = Picture()
    picture.apply([None, *stored(running())])
    job = picture.job("sea-3")
    assert job
    assert len(job.chunks) == 4
    assert not list(job.segments())
    picture.apply(stored([*running(), *done("sea-3", "sea", 10)]))
    picture.refresh()
    assert not job.chunks


def test_rows_are_found_and_ordered() -> None:
    """A filter shows what was not asked for, or nothing can be put in order."""
    picture = Picture()
    picture.apply([*stored(everything()), None])
    picture.refresh()
    found = list(picture.rows())
    assert [row.id for row in wanted(found, "all", "BRÜCKEN  talk-2")] == ["talk-2"]
    assert {row.id for row in wanted(found, "running", "")} == {"sea-3", "list-6", "down-7"}
    random.Random(1).shuffle(found)
    ages = [row.started_at for row in ordered(found, "age", descending=False)]
    assert ages == sorted(ages, key=lambda at: at or 0.0, reverse=True)
    for by in ("state", "title", "source", "lang", "length", "progress", "chunks", "speed", "eta"):
        assert ordered(found, by, descending=False) != ordered(found, by, descending=True), by
