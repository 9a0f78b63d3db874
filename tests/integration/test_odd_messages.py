"""Messages that v2t would never send: whatever bytes arrive, on any subject, everything goes on."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from pathlib import Path

import msgspec
import nats.errors
import pytest

from schemas.chunks import ChunkTask
from schemas.events import Cancelled, ChunkDone, Failed
from schemas.message import Message, encode
from tests.acceptance.test_cli import Terminal
from tests.builders import done, failed, process, task
from tests.harness import Server
from tests.integration.test_worker import Doing, drained, fact, letters, transcribing, working
from tests.patience import PATIENCE
from tests.unit.test_odd_facts import DEEP, ONE_OF_EACH
from v2t_stream.broker.connection import Connection
from v2t_stream.errors import BrokerError, StoreChanged
from v2t_stream.fleet.presence import NodeInfo, Presence, fleet, tell
from v2t_stream.jobs.lists import history
from v2t_stream.jobs.state import State, fold_all
from v2t_stream.monitoring.survey import jobs_by_state
from v2t_stream.runtime import delivery
from v2t_stream.runtime.patience import Patience
from v2t_stream.runtime.results import Settled
from v2t_stream.topology.streams import CHUNKS, JOBS


@pytest.fixture
async def connection(nats: tuple[Server, Connection]) -> Connection:
    return nats[1]


def send(server: Server, line: bytes) -> None:
    """Send this to the server unchanged, bypassing the client's checks."""
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as plain,
        plain.makefile("rb") as answers,
    ):
        plain.sendall(b'CONNECT {"verbose":false,"headers":true}\r\n' + line + b"PING\r\n")
        while (answer := answers.readline()) != b"PONG\r\n":
            assert answer.startswith(b"INFO"), answer


@pytest.mark.parametrize(
    "line",
    [
        b"PUB v2t.job.\xff\xfe.submitted 2\r\n{}\r\n",
        b"PUB v2t.job.a\x0bb\x0cc.submitted 2\r\n{}\r\n",
        b"HPUB v2t.job.odd.submitted 2 4\r\nab{}\r\n",
        b"HPUB v2t.job.odd.submitted 16 18\r\nNATS/1.0 \xff\xfe\xfd\r\n\r\n{}\r\n",
        b"HPUB v2t.job.odd.submitted 13 15\r\nNATS/1.0 \r\n\r\n{}\r\n",
    ],
)
async def test_no_message_stops_its_reader(line: bytes, nats: tuple[Server, Connection]) -> None:
    """Else one message that any submitter can send stops a process from reading for good."""
    server, connection = nats
    send(server, line)
    await connection.publish(failed("after"))
    async with asyncio.timeout(PATIENCE):
        jobs = fold_all(await history(connection, ["v2t.job.>"]))
    assert jobs["after"].state == "failed"
    assert len(jobs) == 2


async def test_a_status_made_up_by_a_sender_is_ignored(nats: tuple[Server, Connection]) -> None:
    """Else one message hides all nodes after it and stops all workers."""
    server, connection = nats
    for status in (b"404", b"500"):
        headers = b"NATS/1.0 %s Nothing\r\nStatus: %s\r\n\r\n" % (status, status)
        for subject in (b"v2t.job.odd.failed", b"$KV.v2t_nodes.a.a.1"):
            send(server, b"HPUB %s %d %d\r\n%s{}\r\n" % (subject, len(headers), len(headers) + 2, headers))
        assert await Settled(connection).any_of(["v2t.job.odd.failed"])
        await tell(connection, Presence("here", "convert").info())
        async with asyncio.timeout(PATIENCE):
            while [info.node for info in await fleet(connection)] != ["here"]:
                await asyncio.sleep(0.01)


async def test_odd_facts_leave_lists_and_numbers_as_they_are(nats: tuple[Server, Connection], tmp_path: Path) -> None:
    """Else one forged fact, or a damaged letter, blinds every terminal."""
    server, connection = nats
    await connection.publish(failed("good", reason="it is so"))
    subjects = [message.subject for message in ONE_OF_EACH] + [
        "v2t.dead.convert.j",
        "v2t.dead.x",
        "v2t.done.x",
        "v2t.job.j",
    ]
    for data in (DEEP, b"\xff", b"{}"):
        for subject in subjects:
            await connection.client.request(subject, data, timeout=PATIENCE)
    for n, subject in enumerate(("", ".", "v2t.chunk.any.j", "v2t.chunk.any.j.x", "v2t.submit\n")):
        letter = msgspec.json.encode(
            {
                "type": "dead",
                "job": f"j{n}",
                "stage": "\x1b[2J",
                "reason": "an odd one",
                "original_subject": subject,
                "data": "",
                "deliveries": 1,
                "node": "n",
            }
        )
        await connection.client.request(f"v2t.dead.transcribe.j{n}", letter, timeout=PATIENCE)
    terminal = Terminal(tmp_path / "home", server.url)
    listed, told = await asyncio.to_thread(terminal.run, "job", "list")
    assert any(line.split()[:2] == ["good", "failed"] for line in listed.splitlines())
    assert "facts cannot be read, the first on v2t.job.j" in told
    status, _ = await asyncio.to_thread(terminal.run, "job", "status", "j")
    assert "v2t.job.j.converted" in status
    dead, told = await asyncio.to_thread(terminal.run, "dead", "list")
    assert dead.count("an odd one") == 5
    assert "cannot be read" in told


# The facts of a job as they come one after the other, and of the ends the weaker ones first.
KINDS = ("submitted", "download", "downloaded", "convert", "0", "converted", "failed", "completed", "cancelled")
WAY = sorted(
    (each for each in ONE_OF_EACH if each.job == "j" and each.subject.rpartition(".")[2] in KINDS),
    key=lambda each: KINDS.index(each.subject.rpartition(".")[2]),
)
WAYS = [WAY[:end] for end in range(1, len(WAY) + 1)]


async def put(connection: Connection, message: Message, job: str) -> None:
    """Put the same message on another job's subject, whatever is there."""
    of_job = msgspec.structs.replace(message, job=job)
    await connection.store(of_job.subject, encode(of_job), {})


async def test_metrics_and_status_agree_on_every_job(connection: Connection) -> None:
    """Else an alert counts ended jobs as running, or running jobs as ended."""
    states: list[State] = []
    for n, way in enumerate(WAYS):
        for each in way:
            await put(connection, each, f"way{n}")
    for n, ends in enumerate(("failed", "completed", "cancelled", "running")):
        for each in (m for m in ONE_OF_EACH if m.job == "j" and m.subject.endswith((".listed", ".submitted"))):
            await put(connection, each, f"list{n}")
        for place in (1, 2):
            child = f"list{n}_{place}"
            await put(connection, ONE_OF_EACH[3], child)
            for each in ONE_OF_EACH:
                if each.subject.endswith(f".{ends if place == 1 else 'cancelled'}"):
                    await put(connection, each, child)
    for job in fold_all(await history(connection, ["v2t.job.>"])).values():
        states += [job.state, *(child.state for child in job.children.values())]
    assert {state: count for state, count in (await jobs_by_state(connection)).items() if count} == {
        state: states.count(state) for state in states
    }
    assert len(set(states)) == 8  # all there are


async def test_what_a_newer_release_sends_is_left_to_its_nodes(
    connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else during an update an old node fails jobs that a new one could do."""
    newer = process(node="new", version="99.0")
    alive = [newer]

    async def nodes(_: Connection) -> list[NodeInfo]:
        return alive

    monkeypatch.setattr(delivery, "fleet", nodes)
    patience = Patience(foreign=0.01)
    stage = Doing(transcribing)
    await connection.client.request("v2t.chunk.any.job.0", b'{"type":"chunk-task-2","job":"job"}', timeout=PATIENCE)
    async with working(connection, stage, tmp_path, patience):
        async with asyncio.timeout(PATIENCE):
            while (await connection.api(f"CONSUMER.INFO.{CHUNKS}.transcribe-any"))["delivered"]["consumer_seq"] < 20:
                await asyncio.sleep(0.01)
        assert await connection.messages(CHUNKS) == 1
        assert await letters(connection) == []
        alive.clear()  # and where there is no newer node, it does not lie there for ever
        assert "by any node that is alive" in (await fact(connection, Failed)).reason
        await drained(connection)
    assert stage.asked == []


async def test_work_that_became_moot_in_another_store_is_not_acked_here(
    connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else, after a store was lost, the ack of an old message removes work that nobody has done."""
    begun = asyncio.Event()

    async def hang(task: ChunkTask) -> AsyncGenerator[Message]:
        begun.set()
        await asyncio.Event().wait()
        yield done(task)

    checked = asyncio.Event()

    async def changed() -> None:
        checked.set()
        raise StoreChanged("other streams")

    await connection.publish(task())
    async with working(connection, Doing(hang), tmp_path) as stop:
        await begun.wait()
        await connection.client.publish(Cancelled(job="job").subject, encode(Cancelled(job="job")))
        monkeypatch.setattr(connection, "check_store", changed)
        await asyncio.wait_for(checked.wait(), PATIENCE)
        stop.set()
    assert await connection.messages(CHUNKS) == 1


@pytest.mark.parametrize("error", [nats.errors.Error("x"), OSError("x"), KeyError("x"), BrokerError("x")])
async def test_a_question_about_results_always_gets_an_answer(
    error: Exception, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one unexpected kind of error leaves all workers of a stage waiting for ever."""

    async def fail(*_: object) -> bool:
        raise error

    settled = Settled(connection)
    with monkeypatch.context() as patched:
        patched.setattr(connection, "seems_any_of", fail)
        async with asyncio.timeout(PATIENCE):
            told = await asyncio.gather(
                *(settled.any_of([f"v2t.job.{n}.failed"]) for n in range(3)), return_exceptions=True
            )
    assert [type(each) for each in told] == [BrokerError] * 3
    assert not await settled.any_of(["v2t.job.job.failed"])


async def test_a_task_on_the_subject_of_another_job_is_not_done(connection: Connection, tmp_path: Path) -> None:
    """Else anyone who may queue one chunk can write words into any job."""
    stage = Doing(transcribing, tries=1)
    async with working(connection, stage, tmp_path):
        await connection.client.request("v2t.chunk.any.mine.0", encode(task(job="theirs")), timeout=PATIENCE)
        assert "it belongs on v2t.chunk.any.theirs.0" in (await fact(connection, Failed, job="mine")).reason
    assert stage.asked == []
    assert await connection.last(JOBS, ChunkDone.subject_of(job="theirs", n=0)) is None


async def test_a_message_too_large_for_a_letter_is_given_up_all_the_same(
    connection: Connection, tmp_path: Path
) -> None:
    """Else it comes again every second, for ever."""
    async with working(connection, Doing(transcribing), tmp_path):
        await connection.client.request("v2t.chunk.any.job.0", b"{" * 900_000, timeout=PATIENCE)
        assert "cannot be read" in (await fact(connection, Failed)).reason
        await drained(connection)
    (letter,) = await letters(connection)
    assert letter.data == b""
