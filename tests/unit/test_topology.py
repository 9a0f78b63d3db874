"""The table of names on the wire."""

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
)
from schemas.message import encode
from schemas.options import Options
from tests.builders import chunk, downloaded, rerun, submitted, task
from v2t_stream.topology.ids import child_id, job_id, place_of
from v2t_stream.topology.stages import STAGES
from v2t_stream.topology.streams import STREAMS
from v2t_stream.topology.subjects import but_chunks, decode, job_of, message_type, run_of


def covers(pattern: str, subject: str) -> bool:
    """NATS's own matching of a subject by a pattern."""
    wanted, tokens = pattern.split("."), subject.split(".")
    for n, want in enumerate(wanted):
        if want == ">":
            return len(tokens) > n
        if n >= len(tokens) or want not in ("*", tokens[n]):
            return False
    return len(tokens) == len(wanted)


def test_every_consumer_reads_from_a_stream_that_keeps_its_subjects() -> None:
    """Else a stage waits for ever."""
    for row in STAGES:
        for consumer in row.consumers:
            for pattern in consumer.filters:
                assert any(covers(kept, pattern) for kept in STREAMS[row.stream]["subjects"])


def test_messages_come_back_as_what_they_were() -> None:
    """Else a stage cannot read what another wrote."""
    for message, subject in (
        (task(7, "j", options=Options(accelerator="cuda")), "v2t.chunk.cuda.j.7"),
        (chunk(7, job="j"), "v2t.job.j.chunk.7"),
        (Progress(job="j", stage="convert", done=1), "v2t.job.j.progress.convert"),
        (submitted("j"), "v2t.job.j.submitted"),
    ):
        assert message.subject == subject
        assert decode(subject, encode(message)) == message
        assert (job_of(subject), run_of(subject)) == ("j", 0)


def test_what_is_made_for_a_run_says_so_in_its_subject() -> None:
    """Else a node that slept through a retry puts its old results where the new ones belong."""
    media = downloaded("j", run=2)
    for message, subject in (
        (task(7, "j", run=2), "v2t.chunk.any.j.7.2"),
        (chunk(7, job="j", run=2), "v2t.job.j.chunk.7.2"),
        (Progress(job="j", run=2, stage="convert", done=1), "v2t.job.j.progress.convert.2"),
        (media, "v2t.job.j.downloaded.2"),
        (rerun(media, 2, keeps=(1,)), "v2t.job.j.rerun.2"),
    ):
        assert message.subject == subject
        assert decode(subject, encode(message)) == message
        assert (job_of(subject), run_of(subject)) == ("j", 2)
    for message, subject in (
        (submitted("j", run=2), "v2t.job.j.submitted"),
        (Cancelled(job="j", run=2), "v2t.job.j.cancelled"),
    ):
        assert message.subject == subject


def test_the_facts_without_chunks_are_all_others() -> None:
    """Else the list of jobs shows old states, or reads all that was said in a month."""
    kinds = [Converted, Completed, Failed, Downloaded, Listed, Language]
    subjects = [kind.subject_of(job="j", run=run) for kind in kinds for run in (0, 1)]
    subjects += [Rerun.subject_of(job="j", run=1), Retried.subject_of(job="j", time=1)]
    subjects += [Progress.subject_of(job="j", stage="convert", run=run) for run in (0, 1)]
    for subject in subjects:
        assert len([pattern for pattern in but_chunks() if covers(pattern, subject)]) == 1, subject
    for run in (0, 1):
        chunk = ChunkDone.subject_of(job="j", n=3, run=run)
        assert not [pattern for pattern in but_chunks("j") if covers(pattern, chunk)]


def test_an_unknown_field_is_ignored_and_an_unknown_subject_is_nothing() -> None:
    """Else an old node fails on a new node's messages."""
    data = b'{"type":"submitted","job":"j","title":"t","from_the_future":1}'
    assert decode("v2t.job.j.submitted", data) == Submitted(job="j", title="t")
    assert message_type("v2t.job.j.polished") is None


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_job_ids_differ_and_are_one_token(one: int, other: int) -> None:
    """Else two jobs share their facts, or an id breaks its subject."""
    assert (job_id("e", one) == job_id("e", other)) == (one == other)
    assert place_of(job_id("e", one)) == (job_id("e", one), 0)
    assert job_id("e", one).isascii()
    assert not set(job_id("e", one)) & set(". *>")


@given(st.integers(1, 10**9))
def test_the_id_of_an_entry_tells_its_list_and_its_place(place: int) -> None:
    """Else a list loses its entries."""
    assert place_of(child_id("e-1", place)) == ("e-1", place)
    assert not set(child_id("e-1", place)) & set(". *>")


@given(st.text("e1_0-", min_size=1))
def test_no_other_id_is_taken_for_an_entry_s(job: str) -> None:
    """Else a stray message makes an entry that is in no list."""
    parent, place = place_of(job)
    assert job == (child_id(parent, place) if place else parent)
