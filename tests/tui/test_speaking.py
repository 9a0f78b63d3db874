"""Who speaks in a job, as far as its chunks are done: names, the place of the cursor, and what it costs."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from msgspec.structs import replace

from schemas.events import Named
from schemas.message import Message, encode
from schemas.options import Options
from schemas.transcript import Doubt, Speaker
from tests.tui.still import NOW, chunk, completed, embedding, interview, spoken, stored, submitted
from tui.state import speakers
from tui.state.entries import Entry, Words, nearest
from tui.state.speakers import Said, Speakers
from tui.state.timeline import stretches
from v2t_stream.broker.requests import Stored
from v2t_stream.jobs.state import Job, fold
from v2t_stream.speakers import labels

ID = "pair-10"
Facts = list[tuple[float, Message]]


class Clock:
    """Goes on by so many seconds whenever it is read."""

    now, step = 1000.0, 0.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


class Watched:
    """A job as the monitor watches it."""

    def __init__(self, facts: Facts) -> None:
        self.job: Job = fold(ID, stored(facts))
        self.clock = Clock()
        self.words = Words()
        self.speakers = Speakers(self.clock)

    def add(self, fact: Message) -> None:
        self.job.apply(Stored(fact.subject, encode(fact), 1000, NOW))

    def match(self) -> None:
        asyncio.run(self.speakers.match(self.job))

    def entries(self) -> list[Entry]:
        known = self.job.named.people if self.job.named else ()
        names = self.speakers.names(known)
        return self.words.entries(self.job, stretches(self.job, {}), self.speakers.said, names)

    @property
    def texts(self) -> list[str]:
        return [entry.text for entry in self.entries()]


def introduced(entries: Iterable[Entry]) -> list[str]:
    return [entry.text[: entry.named] for entry in entries]


def test_the_name_stands_before_the_words_wherever_the_speaker_changes() -> None:
    """The answer seems to be in the mouth of the one who asked; or each line repeats who speaks."""
    watched = Watched(interview())
    watched.match()
    assert watched.texts[:5] == [
        "Speaker A: We begin with what was said last week about the river.",
        "Speaker B: That was the old road, not the bridge.",
        "Speaker A: And who told you about it then?",
        "Speaker B: The man at the gate.",
        "Speaker A: We begin with what was said last week about the river.",
    ]
    assert watched.speakers.said.seconds == pytest.approx({"A": 23.5, "B": 20.5}, abs=0.1)


def test_a_speaker_who_goes_on_in_the_next_chunk_is_not_named_again() -> None:
    """A talk by one person has its name every half minute."""
    facts = [(0.0, spoken(ID, n)) for n in range(2)]
    alone = [(ago, replace(each, segments=each.segments[:1], windows=each.windows[:1])) for ago, each in facts]
    watched = Watched([(60.0, submitted(ID, "A talk", options=Options(speakers="auto"))), *alone])
    watched.match()
    assert introduced(watched.entries()) == ["Speaker A: ", ""]


def test_a_speaker_is_named_again_after_words_that_are_missing() -> None:
    """Somebody else may have spoken in between, and the words seem to be the one's before."""
    last = replace(spoken(ID, 2), segments=spoken(ID, 2).segments[2:])
    watched = Watched([*interview()[:4], (0.0, chunk(ID, 1, error="out of memory")), (0.0, last)])
    watched.match()
    assert introduced(watched.entries())[-3:] == ["Speaker B: ", "", "Speaker B: "]


def test_words_whose_speaker_is_not_known_yet_are_nobodys() -> None:
    """A new chunk seems to be said by whoever spoke before, until its voices are matched."""
    watched = Watched(interview())
    assert introduced(watched.entries())[:3] == ["", "", ""]
    watched.match()
    watched.add(spoken(ID, 2))
    assert introduced(watched.entries())[-3:] == ["?: ", "", ""]
    watched.match()
    assert introduced(watched.entries())[-4:] == ["Speaker A: ", "Speaker B: ", "Speaker A: ", "Speaker B: "]


def test_names_that_somebody_gave_show_at_once_without_matching_again() -> None:
    """Who names the speakers of ten hours waits for minutes, or sees the letters for ever."""
    watched = Watched(interview())
    watched.match()
    watched.add(Named(job=ID, people=(Speaker(label="A", name="Ben Smith", voice=embedding("B")),)))
    assert introduced(watched.entries())[:2] == ["Speaker A: ", "Ben Smith: "]
    assert not watched.speakers.is_due(watched.job)


def test_what_is_doubtful_stays_marked_behind_a_name() -> None:
    """The mark of an invented word is on the name, or on a word that was said."""
    doubted = replace(spoken(ID, 0), doubtful=(Doubt(start=27.0, end=28.0, reason="repeated"),))
    watched = Watched([*interview()[:3], (0.0, doubted)])
    watched.match()
    (entry,) = (entry for entry in watched.entries() if entry.kind == "doubtful")
    assert [entry.text[first:last] for first, last in entry.doubts] == ["gate."]
    assert entry.text == "Speaker B: The man at the gate."


@pytest.mark.parametrize("at", range(6))
def test_the_cursor_stays_at_its_words_when_segments_are_split_by_speaker(at: int) -> None:
    """While somebody reads, the cursor jumps to other words with each chunk that is done."""
    watched = Watched(interview())
    before = watched.entries()
    watched.match()
    after = watched.entries()
    assert len(after) == len(before) + 2
    there = after[nearest(after, before[at])]
    assert (there.chunk, there.start) == (before[at].chunk, before[at].start)
    assert before[nearest(before, there)] is before[at]


def test_the_cursor_goes_to_the_words_of_the_chunk_that_it_waited_for() -> None:
    """A chunk is done, and the cursor is on the words before it."""
    watched = Watched(interview())
    waits = watched.entries()[-1]
    assert waits.kind == "waiting"
    watched.add(spoken(ID, 2))
    after = watched.entries()
    assert after[nearest(after, waits)].chunk == 2


def test_matching_takes_a_small_share_of_the_time() -> None:
    """A monitor that is left open on ten hours keeps a core busy."""
    watched = Watched(interview())
    watched.clock.step = 3.0
    watched.match()
    watched.clock.step = 0.0
    watched.add(spoken(ID, 2))
    watched.clock.now += 59
    assert not watched.speakers.is_due(watched.job)
    watched.clock.now += 2
    assert watched.speakers.is_due(watched.job)


def test_what_is_matched_already_is_not_matched_again() -> None:
    """A job that nothing happens to any more costs as much as one that runs."""
    watched = Watched(interview())
    assert watched.speakers.is_due(watched.job)
    watched.match()
    watched.clock.now += 1000
    assert not watched.speakers.is_due(watched.job)


def test_the_last_words_of_a_job_do_not_wait_for_their_speakers() -> None:
    """All is done, and for a minute or two the last lines say that nobody knows who speaks."""
    watched = Watched(interview())
    watched.clock.step = 3.0
    watched.match()
    watched.add(spoken(ID, 2))
    watched.add(completed(ID))
    assert watched.speakers.is_due(watched.job)


def test_nothing_is_matched_for_a_job_that_did_not_ask() -> None:
    """Every job costs what speakers do."""
    facts = [(ago, replace(fact, options=Options()) if n < 2 else fact) for n, (ago, fact) in enumerate(interview())]
    watched = Watched(facts)
    assert not watched.speakers.is_due(watched.job)
    watched.match()
    assert watched.texts[:2] == [segment.text for segment in spoken(ID, 0).segments[:2]]
    assert not any(entry.speaker for entry in watched.entries())


def test_screens_that_were_left_match_nothing_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who opens and leaves a recording of ten hours some times has as many threads at work, for half a minute each."""
    watched = [Watched(interview()) for _ in range(3)]
    begins, matches = speakers._said, labels.labelled_by_chunk
    matched: list[str] = []

    def noted(*arguments: Any) -> Any:
        matched.append(ID)
        return matches(*arguments)

    async def leave() -> None:
        loop, begun = asyncio.get_running_loop(), asyncio.Semaphore(0)

        def begin(*arguments: Any) -> Said:
            loop.call_soon_threadsafe(begun.release)
            return begins(*arguments)

        monkeypatch.setattr(speakers, "_said", begin)
        with speakers._TURN:  # another matches
            opened = [asyncio.create_task(each.speakers.match(each.job)) for each in watched]
            for _ in opened:
                await begun.acquire()
            for each in opened[:2]:
                each.cancel()
            await asyncio.gather(*opened[:2], return_exceptions=True)
        await opened[2]

    monkeypatch.setattr(labels, "labelled_by_chunk", noted)
    asyncio.run(leave())
    assert matched == [ID]
    assert watched[2].speakers.said.people


def test_a_second_matching_does_not_begin_before_the_first_ends() -> None:
    """Two pictures in a row match everything twice."""
    watched = Watched(interview())

    async def twice() -> None:
        first = asyncio.create_task(watched.speakers.match(watched.job))
        await asyncio.sleep(0)
        assert not watched.speakers.is_due(watched.job)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert watched.speakers.is_due(watched.job)  # the screen was closed and opened meanwhile

    asyncio.run(twice())
