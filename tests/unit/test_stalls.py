"""What a job lacks to be able to end, from its facts and waiting messages: pure, so all cases can be tested."""

from typing import Literal

import pytest

from schemas.events import Cancelled, ChunkDone, Retried
from schemas.message import Message
from tests.builders import chunk, completed, converted, downloaded, failed, later, rerun, stored, submitted
from v2t_stream.broker.requests import Stored
from v2t_stream.jobs.state import fold
from v2t_stream.runtime.stalls import Around, Doubt, Queued, Results, Stall, stall_of

SUBMITTED, DOWNLOADED, CONVERTED = submitted(), downloaded(), converted(chunks=3)
CHUNKS = [chunk(n) for n in range(3)]
NOWHERE = Queued(100, 100)  # all there is was delivered and acked
WAITING = Queued(0, 0)
DELIVERED = Queued(0, 100, ack_wait=30)  # and not all of it is acked
DOUBT = Doubt(DELIVERED)


def lack(
    *facts: Message,
    download: Queued = NOWHERE,
    convert: Queued = NOWHERE,
    aggregate: Queued = NOWHERE,
    tasks: tuple[int, ...] = (),
    run: int = 0,
    held: tuple[str, ...] = (),
) -> Stall | None:
    """What the job of these facts, numbered from 1, lacks."""
    told = stored(*facts)
    results = {fact.n: at.sequence for fact, at in zip(facts, told, strict=True) if isinstance(fact, ChunkDone)}
    around = Around({("job", run): tasks}, {"download": download, "convert": convert, "aggregate": aggregate}, held)
    others = [at for fact, at in zip(facts, told, strict=True) if not isinstance(fact, ChunkDone)]
    return stall_of(fold("job", others), Results(results, max(results.values(), default=0)), around)


@pytest.mark.parametrize(
    ("stage", "facts"), [("download", (SUBMITTED,)), ("convert", (SUBMITTED, DOWNLOADED)), ("convert", (DOWNLOADED,))]
)
def test_a_job_whose_message_is_lost_is_found(
    stage: Literal["download", "convert"], facts: tuple[Message, ...]
) -> None:
    """Else it hangs for ever, or a job that waits or is in progress starts again each minute."""
    trigger = facts[-1].subject
    queues: dict[str, Queued]
    for queue, expected in (
        (NOWHERE, Stall(stage, len(facts))),
        (WAITING, None),
        (DELIVERED, Stall(stage, len(facts), doubt=DOUBT)),
    ):
        queues = {stage: queue}
        assert lack(*facts, **queues) == expected  # type: ignore[arg-type]
        assert lack(*facts, held=(trigger,), **queues) is None  # type: ignore[arg-type]


def test_chunks_with_neither_result_nor_task_are_found() -> None:
    """Else a job whose chunks were purged shows an ETA for ever."""
    before = (SUBMITTED, DOWNLOADED, CONVERTED)
    assert lack(*before) == Stall("chunks", 2, frozenset({0, 1, 2}))
    assert lack(*before, CHUNKS[1], tasks=(2,)) == Stall("chunks", 2, frozenset({0}))
    assert lack(*before, CHUNKS[1], tasks=(0, 2)) is None
    # A stray result stands for no other chunk's.
    assert lack(*before, *CHUNKS[:2], chunk(7)) == Stall("chunks", 2, frozenset({2}))


def test_chunks_that_are_being_cut_again_are_left_alone() -> None:
    """Else a long file is begun anew again and again, and never gets to its end."""
    again = (SUBMITTED, CONVERTED, DOWNLOADED)  # sent once more after it was converted
    assert lack(*again, convert=WAITING) is None
    assert lack(*again, convert=DELIVERED) == Stall("chunks", 3, frozenset({0, 1, 2}), DOUBT)
    assert lack(*again, held=(DOWNLOADED.subject,)) is None
    assert lack(*again) == Stall("chunks", 3, frozenset({0, 1, 2}))
    # Of the first time its end is a fact, whatever else is in work there.
    assert lack(SUBMITTED, DOWNLOADED, CONVERTED, convert=DELIVERED) == Stall("chunks", 2, frozenset({0, 1, 2}))


def test_a_job_that_nobody_puts_together_is_found() -> None:
    """Else all words exist but never become a transcript."""
    whole = (SUBMITTED, DOWNLOADED, CONVERTED, *CHUNKS)
    assert lack(*whole) == Stall("aggregate", 6)
    assert lack(*whole, aggregate=Queued(0, 5)) is None
    assert lack(*whole, aggregate=DELIVERED) == Stall("aggregate", 6, doubt=DOUBT)
    assert lack(*whole, held=(CHUNKS[0].subject,)) is None
    assert lack(DOWNLOADED, converted(chunks=0)) == Stall("aggregate", 2)


def test_what_cannot_be_put_right_is_found() -> None:
    """Else a job without a beginning is shown as running for ever."""
    assert lack(CONVERTED) == Stall("beginning", 1)
    assert lack(CHUNKS[0]) == Stall("beginning")


def test_a_retry_whose_message_is_lost_is_found() -> None:
    """Else facts of the run before hide that the new one is stuck, and it hangs for ever."""
    before = (SUBMITTED, DOWNLOADED, CONVERTED, failed())
    again = rerun(DOWNLOADED, keeps=(0, 1))
    assert lack(*before, again, run=1) == Stall("convert", 5)
    assert lack(*before, again, run=1, convert=WAITING) is None
    assert lack(*before, again, run=1, held=(again.subject,)) is None
    cut = later(1, CONVERTED)
    assert lack(*before, again, cut, run=1) == Stall("chunks", 5, frozenset({0, 1, 2}))
    assert lack(*before, again, cut, run=1, tasks=(0, 1, 2)) is None
    assert lack(*before, again, cut, run=0, tasks=(0, 1, 2)) == Stall("chunks", 5, frozenset({0, 1, 2}))
    assert lack(SUBMITTED, failed(stage="download"), rerun(SUBMITTED), run=1) == Stall("download", 3)


def test_a_retry_that_release_0_1_broke_off_is_found() -> None:
    """Else the job loses its end and never gets a new one."""
    assert lack(SUBMITTED, DOWNLOADED, failed(), Retried(job="job", time=1, chunks=())) == Stall("convert", 2)


@pytest.mark.parametrize("end", [completed(), failed(), Cancelled(job="job")])
def test_a_job_that_has_ended_lacks_nothing(end: Message) -> None:
    """Else a finished job starts again."""
    assert lack(SUBMITTED, DOWNLOADED, CONVERTED, end) is None


def test_what_a_newer_release_began_is_left_to_its_nodes() -> None:
    """Else a fleet in the middle of an upgrade fails the jobs of its new nodes."""
    job = fold("job", [Stored(SUBMITTED.subject, b'{"type":"submitted","job":"job","title":7}', 1, 0.0)])
    queues = dict.fromkeys(("download", "convert", "aggregate"), NOWHERE)
    assert stall_of(job, Results(), Around({}, queues, (), has_others=True)) is None
    assert stall_of(job, Results(), Around({}, queues, ())) == Stall("beginning", 1)
