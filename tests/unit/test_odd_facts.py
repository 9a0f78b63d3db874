"""Facts that v2t would never write: whatever a subject holds, its readers go on."""

import contextlib
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import (
    Cancelled,
    ChunkDone,
    Completed,
    Converted,
    DeadLetter,
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
from schemas.message import Message, decode_as, encode
from schemas.transcript import Doubt, Segment, Sound, Truncated, Unheard
from tests.unit.test_jobs import stored
from tui.state.picture import Picture
from v2t_stream.broker.requests import Stored
from v2t_stream.cli.follow import Segments
from v2t_stream.cli.timeline import lines
from v2t_stream.errors import Reject
from v2t_stream.jobs.assembly import assemble
from v2t_stream.jobs.caveats import caveats
from v2t_stream.jobs.dead_letters import Dead
from v2t_stream.jobs.formats import render_all
from v2t_stream.jobs.progress import shortfalls, summed_up
from v2t_stream.jobs.state import fold, fold_all
from v2t_stream.jobs.submission import parse
from v2t_stream.jobs.summary import summary
from v2t_stream.monitoring.waiting import warning
from v2t_stream.topology.subjects import chunk_of, decode, job_of

ONE_OF_EACH: list[Message] = [
    Submitted(job="j", title="talk", url="http://x/y", limit=3, parent="p", entry=1),
    Downloaded(job="j", title="Talk", source="http://x/y", media="media/j/source", size=1, seconds=1),
    Listed(job="j", title="A channel", children=2),
    Submitted(job="j_1", title="1", url="http://x/1", parent="j"),
    Converted(
        job="j",
        chunks=2,
        duration=60,
        speech=8,
        seconds=1,
        truncated=Truncated(declared=90, decoded=60),
        sound=Sound(peak=-3, level=-20, speech=8),
    ),
    ChunkDone(
        job="j",
        n=0,
        start=0,
        end=30,
        segments=(Segment(start=0, end=2, text="words"),),
        unheard=(Unheard(start=3, end=4),),
        doubtful=(Doubt(start=5, end=6, reason="loop"),),
    ),
    ChunkDone(job="j", n=1, start=30, end=60, error="poison"),
    Language(job="j", language="en"),
    Progress(job="j", stage="download", done=5, total=10),
    Progress(job="j", stage="convert", done=5, total=10, chunks=1),
    Retried(job="j", time=1, chunks=(1,)),
    Rerun(
        job="j",
        run=1,
        begins=Downloaded(job="j", run=1, title="Talk", source="http://x/y", media="media/j/source", size=1, seconds=1),
        keeps=(0,),
        language="en",
    ),
    ChunkDone(job="j", run=1, n=1, start=30, end=60, segments=(Segment(start=31, end=32, text="again"),)),
    Tries(job="j", stage="convert", message=7, failures=2, begun=True),
    Completed(job="j", transcript="transcripts/j/transcript", segments=1, gaps=1, of="k"),
    Failed(job="j", stage="convert", reason="bad"),
    Cancelled(job="j"),
]

DEEP = b'{"type":"converted","job":"j","x":' + b"[" * 1500 + b"]" * 1500 + b"}"

odd_values = st.one_of(
    st.none(),
    st.sampled_from(
        [-1, 0, 1, 10**9, 10**18, 10**30, -(10**30), 1e308, -1e308, 5e-324, True, "", "\x1b[2J\u202e", "x" * 9000]
    ),
    st.text(max_size=20),
    st.recursive(st.none(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner)),
)


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The ways to all values within a JSON value."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield (*way, key)
        yield from places(inner, (*way, key))


@st.composite
def odd_facts(draw: st.DrawFn) -> tuple[str, bytes]:
    """A subject of ours, with bytes that fit it but for a value or two, or not at all."""
    message = draw(st.sampled_from(ONE_OF_EACH))
    subject = draw(
        st.sampled_from([message.subject, message.subject, f"{message.subject}.7", "v2t.job.j", "v2t.job.j.x"])
    )
    if draw(st.integers(0, 4)) == 0:
        return subject, draw(st.sampled_from([DEEP, b"", b"\xff", b"null", b"[]"]) | st.binary(max_size=50))
    value = msgspec.json.decode(encode(message))
    for _ in range(draw(st.integers(0, 2))):
        *way, last = draw(st.sampled_from(list(places(value))))
        holder = value
        for key in way:
            holder = holder[key]
        holder[last] = draw(odd_values)
        if way:
            break  # the places of before may be gone
    return subject, msgspec.json.encode(value)


@given(st.lists(odd_facts(), max_size=12))
def test_no_fact_breaks_what_shows_jobs(odd: list[tuple[str, bytes]]) -> None:
    """Else one forged or damaged fact breaks everything: lists, status, monitor and transcripts."""
    facts = [Stored(subject, data, n, 1000.0 + n) for n, (subject, data) in enumerate(odd, 1)]
    picture = Picture()
    picture.apply(facts)
    picture.refresh()
    list(picture.rows())
    for job in fold_all(facts).values():
        for part in (job, *job.parts):
            msgspec.json.encode(summary(part))
            assert isinstance(summed_up(part), str)
            assert isinstance(warning(part, []), str)
            shortfalls(part)
            list(lines(part, 80))
            Segments(lambda _: None).update(part)
            record = assemble(part)
            caveats(record)
            list(render_all(record))


@given(st.lists(odd_facts(), max_size=12))
def test_what_cannot_be_read_is_named(odd: list[tuple[str, bytes]]) -> None:
    """Else a fact is left out, and nobody learns why a job looks as it does."""
    facts = [Stored(subject, data, n, 1000.0 + n) for n, (subject, data) in enumerate(odd, 1)]
    for job in fold_all(facts).values():
        for part in (job, *job.children.values()):
            for fact in facts:
                if fact.sequence != part.sequences.get(fact.subject):
                    continue
                try:
                    decode(fact.subject, fact.data)
                except msgspec.DecodeError:
                    assert fact.subject in part.unread
                else:
                    assert fact.subject not in part.unread


@pytest.mark.parametrize("data", [DEEP, b"\xff\xfe", b'{"type":"nope","job":"j"}', b'{"type":"converted","job":"k"}'])
def test_what_cannot_be_read_is_one_kind_of_error(data: bytes) -> None:
    """Else each reader must know every way in which bytes can be wrong, and one forgets."""
    with pytest.raises(msgspec.DecodeError):
        decode("v2t.job.j.converted", data)


def test_a_fact_of_another_job_is_none_of_this_one() -> None:
    """Else anyone who may write one subject can change what all jobs show."""
    with pytest.raises(msgspec.ValidationError, match=r"it belongs on v2t\.job\.k\.cancelled"):
        decode("v2t.job.j.cancelled", encode(Cancelled(job="k")))


@given(st.binary(max_size=100) | st.sampled_from([DEEP, b'{"url":' + b"[" * 1500, b'{"url":"\\ud800"}']))
def test_a_submission_of_any_bytes_is_read_or_refused(data: bytes) -> None:
    """Else a user who submits nonsense gets no reason, and intake retries it for ever."""
    with contextlib.suppress(Reject):
        parse(data)


@given(st.text(max_size=30) | st.from_regex(r"v2t\.(chunk|job|dead|x)(\.[0-9a-z²٣-]{0,3}){0,5}", fullmatch=True))
def test_no_subject_breaks_the_search_for_its_job(subject: str) -> None:
    """Else one dead letter with an odd subject hides all others."""
    letter = DeadLetter(
        job="j", stage="convert", reason="r", original_subject=subject, data=b"", deliveries=1, node="n"
    )
    assert Dead(1, 1.0, letter).chunk == chunk_of(subject)
    assert isinstance(job_of(subject), str)


def test_chunks_beyond_the_last_do_not_make_a_job_whole() -> None:
    """Else a stray result replaces a missing one, and a transcript with a hole claims to be complete."""
    facts = stored(
        Converted(job="j", chunks=2, duration=60, speech=8, seconds=1),
        ChunkDone(job="j", n=0, start=0, end=30),
        ChunkDone(job="j", n=7, start=210, end=240),
    )
    assert not fold("j", facts).is_whole


def test_deeply_nested_brackets_are_reported_as_unreadable() -> None:
    """Else a few kilobytes of brackets crash every decoder."""
    with pytest.raises(msgspec.DecodeError, match="recursion"):
        decode_as(Converted, DEEP)
