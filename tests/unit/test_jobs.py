"""The fold over a job's facts: the one place where a job's state is decided."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import Cancelled, ChunkDone, Language, Listed, Progress, Rerun, Retried, Tries
from schemas.message import Message, encode
from schemas.options import Options
from schemas.transcript import Doubt, Sound, Truncated, Unheard
from tests.builders import chunk, completed, converted, downloaded, failed, later, rerun, stored, submitted
from v2t_stream.broker.requests import Stored
from v2t_stream.jobs.assembly import assemble
from v2t_stream.jobs.state import Job, fold, fold_all


def audited(n: int, *starts: float) -> ChunkDone:
    """A chunk with an unheard stretch and a doubt at each of these times."""
    return chunk(
        n,
        unheard=tuple(Unheard(start=start, end=start + 2) for start in starts),
        doubtful=tuple(Doubt(start=start, end=start + 1, reason="loop") for start in starts),
    )


SUBMITTED, DOWNLOADED, CONVERTED, COMPLETED = submitted(), downloaded(), converted(chunks=3), completed()


def again(run: int, keeps: tuple[int, ...] = (), **options: str) -> Rerun:
    return rerun(downloaded(options=Options(**options)), run, keeps=keeps)


EVENTS: list[Message] = [
    SUBMITTED,
    DOWNLOADED,
    CONVERTED,
    *(chunk(n, text=f"words {n}") for n in range(3)),
    chunk(1, error="poison"),
    COMPLETED,
    failed(),
    Cancelled(job="job"),
    *(Progress(job="job", stage="convert", done=10.0 * n, chunks=n) for n in range(3)),
    Progress(job="job", stage="download", done=5, total=10),
    Retried(job="job", time=1, chunks=(1,)),
    Retried(job="job", time=2, chunks=(0, 2)),
    again(1, keeps=(0, 2)),
    again(2, keeps=(0, 1)),
    again(3),
    *(later(1, fact) for fact in (chunk(1, "again"), chunk(2, "again"), CONVERTED, COMPLETED)),
    *(later(2, fact) for fact in (chunk(2, "once more"), Progress(job="job", stage="convert", done=7.0), COMPLETED)),
    later(3, failed(reason="gone")),
    Language(job="job", language="en"),
    Tries(job="job", stage="convert", message=2, deaths=1, begun=True),
    Listed(job="job", title="A channel", children=2),
    *(submitted(f"job_{n}", parent="job") for n in (1, 2)),
    completed("job_1"),
    failed("job_1"),
    Cancelled(job="job_2"),
    audited(1, 35.0),
    converted(chunks=2, speech=8, truncated=Truncated(declared=90, decoded=60)),
]


@given(st.data())
def test_any_order_and_any_duplication_give_the_same_state(data: st.DataObject) -> None:
    """Else the terminal, the monitor and the aggregator disagree after a redelivery or a late join."""
    facts = stored(*data.draw(st.lists(st.sampled_from(EVENTS), max_size=20)))
    shuffled = data.draw(st.permutations(facts + data.draw(st.lists(st.sampled_from(facts or [None]), max_size=10))))
    other = fold("job", [fact for fact in shuffled if fact])
    straight = fold("job", facts)
    assert other == straight
    assert assemble(other) == assemble(straight)
    assert (other.state, other.eta, other.speed) == (straight.state, straight.eta, straight.speed)


def test_states_follow_the_way_of_a_job() -> None:
    """Else the user reads a wrong state."""
    job, seen = Job("job"), []
    begun, media, cut, *chunks = stored(SUBMITTED, DOWNLOADED, CONVERTED, chunk(0), chunk(1), chunk(2), COMPLETED)
    for fact in (begun, media, *chunks[:1], cut, *chunks[1:]):
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
    job = fold("job", stored(SUBMITTED, Cancelled(job="job"), chunk(0), COMPLETED))
    assert job.state == "cancelled"


def test_a_job_is_whole_only_with_every_chunk() -> None:
    """Else a transcript is stored with a hole in it."""
    assert not fold("job", stored(chunk(0), chunk(1), chunk(2))).is_whole
    assert not fold("job", stored(CONVERTED, chunk(0), chunk(2))).is_whole
    assert fold("job", stored(CONVERTED, chunk(0), chunk(1), chunk(2))).is_whole
    assert fold("job", stored(converted(chunks=0))).is_whole


def test_gaps_are_named() -> None:
    """Else missing words go unnoticed."""
    (gap,) = fold("job", stored(chunk(0), chunk(1, error="poison"))).gaps
    assert (gap.chunk, gap.start, gap.end, gap.reason) == (1, 30.0, 60.0, "poison")


def test_segments_come_in_the_order_of_the_media() -> None:
    """Else sentences change places when a slow machine had the first chunk."""
    job = fold("job", stored(chunk(2, "c"), chunk(0, "a"), chunk(1, "b")))
    assert [segment.text for segment in job.segments()] == ["a", "b", "c"]


def test_speed_and_eta_come_from_the_servers_clock() -> None:
    """Else a machine whose clock is wrong shows a nonsense ETA."""
    facts = stored(DOWNLOADED, converted(chunks=4), chunk(0))
    job = fold("job", facts)
    assert job.transcribed == 30
    assert job.speed == 30 / 2
    assert job.eta == 90 / 15


def test_facts_of_a_newer_release_change_nothing() -> None:
    """Else an old monitor dies on a new fleet."""
    polished = Stored("v2t.job.job.polished", b'{"job":"job"}', 1, 1.0)
    job = fold("job", [polished, Stored("v2t.job.job.failed", b'{"job":1}', 2, 1.0)])
    assert (job.failed, job.retries) == (None, 0)
    assert (job.state, job.reason) == (
        "failed",
        "this release cannot read the reason: a newer one may",
    )  # as workers see it


def test_jobs_are_kept_apart() -> None:
    """Else one job shows another's state."""
    jobs = fold_all(stored(SUBMITTED, submitted("k"), failed("k", reason="gone")))
    assert (jobs["job"].state, jobs["k"].state, jobs["k"].reason) == ("queued", "failed", "gone")


def test_a_retry_leaves_behind_what_it_does_not_keep() -> None:
    """Else a repaired job still shows its old failure, or loses its good chunks."""
    facts = [*EVENTS[:5], chunk(2, error="poison"), COMPLETED, again(1, keeps=(0, 1))]
    job = fold("job", stored(*facts))
    assert (job.state, sorted(job.chunks), job.gaps, job.retries) == ("transcribing", [0, 1], [], 1)
    facts += [later(1, fact) for fact in (CONVERTED, chunk(2, "right"))]
    job = fold("job", stored(*facts))
    assert (job.state, job.is_whole, job.gaps) == ("transcribing", True, [])
    assert [segment.text for segment in job.segments()] == ["words 0", "words 1", "right"]


def test_what_an_older_run_brings_late_changes_nothing() -> None:
    """Else a node that slept through a retry with another model mixes old words into it, or ends it too early."""
    old = [CONVERTED, chunk(0, "old"), chunk(1, "old"), Progress(job="job", stage="convert", done=3.0), COMPLETED]
    job = fold("job", stored(*EVENTS[:2], again(1, model="other"), *old, failed()))
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
    facts = [*EVENTS[:6], again(1, keeps=(0, 2)), later(1, chunk(1, "second")), later(1, CONVERTED)]
    facts += [again(2, keeps=(0, 1)), later(2, chunk(2, "third")), later(2, CONVERTED)]
    job = fold("job", stored(*facts))
    assert [segment.text for segment in job.segments()] == ["words 0", "second", "third"]
    assert (job.is_whole, job.retries) == (True, 2)


def test_a_cancellation_ends_all_runs() -> None:
    """Else a job that was cancelled and retried at the same moment comes back to life."""
    assert fold("job", stored(*EVENTS[:2], again(1), Cancelled(job="job"), later(1, COMPLETED))).state == "cancelled"


def test_a_job_that_was_given_a_transcript_shows_its_words() -> None:
    """Else a job shows other words than its transcript, after the job that did it before was retried."""
    later_end = completed(run=1, transcript="transcripts/job/1/transcript")
    job = fold("job", stored(*EVENTS[:6], COMPLETED, again(1), later(1, chunk(0, "new")), later_end))
    assert [segment.text for segment in job.segments()] == ["new"]
    job.go_back_to(COMPLETED.transcript)
    assert [segment.text for segment in job.segments()] == ["words 0", "words 1", "words 2"]


def test_a_retry_of_release_0_1_voids_what_came_before_it_and_nothing_else() -> None:
    """Else a job that was retried before the upgrade shows its old failure, or loses the chunks that were good."""
    job = fold("job", stored(*EVENTS[:5], chunk(2, error="poison"), COMPLETED, Retried(job="job", time=1, chunks=(2,))))
    assert (job.state, sorted(job.chunks), job.gaps, job.retries) == ("transcribing", [0, 1], [], 1)


def test_unheard_and_doubtful_stretches_are_listed_by_time() -> None:
    """Else the user sees the last place first, or only one of two places."""
    job = fold("job", stored(audited(2, 70.0, 61.0), audited(0, 5.0), chunk(1, "b")))
    assert [stretch.start for stretch in job.unheard] == [5.0, 61.0, 70.0]
    assert [doubt.start for doubt in job.doubtful] == [5.0, 61.0, 70.0]


def test_a_retry_voids_what_was_found_in_its_chunks() -> None:
    """Else a chunk that was heard at the second try still counts as unheard."""
    job = fold("job", stored(audited(0, 5.0), audited(1, 35.0), Retried(job="job", time=1, chunks=(1,))))
    assert [stretch.start for stretch in job.unheard] == [5.0]
    assert [doubt.start for doubt in job.doubtful] == [5.0]
    job.apply(Stored(chunk(1).subject, encode(chunk(1, "heard")), 9, 1009.0))
    assert [stretch.start for stretch in job.unheard] == [5.0]


def test_a_recording_that_is_cut_off_says_so_until_it_is_converted_anew() -> None:
    """Else half a recording counts as all of it, or a whole one as half."""
    cut = converted(truncated=Truncated(declared=60, decoded=30), sound=Sound())
    job = fold("job", stored(cut))
    assert (job.truncated, job.sound) == (Truncated(declared=60, decoded=30), Sound())
    job = fold("job", stored(cut, Retried(job="job", time=1, chunks=())))
    assert (job.truncated, job.sound) == (None, None)


def entry(n: int, *more: Message) -> list[Message]:
    return [submitted(f"job_{n}", parent="job"), *more]


LIST: list[Message] = [SUBMITTED, Listed(job="job", title="A channel", children=2)]


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        ([*entry(1), *LIST[:1]], "queued"),
        ([*LIST], "listed"),
        ([*LIST, *entry(1, completed("job_1"))], "listed"),
        ([*LIST, *entry(1, completed("job_1")), *entry(2)], "listed"),
        ([*LIST, *entry(1, completed("job_1")), *entry(2, completed("job_2"))], "completed"),
        ([*LIST, *entry(1, completed("job_1")), *entry(2, Cancelled(job="job_2"))], "completed"),
        ([*LIST, *entry(1, Cancelled(job="job_1")), *entry(2, Cancelled(job="job_2"))], "cancelled"),
        ([*LIST, *entry(1, Cancelled(job="job_1")), *entry(2, failed("job_2"))], "failed"),
        ([*LIST, *entry(1), *entry(2), Cancelled(job="job")], "cancelled"),
        ([SUBMITTED, failed()], "failed"),
    ],
)
def test_a_list_is_as_its_entries_are(facts: list[Message], state: str) -> None:
    """A command that waits for a list stops too early, waits for ever, or believes that it is done."""
    assert fold("job", stored(*facts)).state == state


def test_a_list_tells_what_failed_in_it_and_when_it_ended() -> None:
    """Of a hundred videos nobody finds the one that is missing."""
    private = failed("job_2", reason="it is private")
    job = fold("job", stored(*LIST, *entry(2, private), *entry(1, completed("job_1"))))
    assert job.reason == "1 of 2 entries failed, the first because it is private"
    assert job.ended_at == 1006
    assert (job.title, [part.id for part in job.parts]) == ("A channel", ["job_1", "job_2"])
    assert job.counts == {"completed": 1, "failed": 1}


def test_entries_belong_to_their_list() -> None:
    """A list and its hundred videos stand in the list of jobs as a hundred and one."""
    jobs = fold_all(stored(*entry(1), *LIST, *entry(2), submitted("k")))
    assert sorted(jobs) == ["job", "k"]
    assert sorted(jobs["job"].children) == [1, 2]
