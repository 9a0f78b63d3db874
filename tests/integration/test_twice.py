"""Messages sent twice because an answer was lost or late: a real nats-server behind a double that loses answers."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import nats.errors
import pytest
from nats.aio.msg import Msg

from schemas.events import Rerun
from schemas.options import Options
from tests.builders import chunk, completed, converted, downloaded, submitted, task
from tests.harness import Server
from tests.observed import pulled
from tests.patience import PATIENCE
from v2t_stream.broker import error_codes
from v2t_stream.broker.connection import Connection
from v2t_stream.broker.puller import Puller
from v2t_stream.broker.requests import Requests
from v2t_stream.errors import BrokerError
from v2t_stream.jobs import operations
from v2t_stream.jobs.lists import read
from v2t_stream.store.jetstream_store import JetStreamStore
from v2t_stream.topology.stages import stage_row
from v2t_stream.topology.streams import CHUNKS, JOBS
from v2t_stream.topology.subjects import SUBMIT_SUBJECT

CHUNK, GAP = task(), chunk(error="broken")
(ANY,) = (consumer for consumer in stage_row("transcribe").consumers if consumer.durable == "transcribe-any")


@pytest.fixture
async def connection(nats: tuple[Server, Connection]) -> Connection:
    return nats[1]


@pytest.fixture
def lose(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lose the first answer to a message on a subject, and do something in between."""

    def lose(subject: str, meanwhile: Callable[[], Awaitable[object]] | None = None) -> None:
        request = connection.client.request
        lost = False

        async def losing(asked: str, *arguments: Any, **named: Any) -> Msg:
            nonlocal lost
            answer = await request(asked, *arguments, **named)
            if asked != subject or lost:
                return answer
            lost = True
            if meanwhile:
                await meanwhile()
            raise nats.errors.TimeoutError

        monkeypatch.setattr(connection.client, "request", losing)

    return lose


async def test_what_a_retry_removed_is_not_brought_back(connection: Connection, lose: Callable[..., None]) -> None:
    """Else a machine that paused for a moment puts back the gap that a retry has just removed."""

    async def removed() -> None:
        await connection.api(f"STREAM.PURGE.{JOBS}", {"filter": GAP.subject})

    lose(GAP.subject, removed)
    assert await connection.publish(GAP)
    assert await connection.last(JOBS, GAP.subject) is None
    assert await connection.publish(GAP)  # another call is another message
    assert await connection.last(JOBS, GAP.subject) is not None


async def test_a_submission_that_is_sent_again_is_no_second_one(
    connection: Connection, lose: Callable[..., None]
) -> None:
    """Else a user who submits to a busy broker reads, wrongly, that it was submitted before."""
    lose(SUBMIT_SUBJECT)
    assert (await connection.submit(SUBMIT_SUBJECT, b"https://example.org/a", "same"))[1] is False
    assert (await connection.submit(SUBMIT_SUBJECT, b"https://example.org/a", "same"))[1] is True


async def test_a_cluster_without_a_leader_is_asked_again(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a request during an election fails at once, although a leader is there a moment later.

    The refusal is a double: a real cluster gives it for seconds, and not when it is told to.
    """
    hasty = Connection(connection.client, connection.url, again=0.05)
    request = connection.client.request
    refusals = 2

    async def leaderless(*arguments: Any, **named: Any) -> Msg:
        nonlocal refusals
        answer = await request(*arguments, **named)
        if refusals and "DIRECT" not in arguments[0]:
            refusals -= 1
            error = {
                "code": 503,
                "err_code": error_codes.NO_LEADER,
                "description": "JetStream system temporarily unavailable",
            }
            answer.data = msgspec.json.encode({"error": error})
        return answer

    monkeypatch.setattr(connection.client, "request", leaderless)
    assert (await hasty.api(f"STREAM.INFO.{JOBS}"))["config"]["name"] == JOBS
    assert refusals == 0
    refusals = 2
    store = JetStreamStore(hasty)
    await store.put("media/job/a", b"here")
    assert await store.get("media/job/a") == b"here"
    refusals = 100
    with pytest.raises(BrokerError, match="did not answer"):
        await Requests(connection.client, connection.url, patience=1, again=0.05).api(f"STREAM.INFO.{JOBS}")


async def test_a_chunk_that_is_done_and_not_acked_yet_can_be_retried(connection: Connection) -> None:
    """Else the retry's chunk counts as already waiting, the ack of the old one removes it, and the job never ends."""
    for fact in (submitted(media="media/a"), downloaded(), converted(), CHUNK):
        await connection.publish(fact)
    async with Puller(connection.client, CHUNKS, ANY.durable, group=ANY.group) as puller:
        message = await pulled(puller)
        await connection.publish(GAP)
        await connection.publish(completed())
        await operations.retry(connection, await read(connection, "job"), chunk=0)
        again = task(run=1)
        assert await connection.publish(again)  # as convert does
        await message.ack_sync(timeout=PATIENCE)
        assert await connection.subjects(CHUNKS, "v2t.chunk.>") == [again.subject]


@pytest.mark.parametrize("again", [{}, {"chunk": 0}, {"model": "demo"}])
async def test_a_retry_asks_for_the_same_options(connection: Connection, again: dict[str, Any]) -> None:
    """A redone chunk has another beam, track or prompt than the rest of the transcript."""
    asked = Options(prompt="Call me Ishmael.", hotwords="Ishmael", beam_size=3, audio_track="2", vad_threshold=0.0)
    for fact in (submitted(media="media/a", options=asked), downloaded(options=asked), converted(), GAP):
        await connection.publish(fact)
    await connection.publish(completed(gaps=1))
    await operations.retry(connection, await read(connection, "job"), **again)
    sent = await connection.last(JOBS, "v2t.job.job.rerun.1")
    assert sent
    wanted = msgspec.structs.replace(asked, model=again.get("model"))
    assert msgspec.json.decode(sent.data, type=Rerun).begins.options == wanted


async def test_a_pull_without_an_answer_is_not_doubled(nats: tuple[Server, Connection]) -> None:
    """Else after a hiccup of the broker a node gets more than it can work on, and the rest waits there too long."""
    server, connection = nats
    async with Puller(connection.client, CHUNKS, ANY.durable, group=ANY.group) as puller:
        with server.frozen():
            for _ in range(2):
                assert await puller.next(1) is None
        pulling = asyncio.create_task(puller.next())
        async with asyncio.timeout(PATIENCE):
            while not (await info(connection))["num_waiting"]:
                await asyncio.sleep(0.02)
            for n in range(3):
                await connection.publish(msgspec.structs.replace(CHUNK, n=n))
            assert await pulling
            while (state := await info(connection))["num_ack_pending"] + state["num_pending"] != 3:
                await asyncio.sleep(0.02)
        assert (state["num_ack_pending"], state["num_pending"]) == (1, 2)


async def test_a_stop_ends_a_pull_that_has_no_answer(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a stage that is stopped just as its machine wakes up never ends.

    That a cancellation is swallowed is a double: nats-py does it where an answer comes at the same moment.
    """
    leaving = asyncio.Event()

    async def swallowing(_: object) -> None:
        leaving.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0.5)

    async with Puller(connection.client, CHUNKS, ANY.durable, group=ANY.group) as puller:
        with monkeypatch.context() as patched:
            patched.setattr(puller, "_end", swallowing)
            patched.setattr(puller, "_has_missed", True)
            pulling = asyncio.create_task(puller.next())
            await leaving.wait()
            pulling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await pulling


async def info(connection: Connection) -> dict[str, Any]:
    return await connection.api(f"CONSUMER.INFO.{CHUNKS}.{ANY.durable}")
