"""The warnings of `v2t job status`, from a job's facts and the fleet's reports."""

import pytest
from msgspec.structs import replace

from schemas.events import Event, Listed, Progress
from schemas.options import Options
from tests.builders import chunk, converted, downloaded, failed, process, stored, submitted
from v2t_stream.jobs.state import Job, fold
from v2t_stream.monitoring.waiting import awaited, unserved, warning
from v2t_stream.topology.queues import Queue

SUBMITTED, DOWNLOADED, CONVERTED = submitted(), downloaded(), converted(chunks=2)
CUT = Progress(job="job", stage="convert", done=30.0, chunks=1)
DEAD = {"state": "restarting in 15 s, 5 failures in a row", "last_error": "ended with code 1: no room"}


def job(*facts: Event) -> Job:
    return fold("job", stored(*facts))


@pytest.mark.parametrize(
    ("facts", "stages"),
    [
        ([SUBMITTED], ["download"]),
        ([SUBMITTED, DOWNLOADED], ["convert"]),
        ([SUBMITTED, DOWNLOADED, CUT], ["convert", "transcribe"]),
        ([SUBMITTED, DOWNLOADED, CUT, chunk(0)], ["convert"]),
        ([SUBMITTED, DOWNLOADED, CONVERTED, chunk(0)], ["transcribe"]),
        ([SUBMITTED, DOWNLOADED, CONVERTED, chunk(0), chunk(1)], ["aggregate"]),
        ([SUBMITTED, failed()], []),
    ],
)
def test_a_job_waits_for_the_stages_that_have_its_work(facts: list[Event], stages: list[str]) -> None:
    """Else the user is warned about a stage that the job does not need, or not about the one it needs."""
    assert awaited(job(*facts)) == stages


def test_a_node_with_an_engine_and_services_does_remote_jobs_too() -> None:
    """Else the user is told to start a node that runs already."""
    waiting = job(submitted(options=Options(accelerator="remote", remote=True)))
    mixed = process("transcribe", accelerator="cuda", queues=("transcribe-remote",))
    assert not warning(waiting, [process("download"), mixed])
    assert "no node with remote" in warning(waiting, [process("download"), process("transcribe", accelerator="cuda")])


def test_a_stage_that_only_dies_is_warned_of() -> None:
    """Else a job stands still and nothing says why."""
    waiting = job(SUBMITTED, DOWNLOADED)
    assert warning(waiting, [process("convert", **DEAD)]) == (
        f"the stage convert is down on here, {DEAD['state']}: it ended with code 1: no room"
    )
    assert not warning(waiting, [process("convert", **DEAD), process("convert", node="two", state="busy")])
    assert not warning(job(SUBMITTED, DOWNLOADED, CONVERTED), [process("transcribe"), process("convert", **DEAD)])


def test_a_stage_that_nobody_runs_is_warned_of() -> None:
    """Else a job waits for a machine that nobody has started."""
    assert "the stage download runs nowhere: start v2t up" in warning(job(SUBMITTED), [process("convert")])


def test_an_accelerator_that_nobody_has_is_warned_of() -> None:
    """Else a job waits for ever for a card that is switched off."""
    card = Options(accelerator="cuda")
    waiting = job(submitted(options=card), downloaded(options=card), CONVERTED)
    assert "no node with cuda is alive" in warning(waiting, [process("transcribe", accelerator="cpu")])
    assert not warning(waiting, [process("transcribe", accelerator="cuda")])


def test_a_list_warns_of_what_its_entries_wait_for() -> None:
    """Else a list of a hundred recordings stands still, and its status says nothing."""
    facts = [SUBMITTED, Listed(job="job", title="t", children=1), submitted("job_1"), downloaded("job_1")]
    told = [process("download"), process("aggregate")]
    assert "the stage convert runs nowhere" in warning(job(*facts), told)
    assert not warning(job(*facts), [*told, process("convert")])


def test_a_queue_without_a_node_is_named() -> None:
    """Else doctor overlooks a missing machine, or reports one that is there."""
    queue = Queue("transcribe-remote", "transcribe", "V2T_CHUNKS", 3, 0, 0, 0, 1.0, paused=False)
    assert unserved(queue, [process("convert")]) == "no machine runs the stage transcribe"
    other = process("transcribe", accelerator="cuda")
    assert unserved(queue, [other]) == "no node with remote is alive"
    assert not unserved(queue, [replace(other, queues=("transcribe-remote", "transcribe-any"))])
    assert not unserved(queue._replace(waiting=0), [process("convert")])
