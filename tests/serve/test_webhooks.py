"""Webhooks, with a real receiver and a broker that the test may break."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests import builders
from tests.harness import Server, broker, set_ack_wait
from tests.patience import PATIENCE
from tests.serve.receiver import SECRET, Receiver
from v2t_stream.broker.connection import Connection
from v2t_stream.errors import Full, ObjectMissing, Reject, SettingsError
from v2t_stream.host import tasks
from v2t_stream.jobs import links
from v2t_stream.jobs.dead_letters import Dead, dead_letters
from v2t_stream.jobs.lists import read
from v2t_stream.jobs.operations import cancel
from v2t_stream.jobs.redrive import redrive
from v2t_stream.jobs.removal import remove
from v2t_stream.runtime.session import Session
from v2t_stream.serve.hooks.notice import Notice
from v2t_stream.serve.hooks.notifier import Notifier
from v2t_stream.serve.hooks.sending import Sender
from v2t_stream.settings import Settings
from v2t_stream.store.jetstream_store import JetStreamStore
from v2t_stream.topology.streams import JOBS

QUICK = (0.05,)


@pytest.fixture
async def nats(tmp_path: Path) -> AsyncIterator[tuple[Server, Connection]]:
    async with broker(tmp_path / "nats") as running:
        yield running


async def given_up(connection: Connection) -> list[Dead]:
    """The dead letters, once there is one."""
    async with asyncio.timeout(PATIENCE):
        while not (letters := await dead_letters(connection)):
            await asyncio.sleep(0.02)
    return letters


Starts = Callable[..., "asyncio.Task[None]"]


@pytest.fixture
async def start(nats: tuple[Server, Connection]) -> AsyncIterator[Starts]:
    """Starts a notifier with these settings."""
    _, connection = nats
    running = []

    def begin(*, day: float = 3600.0, pauses: tuple[float, ...] = QUICK, **environment: str) -> "asyncio.Task[None]":
        settings = Settings.from_environment({"V2T_ALLOW_ADDRESSES": "127.0.0.1", **environment})
        pipeline = Session(connection, JetStreamStore(connection), "", local=False)
        running.append(asyncio.create_task(Notifier(pipeline, settings, pauses=pauses, day=day).run()))
        return running[-1]

    yield begin
    await tasks.end(*running)


async def test_a_receiver_is_told_with_a_signature(
    nats: tuple[Server, Connection], receiver: Receiver, start: Starts
) -> None:
    """Programs have to ask again and again, or believe anybody who says that a job has ended."""
    _, connection = nats
    start(V2T_WEBHOOK_SECRET=SECRET)
    await connection.publish(builders.submitted("one", callback=receiver.url))
    await connection.publish(builders.completed("one", gaps=2))
    await connection.publish(builders.submitted("two", callback=receiver.url))
    await connection.publish(builders.failed("two", reason="it is empty"))
    await connection.publish(builders.submitted("silent"))
    await connection.publish(builders.completed("silent"))
    await receiver.until(2)
    told = {body["data"]["id"]: body for _, body in receiver.heard}
    assert told["one"]["type"] == "job.completed"
    assert told["one"]["data"]["whole"] is False
    assert told["one"]["data"]["transcript"] == "transcripts/one/transcript"
    assert (told["two"]["type"], told["two"]["data"]["reason"]) == ("job.failed", "it is empty")
    assert all("webhook-signature" in headers for headers, _ in receiver.heard)


async def test_a_notice_is_repeated_over_a_restart_of_the_broker(
    nats: tuple[Server, Connection], receiver: Receiver, start: Starts
) -> None:
    """A receiver that was being updated never hears of the job, or takes the repetition for another one."""
    server, connection = nats
    receiver.answers = [500, 503, 302]
    await set_ack_wait(connection, JOBS, "notify", 1)
    start()
    await connection.publish(builders.submitted("one", callback=receiver.url))
    await connection.publish(builders.completed("one"))
    await receiver.until(2)
    server.kill()
    server.start()
    await receiver.until(4)
    assert len({headers["webhook-id"] for headers, _ in receiver.heard}) == 1
    assert len({json.dumps(body) for _, body in receiver.heard}) == 1


async def test_a_server_that_dies_with_a_notice_leaves_it_to_the_next(
    nats: tuple[Server, Connection], receiver: Receiver, start: Starts
) -> None:
    """A notice is lost with the process that was sending it, or looks like another when it is sent again."""
    _, connection = nats
    await set_ack_wait(connection, JOBS, "notify", 1)
    receiver.hangs = 1
    first = start()
    await connection.publish(builders.submitted("one", callback=receiver.url))
    await connection.publish(builders.completed("one"))
    await receiver.until(1)
    await tasks.end(first)  # it has sent the notice, and the broker does not know
    start()
    await receiver.until(2)
    assert len({headers["webhook-id"] for headers, _ in receiver.heard}) == 1


async def test_a_receiver_that_stays_away_is_given_up_and_can_be_told_again(
    nats: tuple[Server, Connection], receiver: Receiver, start: Starts, tmp_path: Path
) -> None:
    """Nobody learns that a receiver has missed something, and it cannot be made good."""
    _, connection = nats
    receiver.answers = [500, 500]
    first = start(day=0.0)
    await connection.publish(builders.submitted("one", callback=f"{receiver.url}?token=hush"))
    await connection.publish(builders.completed("one"))
    letters = await given_up(connection)
    assert letters[0].letter.stage == "notify"
    assert "answered with status 500 (given up after" in letters[0].letter.reason
    assert "hush" not in letters[0].letter.reason
    before = len(receiver.heard)
    await tasks.end(first)
    start()
    receiver.answers = []
    await redrive(connection, None, letters[0], tmp_path)
    await receiver.until(before + 1)
    assert len({headers["webhook-id"] for headers, _ in receiver.heard}) == 1
    assert await dead_letters(connection) == []


@pytest.mark.parametrize("url", ["http://10.0.0.1/hook", "http://localhost:1/hook"])
async def test_a_webhook_reaches_no_private_address(nats: tuple[Server, Connection], start: Starts, url: str) -> None:
    """A stranger makes the server post to what only it can reach."""
    _, connection = nats
    start(V2T_ALLOW_ADDRESSES="192.0.2.1")
    await connection.publish(builders.submitted("one", callback=url))
    await connection.publish(builders.completed("one"))
    letters = await given_up(connection)
    assert "which is not a public address" in letters[0].letter.reason


async def test_settings_name_a_receiver_of_all_jobs(
    nats: tuple[Server, Connection], receiver: Receiver, start: Starts
) -> None:
    """Every job has to name the same receiver."""
    _, connection = nats
    start(V2T_WEBHOOK_URL=receiver.url)
    await connection.publish(builders.submitted("one", callback=f"{receiver.url}/own"))
    await connection.publish(builders.completed("one"))
    await receiver.until(2)


async def test_a_secret_in_a_callback_stays_out_of_the_facts(
    nats: tuple[Server, Connection], receiver: Receiver, start: Starts
) -> None:
    """Everybody who may watch jobs can post to the receiver."""
    _, connection = nats
    start()
    store = JetStreamStore(connection)
    shown, key = await links.keep_callback(store, "one", f"{receiver.url}?token=hush")
    assert "hush" not in shown
    await connection.publish(builders.submitted("one", callback=shown, callback_link=key))
    await connection.publish(builders.completed("one"))
    await receiver.until(1)


@pytest.mark.parametrize("secret", ["hush", "whsec_short", "whsec_!"])
def test_a_secret_that_is_none_is_refused_without_being_shown(secret: str) -> None:
    """Notices are signed with nothing, or the secret is in a log."""
    with pytest.raises(SettingsError, match="WEBHOOK_SECRET is wrong: it must be whsec_") as error:
        Settings.from_environment({"V2T_WEBHOOK_SECRET": secret})
    assert secret not in str(error.value).replace("whsec_ and", "")


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127\u30020\u30020\u30021", "\uff11\uff12\uff17.0.0.1", "0x7f.1", "[::ffff:7f00:1]", "localhost"],
)
async def test_no_way_to_write_a_private_address_leads_there(receiver: Receiver, host: str) -> None:
    """Whoever knows one more way to write an address posts to what only the server can reach."""
    sender = Sender("192.0.2.1", "")
    with pytest.raises(Reject, match="which is not a public address"):
        await sender.send(receiver.url.replace("127.0.0.1", host), Notice("msg_1", b"{}"))
    await sender.close()
    assert receiver.heard == []


async def test_a_receiver_without_answers_keeps_no_others_waiting(receiver: Receiver) -> None:
    """A receiver that hangs takes every place, and nobody is told until it has let go of them."""
    held: list[asyncio.StreamWriter] = []
    async with await asyncio.start_server(lambda _, writer: held.append(writer), "127.0.0.1", 0) as silent:
        hanging = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}/"
        sender = Sender("127.0.0.1", "", turn=0.01)
        sending = [asyncio.create_task(sender.send(hanging, Notice(f"msg_{n}", b"{}"))) for n in range(64)]
        done, stuck = set(sending), set(sending)
        while len(stuck) > 4:
            done, stuck = await asyncio.wait(stuck, return_when=asyncio.FIRST_COMPLETED)
            assert all(isinstance(task.exception(), Full) for task in done)
        await sender.send(receiver.url, Notice("msg_64", b"{}"))
        await tasks.end(*stuck)
        await sender.close()
        for writer in held:
            writer.close()
            await writer.wait_closed()


async def test_one_receiver_is_told_once_while_the_other_stays_away(
    nats: tuple[Server, Connection], receiver: Receiver, start: Starts
) -> None:
    """A receiver gets the same notice all day because of another that it has nothing to do with."""
    _, connection = nats
    start(V2T_WEBHOOK_URL=receiver.url)
    receiver.refuses["/own"] = 3
    await connection.publish(builders.submitted("one", callback=receiver.url.replace("/hook", "/own")))
    await connection.publish(builders.completed("one"))
    await receiver.until(5)
    assert [path for path in receiver.paths if path == "/hook"] == ["/hook"]


async def test_an_expired_link_does_not_keep_the_other_receiver_from_hearing(
    nats: tuple[Server, Connection], receiver: Receiver, start: Starts
) -> None:
    """Whoever hears of all jobs misses those whose own link has expired."""
    _, connection = nats
    start(V2T_WEBHOOK_URL=receiver.url)
    await connection.publish(builders.submitted("one", callback="https://host/", callback_link="media/one/callback"))
    await connection.publish(builders.completed("one"))
    await receiver.until(1)
    letters = await given_up(connection)
    assert "which has expired" in letters[0].letter.reason


async def test_a_notice_that_waited_for_a_server_still_has_its_tries(
    nats: tuple[Server, Connection], receiver: Receiver, start: Starts
) -> None:
    """After a weekend without a server, one answer of 500 loses each notice to the dead letters."""
    _, connection = nats
    receiver.answers = [500, 500]
    start(day=0.0, pauses=(0.01, 0.01, 0.01))
    await connection.publish(builders.submitted("one", callback=receiver.url))
    await connection.publish(builders.completed("one"))
    await receiver.until(3)
    assert await dead_letters(connection) == []


async def test_a_cancelled_job_can_tell_a_link_with_a_secret(
    nats: tuple[Server, Connection], receiver: Receiver, start: Starts
) -> None:
    """A program waits for ever for a job that somebody cancelled."""
    _, connection = nats
    start()
    store = JetStreamStore(connection)
    shown, key = await links.keep_callback(store, "one", f"{receiver.url}?token=hush")
    await connection.publish(builders.submitted("one", media="media/one/source", callback=shown, callback_link=key))
    await cancel(connection, store, await read(connection, "one"))
    await receiver.until(1)
    assert receiver.heard[0][1]["type"] == "job.cancelled"
    await remove(connection, store, Settings(), await read(connection, "one"))
    with pytest.raises(ObjectMissing):
        await store.get(key)
