"""The fold over a job's facts: the one place where a job's state is decided."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import (
    Cancelled,
    ChunkDone,
    Completed,
    Converted,
    Downloaded,
    Failed,
    Language,
    Listed,
    Progress,
    Rerun,
    Retried,
    Submitted,
    Tries,
)
from schemas.message import Message, encode
from schemas.options import Options
from schemas.transcript import Doubt, Segment, Sound, Truncated, Unheard
from v2t_stream.broker.requests import Stored
from v2t_stream.jobs.assembly import assemble
from v2t_stream.jobs.state import Job, fold, fold_all


def chunk(n: int, text: str = "", error: str = "") -> ChunkDone:
    segments = (Segment(start=30.0 * n, end=30.0 * n + 1, text=text),) if text else ()
    return ChunkDone(job="j", n=n, start=30.0 * n, end=30.0 * n + 30, segments=segments, error=error)


def audited(n: int, *starts: float) -> ChunkDone:
    """A chunk with an unheard stretch and a doubt at each of these times."""
    return ChunkDone(
        job="j",
        n=n,
        start=30.0 * n,
        end=30.0 * n + 30,
        unheard=tuple(Unheard(start=start, end=start + 2) for start in starts),
        doubtful=tuple(Doubt(start=start, end=start + 1, reason="loop") for start in starts),
    )


DOWNLOADED = Downloaded(job="j", title="Talk", source="http://x/y", media="media/j/source", size=1, seconds=1)
CONVERTED = Converted(job="j", chunks=3, duration=90, speech=80, seconds=2)
COMPLETED = Completed(job="j", transcript="transcripts/j/transcript")


def later(run: int, fact: Message) -> Message:
    """The same fact of a later run."""
    return msgspec.structs.replace(fact, run=run)


def rerun(run: int, keeps: tuple[int, ...] = (), **options: str) -> Rerun:
    media = msgspec.structs.replace(DOWNLOADED, run=run, options=Options(**options))
    return Rerun(job="j", run=run, begins=media, keeps=keeps)


EVENTS: list[Message] = [
    Submitted(job="j", title="talk", url="http://x/y"),
    DOWNLOADED,
    CONVERTED,
    *(chunk(n, text=f"words {n}") for n in range(3)),
    chunk(1, error="poison"),
    COMPLETED,
    Failed(job="j", stage="convert", reason="bad"),
    Cancelled(job="j"),
    *(Progress(job="j", stage="convert", done=10.0 * n, chunks=n) for n in range(3)),
    Progress(job="j", stage="download", done=5, total=10),
    Retried(job="j", time=1, chunks=(1,)),
    Retried(job="j", time=2, chunks=(0, 2)),
    rerun(1, keeps=(0, 2)),
    rerun(2, keeps=(0, 1)),
    rerun(3),
    *(later(1, fact) for fact in (chunk(1, "again"), chunk(2, "again"), CONVERTED, COMPLETED)),
    *(later(2, fact) for fact in (chunk(2, "once more"), Progress(job="j", stage="convert", done=7.0), COMPLETED)),
    later(3, Failed(job="j", stage="convert", reason="gone")),
    Language(job="j", language="en"),
    Tries(job="j", stage="convert", message=2, deaths=1, begun=True),
    Listed(job="j", title="A channel", children=2),
    *(Submitted(job=f"j_{n}", title=f"{n}", url=f"http://x/{n}", parent="j") for n in (1, 2)),
    Completed(job="j_1", transcript="transcripts/j_1/transcript"),
    Failed(job="j_1", stage="download", reason="gone"),
    Cancelled(job="j_2"),
    audited(1, 35.0),
    Converted(job="j", chunks=2, duration=60, speech=8, seconds=1, truncated=Truncated(declared=90, decoded=60)),
]


def stored(*events: Message) -> list[Stored]:
    return [Stored(event.subject, encode(event), n, 1000.0 + n) for n, event in enumerate(events, 1)]


@given(st.data())
def test_any_order_and_any_duplication_give_the_same_state(data: st.DataObject) -> None:
    """Else the terminal, the monitor and the aggregator disagree after a redelivery or a late join."""
    facts = stored(*data.draw(st.lists(st.sampled_from(EVENTS), max_size=20)))
    shuffled = data.draw(st.permutations(facts + data.draw(st.lists(st.sampled_from(facts or [None]), max_size=10))))
    again = fold("j", [fact for fact in shuffled if fact])
    straight = fold("j", facts)
    assert again == straight
    assert assemble(again) == assemble(straight)
    assert (again.state, again.eta, again.speed) == (straight.state, straight.eta, straight.speed)


def test_states_follow_the_way_of_a_job() -> None:
    """Else the user reads a wrong state."""
    job, seen = Job("j"), []
    submitted, downloaded, converted, *chunks = stored(
        EVENTS[0], EVENTS[1], EVENTS[2], chunk(0), chunk(1), chunk(2), EVENTS[7]
    )
    for fact in (submitted, downloaded, *chunks[:1], converted, *chunks[1:]):
        job.apply(fact)
        seen.append(job.state)
    assert seen == [
        "queued",
        "converting",
        "transcribing",
        "transcribing",
        "transcribing",
        "transcribing",
        "completed",
    ]


def test_an_end_outlives_what_arrives_late() -> None:
    """Else a cancelled job comes back to life."""
    job = fold("j", stored(EVENTS[0], Cancelled(job="j"), chunk(0), Completed(job="j", transcript="t")))
    assert job.state == "cancelled"


def test_a_job_is_whole_only_with_every_chunk() -> None:
    """Else a transcript is stored with a hole in it."""
    assert not fold("j", stored(chunk(0), chunk(1), chunk(2))).is_whole
    assert not fold("j", stored(EVENTS[2], chunk(0), chunk(2))).is_whole
    assert fold("j", stored(EVENTS[2], chunk(0), chunk(1), chunk(2))).is_whole
    assert fold("j", stored(Converted(job="j", chunks=0, duration=5, speech=0, seconds=1))).is_whole


def test_gaps_are_named() -> None:
    """Else missing words go unnoticed."""
    (gap,) = fold("j", stored(chunk(0), chunk(1, error="poison"))).gaps
    assert (gap.chunk, gap.start, gap.end, gap.reason) == (1, 30.0, 60.0, "poison")


def test_segments_come_in_the_order_of_the_media() -> None:
    """Else sentences change places when a slow machine had the first chunk."""
    job = fold("j", stored(chunk(2, "c"), chunk(0, "a"), chunk(1, "b")))
    assert [segment.text for segment in job.segments()] == ["a", "b", "c"]


def test_speed_and_eta_come_from_the_servers_clock() -> None:
    """Else a machine whose clock is wrong shows a nonsense ETA."""
    facts = stored(EVENTS[1], Converted(job="j", chunks=4, duration=120, speech=100, seconds=1), chunk(0))
    job = fold("j", facts)
    assert job.transcribed == 30
    assert job.speed == 30 / 2
    assert job.eta == 90 / 15


def test_facts_of_a_newer_release_change_nothing() -> None:
    """Else an old monitor dies on a new fleet."""
    facts = [Stored("v2t.job.j.polished", b'{"job":"j"}', 1, 1.0), Stored("v2t.job.j.failed", b'{"job":1}', 2, 1.0)]
    job = fold("j", facts)
    assert (job.failed, job.retries) == (None, 0)
    assert (job.state, job.reason) == (
        "failed",
        "this release cannot read the reason: a newer one may",
    )  # as workers see it


def test_jobs_are_kept_apart() -> None:
    """Else one job shows another's state."""
    other = Submitted(job="k", title="other", url="http://x")
    jobs = fold_all(stored(EVENTS[0], other, Failed(job="k", stage="download", reason="gone")))
    assert (jobs["j"].state, jobs["k"].state, jobs["k"].reason) == ("queued", "failed", "gone")


def test_a_retry_leaves_behind_what_it_does_not_keep() -> None:
    """Else a repaired job still shows its old failure, or loses its good chunks."""
    facts = [*EVENTS[:5], chunk(2, error="poison"), COMPLETED, rerun(1, keeps=(0, 1))]
    job = fold("j", stored(*facts))
    assert (job.state, sorted(job.chunks), job.gaps, job.retries) == ("transcribing", [0, 1], [], 1)
    facts += [later(1, fact) for fact in (CONVERTED, chunk(2, "right"))]
    job = fold("j", stored(*facts))
    assert (job.state, job.is_whole, job.gaps) == ("transcribing", True, [])
    assert [segment.text for segment in job.segments()] == ["words 0", "words 1", "right"]


def test_what_an_older_run_brings_late_changes_nothing() -> None:
    """Else a node that slept through a retry with another model mixes old words into it, or ends it too early."""
    old = [CONVERTED, chunk(0, "old"), chunk(1, "old"), Progress(job="j", stage="convert", done=3.0), COMPLETED]
    job = fold("j", stored(*EVENTS[:2], rerun(1, model="other"), *old, Failed(job="j", stage="aggregate", reason="r")))
    assert (job.state, job.chunks, job.progress, job.converted, job.options.model) == (
        "converting",
        {},
        {},
        None,
        "other",
    )
    assert not job.ended


def test_a_chunk_is_kept_through_several_retries() -> None:
    """Else the second retry loses results that were good, and the job waits for them for ever."""
    facts = [*EVENTS[:6], rerun(1, keeps=(0, 2)), later(1, chunk(1, "second")), later(1, CONVERTED)]
    facts += [rerun(2, keeps=(0, 1)), later(2, chunk(2, "third")), later(2, CONVERTED)]
    job = fold("j", stored(*facts))
    assert [segment.text for segment in job.segments()] == ["words 0", "second", "third"]
    assert (job.is_whole, job.retries) == (True, 2)


def test_a_cancellation_ends_all_runs() -> None:
    """Else a job that was cancelled and retried at the same moment comes back to life."""
    assert fold("j", stored(*EVENTS[:2], rerun(1), Cancelled(job="j"), later(1, COMPLETED))).state == "cancelled"


def test_a_job_that_was_given_a_transcript_shows_its_words() -> None:
    """Else a job shows other words than its transcript, after the job that did it before was retried."""
    later_end = Completed(job="j", run=1, transcript="transcripts/j/1/transcript")
    job = fold("j", stored(*EVENTS[:6], COMPLETED, rerun(1), later(1, chunk(0, "new")), later_end))
    assert [segment.text for segment in job.segments()] == ["new"]
    job.go_back_to(COMPLETED.transcript)
    assert [segment.text for segment in job.segments()] == ["words 0", "words 1", "words 2"]


def test_a_retry_of_release_0_1_voids_what_came_before_it_and_nothing_else() -> None:
    """Else a job that was retried before the upgrade shows its old failure, or loses the chunks that were good."""
    job = fold("j", stored(*EVENTS[:5], chunk(2, error="poison"), COMPLETED, Retried(job="j", time=1, chunks=(2,))))
    assert (job.state, sorted(job.chunks), job.gaps, job.retries) == ("transcribing", [0, 1], [], 1)


def test_unheard_and_doubtful_stretches_are_listed_by_time() -> None:
    """Else the user sees the last place first, or only one of two places."""
    job = fold("j", stored(audited(2, 70.0, 61.0), audited(0, 5.0), chunk(1, "b")))
    assert [stretch.start for stretch in job.unheard] == [5.0, 61.0, 70.0]
    assert [doubt.start for doubt in job.doubtful] == [5.0, 61.0, 70.0]


def test_a_retry_voids_what_was_found_in_its_chunks() -> None:
    """Else a chunk that was heard at the second try still counts as unheard."""
    job = fold("j", stored(audited(0, 5.0), audited(1, 35.0), Retried(job="j", time=1, chunks=(1,))))
    assert [stretch.start for stretch in job.unheard] == [5.0]
    assert [doubt.start for doubt in job.doubtful] == [5.0]
    job.apply(Stored(chunk(1).subject, encode(chunk(1, "heard")), 9, 1009.0))
    assert [stretch.start for stretch in job.unheard] == [5.0]


def test_a_recording_that_is_cut_off_says_so_until_it_is_converted_anew() -> None:
    """Else half a recording counts as all of it, or a whole one as half."""
    cut = Converted(
        job="j",
        chunks=1,
        duration=30,
        speech=20,
        seconds=1,
        truncated=Truncated(declared=60, decoded=30),
        sound=Sound(),
    )
    job = fold("j", stored(cut))
    assert (job.truncated, job.sound) == (Truncated(declared=60, decoded=30), Sound())
    job = fold("j", stored(cut, Retried(job="j", time=1, chunks=())))
    assert (job.truncated, job.sound) == (None, None)


def entry(n: int, *more: Message) -> list[Message]:
    return [Submitted(job=f"j_{n}", title=f"{n}", url=f"http://x/{n}", parent="j"), *more]


def completed(n: int) -> Message:
    return Completed(job=f"j_{n}", transcript=f"transcripts/j_{n}/transcript")


LIST: list[Message] = [EVENTS[0], Listed(job="j", title="A channel", children=2)]


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        ([*entry(1), *LIST[:1]], "queued"),
        ([*LIST], "listed"),
        ([*LIST, *entry(1, completed(1))], "listed"),
        ([*LIST, *entry(1, completed(1)), *entry(2)], "listed"),
        ([*LIST, *entry(1, completed(1)), *entry(2, completed(2))], "completed"),
        ([*LIST, *entry(1, completed(1)), *entry(2, Cancelled(job="j_2"))], "completed"),
        ([*LIST, *entry(1, Cancelled(job="j_1")), *entry(2, Cancelled(job="j_2"))], "cancelled"),
        ([*LIST, *entry(1, Cancelled(job="j_1")), *entry(2, Failed(job="j_2", stage="d", reason="gone"))], "failed"),
        ([*LIST, *entry(1), *entry(2), Cancelled(job="j")], "cancelled"),
        ([EVENTS[0], Failed(job="j", stage="download", reason="no list")], "failed"),
    ],
)
def test_a_list_is_as_its_entries_are(facts: list[Message], state: str) -> None:
    """A command that waits for a list stops too early, waits for ever, or believes that it is done."""
    assert fold("j", stored(*facts)).state == state


def test_a_list_tells_what_failed_in_it_and_when_it_ended() -> None:
    """Of a hundred videos nobody finds the one that is missing."""
    failed = Failed(job="j_2", stage="download", reason="it is private")
    job = fold("j", stored(*LIST, *entry(2, failed), *entry(1, completed(1))))
    assert job.reason == "1 of 2 entries failed, the first because it is private"
    assert job.ended_at == 1006
    assert (job.title, [part.id for part in job.parts]) == ("A channel", ["j_1", "j_2"])
    assert job.counts == {"completed": 1, "failed": 1}


def test_entries_belong_to_their_list() -> None:
    """A list and its hundred videos stand in the list of jobs as a hundred and one."""
    jobs = fold_all(stored(*entry(1), *LIST, *entry(2), Submitted(job="k", title="other", url="http://x")))
    assert sorted(jobs) == ["j", "k"]
    assert sorted(jobs["j"].children) == [1, 2]
