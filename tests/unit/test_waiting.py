"""The warnings of `v2t job status`, from a job's facts and the fleet's reports."""

import pytest
from msgspec.structs import replace

from schemas.events import Converted, Event, Language, Listed, Progress
from schemas.options import Options
from tests.builders import chunk, converted, downloaded, failed, process, rerun, stored, submitted
from v2t_stream.engines.offer import Offer
from v2t_stream.jobs.state import Job, fold
from v2t_stream.monitoring.waiting import ahead, awaited, unserved, wait_of, warning
from v2t_stream.topology.queues import Queue
from v2t_stream.topology.stages import STAGES, Consumer, StageRow
from v2t_stream.topology.streams import JOBS
from v2t_stream.topology.subjects import any_run

SUBMITTED, DOWNLOADED, CONVERTED = submitted(), downloaded(), converted(chunks=2)
CUT = Progress(job="job", stage="convert", done=30.0, chunks=1)
DEAD = {"state": "restarting in 15 s, 5 failures in a row", "last_error": "ended with code 1: no room"}


def job(*facts: Event) -> Job:
    return fold("job", stored(*facts))


@pytest.mark.parametrize(
    ("facts", "stages"),
    [
        ([], ["intake"]),
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


def test_a_stage_that_was_added_is_waited_for_too() -> None:
    """Else a job stands still at a stage of one's own, and nothing says that no node runs it."""
    consumer = Consumer("tag", any_run(Converted, job="*"))
    row = StageRow("tag", JOBS, (consumer,), (Language,), 30, 60, 5, 1)
    stages = (*STAGES[:-1], row, STAGES[-1])
    facts = [SUBMITTED, DOWNLOADED, CONVERTED]
    assert awaited(job(*facts), stages) == ["transcribe", "tag"]
    found = wait_of(job(*facts), [process("transcribe")], stages=stages)
    assert found
    assert found.reason.startswith("the stage tag runs nowhere: start v2t up here")
    assert awaited(job(*facts, Language(job="job", language="en")), stages) == ["transcribe"]


def test_a_retry_waits_for_what_it_does_again() -> None:
    """Else a retry looks as if it waited for a download that it does not need."""
    facts = [SUBMITTED, DOWNLOADED, CONVERTED, chunk(0), rerun(DOWNLOADED, keeps=(0,))]
    assert awaited(job(*facts)) == ["convert"]
    assert awaited(job(SUBMITTED, failed(stage="download"), rerun(SUBMITTED))) == ["download"]


def test_a_paused_queue_is_named_unless_the_job_is_past_it() -> None:
    """Else a job waits in a queue that somebody paused, and nobody knows why."""
    found = wait_of(job(SUBMITTED), [process("download")], {"download", "convert"})
    assert found == ("the queue download is paused: v2t queue resume download", True, "download")
    busy = process("download", working={SUBMITTED.subject: 1.0})
    assert wait_of(job(SUBMITTED), [busy], {"download"}) is None
    cut = job(SUBMITTED, DOWNLOADED, CONVERTED)
    assert not warning(cut, [process("transcribe")], {"download", "transcribe-cuda"})
    assert "the queue transcribe-any is paused" in warning(cut, [process("transcribe")], {"transcribe-any"})


def test_a_model_that_no_node_can_get_is_warned_of_before_a_chunk_fails() -> None:
    """Else a job stands at no chunks for minutes, while each node knows that it cannot have the model."""
    offers = (Offer(engine="faster-whisper", model="small"),)
    poor = process(offers=offers, lacking={"faster-whisper/small": "cannot fetch it: pull it"})
    waits = job(SUBMITTED)
    nodes = [process("download"), poor]
    assert wait_of(waits, nodes) == ("no node has the model; here says: cannot fetch it: pull it", True, "")
    rich = process(node="two", offers=offers)
    assert not warning(waits, [*nodes, rich])
    other = job(submitted(options=Options(model="demo")))
    assert not warning(other, nodes)


def test_without_any_node_the_advice_is_to_start_one() -> None:
    """Else a job on a broker without nodes waits in silence."""
    assert warning(job(), []).startswith("no node is up: start v2t up here")


def test_jobs_that_come_first_are_counted_once_each() -> None:
    """Else a user cannot tell a long queue from a job that hangs."""
    others = ["e1-2", "e1-z", "e1-10", "e1-3_1", "e1-3_2", "e0-1", "up-1a"]
    assert ahead("e1-11", others) == 4  # 2, z, 10 and the list 3
    assert ahead("e1-1", others) == 0


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
