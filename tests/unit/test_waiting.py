"""The warnings of `v2t job status`, from a job's facts and the fleet's reports."""

import msgspec
import pytest
from msgspec.structs import replace as replaced

from schemas.events import ChunkDone, Converted, Downloaded, Event, Failed, Listed, Progress, Submitted
from schemas.message import encode
from schemas.options import Options
from v2t_stream.broker.requests import Stored
from v2t_stream.fleet.presence import NodeInfo
from v2t_stream.jobs.state import Job, fold
from v2t_stream.monitoring.waiting import awaited, unserved, warning
from v2t_stream.topology.queues import Queue

SUBMITTED = Submitted(job="j", title="t", url="http://127.0.0.1/t.mp3")
DOWNLOADED = Downloaded(job="j", title="t", source="t", media="media/j/source.mp3", size=1, seconds=1.0)
CONVERTED = Converted(job="j", chunks=2, duration=50.0, speech=40.0, seconds=1.0)
CUT = Progress(job="j", stage="convert", done=30.0, chunks=1)
DEAD = "restarting in 15 s, 5 failures in a row"


def job(*facts: Event) -> Job:
    return fold("j", [Stored(fact.subject, encode(fact), n, float(n)) for n, fact in enumerate(facts, 1)])


def chunk(n: int) -> ChunkDone:
    return ChunkDone(job="j", n=n, start=0.0, end=1.0)


def process(stage: str, state: str = "ready", accelerator: str = "", node: str = "one") -> NodeInfo:
    return NodeInfo(
        node=node,
        stage=stage,
        pid=1,
        version="1",
        state=state,
        accelerator=accelerator,
        last_error="ended with code 1: no room" if state == DEAD else "",
    )


@pytest.mark.parametrize(
    ("facts", "stages"),
    [
        ([SUBMITTED], ["download"]),
        ([SUBMITTED, DOWNLOADED], ["convert"]),
        ([SUBMITTED, DOWNLOADED, CUT], ["convert", "transcribe"]),
        ([SUBMITTED, DOWNLOADED, CUT, chunk(0)], ["convert"]),
        ([SUBMITTED, DOWNLOADED, CONVERTED, chunk(0)], ["transcribe"]),
        ([SUBMITTED, DOWNLOADED, CONVERTED, chunk(0), chunk(1)], ["aggregate"]),
        ([SUBMITTED, Failed(job="j", stage="download", reason="gone")], []),
    ],
)
def test_a_job_waits_for_the_stages_that_have_its_work(facts: list[Event], stages: list[str]) -> None:
    """Else the user is warned about a stage that the job does not need, or not about the one it needs."""
    assert awaited(job(*facts)) == stages


def test_a_node_with_an_engine_and_services_does_remote_jobs_too() -> None:
    """Else the user is told to start a node that runs already."""
    waiting = job(msgspec.structs.replace(SUBMITTED, options=Options(accelerator="remote", remote=True)))
    mixed = msgspec.structs.replace(process("transcribe", accelerator="cuda"), queues=("transcribe-remote",))
    assert not warning(waiting, [process("download"), mixed])
    assert "no node with remote" in warning(waiting, [process("download"), process("transcribe", accelerator="cuda")])


def test_a_stage_that_only_dies_is_warned_of() -> None:
    """Else a job stands still and nothing says why."""
    waiting = job(SUBMITTED, DOWNLOADED)
    assert warning(waiting, [process("convert", DEAD)]) == (
        f"the stage convert is down on one, {DEAD}: it ended with code 1: no room"
    )
    assert not warning(waiting, [process("convert", DEAD), process("convert", "busy", node="two")])
    assert not warning(job(SUBMITTED, DOWNLOADED, CONVERTED), [process("transcribe"), process("convert", DEAD)])


def test_a_stage_that_nobody_runs_is_warned_of() -> None:
    """Else a job waits for a machine that nobody has started."""
    assert "the stage download runs nowhere: start v2t up" in warning(job(SUBMITTED), [process("convert")])


def test_an_accelerator_that_nobody_has_is_warned_of() -> None:
    """Else a job waits for ever for a card that is switched off."""
    pinned = [msgspec.structs.replace(fact, options=Options(accelerator="cuda")) for fact in (SUBMITTED, DOWNLOADED)]
    waiting = job(*pinned, CONVERTED)
    assert "no node with cuda is alive" in warning(waiting, [process("transcribe", accelerator="cpu")])
    assert not warning(waiting, [process("transcribe", accelerator="cuda")])


def test_a_list_warns_of_what_its_entries_wait_for() -> None:
    """Else a list of a hundred recordings stands still, and its status says nothing."""
    entry = msgspec.structs.replace(SUBMITTED, job="j_1")
    facts = [SUBMITTED, Listed(job="j", title="t", children=1), entry, replaced(DOWNLOADED, job="j_1")]
    told = [process("download"), process("aggregate")]
    assert "the stage convert runs nowhere" in warning(job(*facts), told)
    assert not warning(job(*facts), [*told, process("convert")])


def test_a_queue_without_a_node_is_named() -> None:
    """Else doctor overlooks a missing machine, or reports one that is there."""
    queue = Queue("transcribe-remote", "transcribe", "V2T_CHUNKS", 3, 0, 0, 0, 1.0, paused=False)
    assert unserved(queue, [process("convert")]) == "no machine runs the stage transcribe"
    other = process("transcribe", accelerator="cuda")
    assert unserved(queue, [other]) == "no node with remote is alive"
    assert not unserved(queue, [replaced(other, queues=("transcribe-remote", "transcribe-any"))])
    assert not unserved(queue._replace(waiting=0), [process("convert")])
