"""The connection, publishing, watching, pulling and the topology, on a real nats-server that tests may kill."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nats.aio.msg import Msg
from nats.errors import FlushTimeoutError

from schemas.chunks import ChunkTask
from schemas.events import Cancelled, Progress
from schemas.message import encode
from schemas.options import Options
from tests.builders import chunk, dead, submitted, task
from tests.harness import Server
from tests.observed import pulled
from tests.patience import PATIENCE
from tests.proxy import Proxy
from v2t_stream.broker.connect import connect
from v2t_stream.broker.connection import Connection
from v2t_stream.broker.puller import Puller
from v2t_stream.broker.requests import Stored
from v2t_stream.errors import BrokerError
from v2t_stream.host.tasks import end
from v2t_stream.runtime.set_up import set_up
from v2t_stream.settings import Settings
from v2t_stream.topology.provision import apply
from v2t_stream.topology.stages import NOTIFY, STAGES
from v2t_stream.topology.streams import CHUNKS, DEAD, JOBS, STREAMS


@pytest.fixture
async def connection(nats: tuple[Server, Connection]) -> Connection:
    return nats[1]


def for_cpu(n: int = 0) -> ChunkTask:
    return task(n, options=Options(accelerator="cpu"))


# -- connecting


async def test_an_absent_server_gives_a_sentence_with_what_to_do() -> None:
    """Else a wrong NATS_URL ends in a traceback, or hangs."""
    with pytest.raises(BrokerError, match=r"no NATS server answers at nats://127\.0\.0\.1:1 .*correct NATS_URL"):
        await connect("nats://127.0.0.1:1", name="test", patience=0.5)


@pytest.mark.parametrize("url", ["nats://127.0.0.1:99999", "nonsense", "http://127.0.0.1:1", ""])
async def test_an_invalid_url_gives_a_sentence(url: str) -> None:
    """Else a misspelt NATS_URL shows the assertion of a library."""
    with pytest.raises(BrokerError, match="NATS_URL"):
        await connect(url, name="test", patience=0.5)


@pytest.mark.parametrize("user", ["", "u:wrong@"])
async def test_wrong_credentials_fail_at_once_and_show_no_password(user: str, tmp_path: Path) -> None:
    """Else a wrong password looks, after a minute, like a dead server, or shows in a log."""
    server = Server(tmp_path, "authorization { user: u, password: right }")
    server.start()
    try:
        with pytest.raises(BrokerError, match="rejects the user") as caught:
            async with asyncio.timeout(PATIENCE):
                await connect(f"nats://{user}127.0.0.1:{server.port}", name="test", patience=3600)
        assert "wrong" not in str(caught.value)
        async with await connect(f"nats://u:right@127.0.0.1:{server.port}", name="test") as connection:
            assert "right" not in connection.url
    finally:
        server.stop()


async def test_a_server_that_is_slow_to_answer_is_waited_for(tmp_path: Path) -> None:
    """Else a busy broker looks dead, and a user starts another one."""
    server = Server(tmp_path)
    server.start()
    try:
        with server.frozen():
            connecting = asyncio.create_task(connect(server.url, name="test", patience=0.2, answers=PATIENCE))
            done, _ = await asyncio.wait({connecting}, timeout=1)
            assert not done
        await (await connecting).close()
    finally:
        server.stop()


async def test_a_server_that_is_too_old_is_named_with_its_version() -> None:
    """Else an old server fails later, without a reason, at the first pull with a priority."""
    left = asyncio.Event()

    async def old_server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        info = {"server_id": "old", "version": "2.9.0", "max_payload": 1 << 20, "headers": True, "jetstream": True}
        writer.write(f"INFO {json.dumps(info)}\r\n".encode())
        while line := await reader.readline():
            if line.startswith(b"PING"):
                writer.write(b"PONG\r\n")
        writer.close()
        left.set()

    async with await asyncio.start_server(old_server, "127.0.0.1", 0) as server:
        url = f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(BrokerError, match=r"is version 2\.9\.0, but 2\.12 or newer is needed"):
            await connect(url, name="test")
        await asyncio.wait_for(left.wait(), PATIENCE)


async def test_a_server_without_jetstream_gives_a_sentence(tmp_path: Path) -> None:
    """Else the most common misconfiguration of NATS shows only as a timeout."""
    server = Server(tmp_path, jetstream=False)
    server.start()
    try:
        async with await connect(server.url, name="test") as connection:
            with pytest.raises(BrokerError, match="has no JetStream: start it with -js"):
                await apply(connection, "NATS")
    finally:
        server.stop()


# -- publishing


def sending_once(connection: Connection, publish_patience: float = PATIENCE) -> Connection:
    """The same: of what it sends again a connection cannot tell whether it was the first to store it."""
    return Connection(connection.client, connection.url, again=PATIENCE, publish_patience=publish_patience)


async def test_a_fact_is_stored_once(connection: Connection) -> None:
    """Else a job that two aggregators finish is completed twice."""
    connection = sending_once(connection)
    assert await connection.publish(submitted(title="first"))
    assert not await connection.publish(submitted(title="second"))
    stored = await connection.last(JOBS, submitted().subject)
    assert stored
    assert b"first" in stored.data
    both = [chunk(node=str(i)) for i in range(20)]
    assert sum(await asyncio.gather(*map(connection.publish, both))) == 1


async def test_what_a_lagging_replica_still_has_is_not_believed(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a worker that asks a lagging replica believes that a retried job has ended, and drops it.

    The replica is a double: a real one lags for milliseconds, and not when it is told to.
    """
    stale = submitted()
    await connection.publish(stale)
    answer = await connection.direct(JOBS, multi_last=[stale.subject], batch=1)

    async def lagging(*_: object, **__: object) -> object:
        return answer

    monkeypatch.setattr(connection, "direct", lagging)
    assert await connection.any_of(JOBS, ["v2t.job.job.failed", stale.subject])
    await connection.api(f"STREAM.PURGE.{JOBS}", {"filter": stale.subject})
    assert not await connection.any_of(JOBS, ["v2t.job.job.failed", stale.subject])


async def test_a_flush_that_is_given_up_costs_no_connection(nats: tuple[Server, Connection]) -> None:
    """Else one slow answer makes a client wait for ever for all later ones."""
    server, connection = nats
    with server.frozen(), pytest.raises(FlushTimeoutError):
        await connection.client.flush(timeout=0.1)  # type: ignore[arg-type]  # any number of seconds does
    await connection.client.flush(int(PATIENCE))
    await connection.publish(submitted("after"))
    assert await connection.last(JOBS, submitted("after").subject)


async def test_progress_replaces_what_was_said_before(connection: Connection) -> None:
    """Else progress stays at its first value, or a long job fills the stream."""
    for done in (1.0, 2.0):
        assert await connection.publish(Progress(job="job", stage="convert", done=done))
    assert await connection.subjects(JOBS, "v2t.job.>") == ["v2t.job.job.progress.convert"]
    stored = await connection.last(JOBS, "v2t.job.job.progress.convert")
    assert stored
    assert b"2.0" in stored.data
    assert await connection.last(JOBS, "v2t.job.job.progress.download") is None


async def test_a_chunk_that_waits_is_not_queued_twice(connection: Connection) -> None:
    """Else a conversion that is repeated after a crash doubles the work, or waits two minutes for each chunk."""
    connection = sending_once(connection, publish_patience=3600)
    async with asyncio.timeout(PATIENCE):
        assert await connection.publish(task())
        assert not await connection.publish(task())
        assert await connection.publish(task(1))
    assert await connection.messages(CHUNKS) == 2


async def test_a_full_server_does_not_count_as_published(connection: Connection) -> None:
    """Else a chunk that found no room is lost silently, because the server's error has the same number."""
    connection = sending_once(connection, publish_patience=0.3)
    config = {"name": CHUNKS, "storage": "file", "allow_direct": True, **STREAMS[CHUNKS], "max_bytes": 100}
    await connection.api(f"STREAM.UPDATE.{CHUNKS}", config)
    with pytest.raises(BrokerError, match="maximum bytes exceeded"):
        await connection.publish(task())


async def test_publishing_outlasts_a_broker_that_is_killed(nats: tuple[Server, Connection]) -> None:
    """Else a restart of the broker fails every running job."""
    server, connection = nats
    server.kill()
    pending = [asyncio.create_task(connection.publish(submitted(f"job{n}"))) for n in range(10)]
    done, _ = await asyncio.wait(pending, timeout=0.5)
    assert not done
    server.start()
    assert len(await asyncio.gather(*pending)) == 10
    assert len(await connection.subjects(JOBS, "v2t.job.*.submitted")) == 10


async def test_a_message_that_is_too_large_gives_a_sentence(connection: Connection) -> None:
    """Else it is retried for two minutes."""
    with pytest.raises(BrokerError, match="could not publish"):
        await connection.publish(submitted(title="x" * (2 << 20)))


async def test_what_is_forbidden_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Else a missing permission shows only as a timeout."""
    user = '{ user: u, password: p, permissions: { publish: { deny: "v2t.>" } } }'
    server = Server(tmp_path, f"authorization {{ users: [ {user} ] }}")
    server.start()
    try:
        async with await connect(f"nats://u:p@127.0.0.1:{server.port}", name="test") as connection:
            await connection.tell(Progress(job="job", stage="convert", done=1))
            await connection.client.flush(int(PATIENCE))
    finally:
        server.stop()
    assert "v2t.job.job.progress.convert" in caplog.text


# -- watching


async def collect(connection: Connection, seen: "list[Stored | None]", *patterns: str) -> None:
    async for stored in connection.watch(JOBS, *patterns):
        seen.append(stored)


async def until(seen: "list[Stored | None]", count: int) -> None:
    """Wait for the fact, and not for a time."""
    async with asyncio.timeout(PATIENCE):
        while len([stored for stored in seen if stored]) < count:
            await asyncio.sleep(0.01)


def sequences(seen: "list[Stored | None]") -> list[int]:
    return [stored.sequence for stored in seen if stored]


@contextlib.asynccontextmanager
async def watching(connection: Connection, *patterns: str) -> AsyncIterator["list[Stored | None]"]:
    seen: list[Stored | None] = []
    task = asyncio.create_task(collect(connection, seen, *patterns))
    try:
        yield seen
    finally:
        await end(task)
        if not task.cancelled():
            task.result()  # an error ended it


async def test_watch_gives_history_then_none_then_what_comes(connection: Connection) -> None:
    """Else a monitor shows a job twice or not at all, or never knows that it is up to date."""
    await connection.publish(submitted("a"))
    await connection.publish(submitted("b"))
    async with watching(connection, "v2t.job.a.>", "v2t.job.b.>") as seen:
        await until(seen, 2)
        await connection.publish(submitted("c"))
        await connection.publish(Cancelled(job="a"))
        await until(seen, 3)
    assert [stored and stored.subject for stored in seen] == [
        "v2t.job.a.submitted",
        "v2t.job.b.submitted",
        None,
        "v2t.job.a.cancelled",
    ]
    assert seen[0]
    assert seen[0].at == pytest.approx(time.time(), abs=60)


async def test_watch_of_nothing_ends_at_once(connection: Connection) -> None:
    """Else the list of jobs of a new installation hangs."""
    assert [stored async for stored in connection.watch(JOBS, "v2t.job.>", live=False)] == [None]


async def test_coming_late_equals_having_watched(connection: Connection) -> None:
    """Else a monitor that opens late shows another state than one that was already open."""
    async with watching(connection, "v2t.job.>") as early:
        for n in range(300):
            job = f"job{n % 7}"
            await connection.publish(chunk(n, job=job))
            await connection.publish(Progress(job=job, stage="convert", done=n))
        last = (await connection.api(f"STREAM.INFO.{JOBS}"))["state"]["last_seq"]
        async with asyncio.timeout(PATIENCE):
            while last not in sequences(early):
                await asyncio.sleep(0.01)
    late = [stored async for stored in connection.watch(JOBS, "v2t.job.>", live=False)]
    assert late.pop() is None
    latest = {stored.subject: stored for stored in early if stored}
    assert {stored.subject: stored for stored in late if stored} == latest


async def test_watch_survives_the_kill_of_the_broker_without_gap_or_double(nats: tuple[Server, Connection]) -> None:
    """Else a monitor, a waiting command or an aggregator misses a fact for ever."""
    server, connection = nats
    async with watching(connection, "v2t.job.>") as seen:
        published = 0

        async def publish() -> None:
            nonlocal published
            for n in range(1000):
                await connection.publish(chunk(n))
                published += 1

        publishing = asyncio.create_task(publish())
        for after in (200, 500):
            async with asyncio.timeout(PATIENCE):
                while published < after:
                    await asyncio.sleep(0.001)
            server.kill()
            server.start()
        await publishing
        await until(seen, 1000)
    assert sequences(seen) == sorted(set(sequences(seen)))
    assert {stored.subject for stored in seen if stored} == {f"v2t.job.job.chunk.{n}" for n in range(1000)}
    assert seen.count(None) == 1


async def test_a_replay_cut_short_by_the_broker_is_still_whole(nats: tuple[Server, Connection]) -> None:
    """Else an aggregator that reads a job while the broker dies sees only part of it, and never completes it."""
    server, connection = nats
    await asyncio.gather(*(connection.publish(chunk(n, error="x" * 2000)) for n in range(1000)))
    seen = []
    async for stored in connection.watch(JOBS, "v2t.job.>", live=False):
        seen.append(stored)
        if len(seen) == 300:  # in the second pull
            server.kill()
            await asyncio.to_thread(server.start)
    assert seen.pop() is None
    assert len(sequences(seen)) == 1000
    assert sequences(seen) == sorted(set(sequences(seen)))


async def test_watch_misses_nothing_that_the_network_lost(nats: tuple[Server, Connection]) -> None:
    """Else a laptop that changes its network shows an old state, because the server believes it sent all."""
    server, connection = nats
    async with (
        Proxy(server.port) as network,
        await connect(f"nats://127.0.0.1:{network.port}", name="test") as far,
        watching(far, "v2t.job.>") as seen,
    ):
        await connection.publish(submitted("before"))
        await until(seen, 1)
        network.swallow.set()
        await connection.publish(submitted("lost"))
        async with asyncio.timeout(PATIENCE):
            while b"v2t.job.lost.submitted" not in network.lost:
                await asyncio.sleep(0.01)
        network.swallow.clear()
        network.cut()
        await connection.publish(submitted("after"))
        await until(seen, 3)
    assert [stored.subject.split(".")[2] for stored in seen if stored] == ["before", "lost", "after"]


async def test_a_fact_that_a_stream_does_not_tell_of_is_found_all_the_same(nats: tuple[Server, Connection]) -> None:
    """Else a command that follows a job on a broker set up by an older release waits for ever."""
    _, connection = nats
    config = (await connection.api(f"STREAM.INFO.{JOBS}"))["config"]
    del config["republish"]
    await connection.api(f"STREAM.UPDATE.{JOBS}", config)
    async with watching(connection, "v2t.job.a.>", *(f"v2t.job.b{n}.>" for n in range(100))) as seen:
        await connection.publish(submitted("a"))
        await until(seen, 1)
        await connection.publish(submitted("b99"))
        await until(seen, 2)
    assert [stored.subject.split(".")[2] for stored in seen if stored] == ["a", "b99"]


async def test_a_watch_needs_nothing_of_which_the_server_has_so_many(connection: Connection) -> None:
    """Else waiting for 1,200 links, or a malicious viewer, stops everybody's jobs."""
    jobs = [f"j{n}" for n in range(1200)]
    async with contextlib.AsyncExitStack() as stack:
        seen = [await stack.enter_async_context(watching(connection, f"v2t.job.{job}.>")) for job in jobs]
        async with asyncio.timeout(PATIENCE):
            while not all(each == [None] for each in seen):
                await asyncio.sleep(0.05)
        await asyncio.gather(*(connection.publish(submitted(job)) for job in jobs))
        async with asyncio.timeout(PATIENCE):
            while not all(len(each) == 2 for each in seen):
                await asyncio.sleep(0.05)
        consumers = (await connection.api(f"STREAM.INFO.{JOBS}"))["state"]["consumer_count"]
        assert consumers == sum(len(row.consumers) for row in (*STAGES, NOTIFY) if row.stream == JOBS)


async def test_a_watch_of_many_patterns_reads_what_is_new_on_any(connection: Connection) -> None:
    """Else a list of 3,000 entries lacks its last ones."""
    patterns = [f"v2t.job.list_{n}.>" for n in range(3000)]
    await connection.publish(submitted("list_2999"))
    async with watching(connection, *patterns) as seen:
        async with asyncio.timeout(PATIENCE):
            while None not in seen:
                await asyncio.sleep(0.01)
        await connection.publish(submitted("list_1"))
        await until(seen, 2)
        await connection.publish(Cancelled(job="list_2999"))
        await until(seen, 3)
    assert [stored and stored.subject for stored in seen] == [
        "v2t.job.list_2999.submitted",
        None,
        "v2t.job.list_1.submitted",
        "v2t.job.list_2999.cancelled",
    ]


async def test_what_was_withdrawn_before_it_was_read_does_not_keep_a_watch_busy(connection: Connection) -> None:
    """Else a retry makes every monitor ask the broker without a pause."""
    async with watching(connection, "v2t.job.a.>") as seen:
        for n in range(20):
            await connection.publish(chunk(n, job="a"))
            await connection.api(f"STREAM.PURGE.{JOBS}", {"filter": f"v2t.job.a.chunk.{n}"})
        await connection.publish(submitted("a"))
        async with asyncio.timeout(PATIENCE):
            while not any(stored and stored.subject.endswith(".submitted") for stored in seen):
                await asyncio.sleep(0.01)
        asked = connection.client.stats["out_msgs"]
        await asyncio.sleep(1)  # nothing is to happen
        assert connection.client.stats["out_msgs"] - asked <= 2


async def test_what_a_publisher_says_in_headers_is_not_taken_for_the_servers_word(connection: Connection) -> None:
    """Else a hacked worker can pass off the facts of one job as those of another."""
    forged = {"Nats-Subject": "v2t.job.other.completed", "Nats-Sequence": "9999", "Nats-Time-Stamp": "then"}
    await connection.store("v2t.job.a.submitted", encode(submitted("a")), forged)
    (stored,) = [stored async for stored in connection.watch(JOBS, "v2t.job.a.>", live=False) if stored]
    assert (stored.subject, stored.sequence) == ("v2t.job.a.submitted", 1)


async def test_watch_ends_with_its_connection(connection: Connection, nats: tuple[Server, Connection]) -> None:
    """Else a command that closes its connection hangs."""
    server, _ = nats
    async with await connect(server.url, name="test") as other:
        seen: list[Stored | None] = []
        task = asyncio.create_task(collect(other, seen, "v2t.job.>"))
        await connection.publish(submitted())
        await until(seen, 1)
    with pytest.raises(BrokerError):
        await asyncio.wait_for(task, PATIENCE)


async def test_ten_thousand_facts_are_replayed(connection: Connection) -> None:
    """Else opening the monitor of a busy installation takes minutes. The test prints the time and does not judge it."""
    facts = [encode(chunk(n, job=f"job{n % 50}")) for n in range(10_000)]
    for n, fact in enumerate(facts):
        await connection.client.publish(f"v2t.job.job{n % 50}.chunk.{n}", fact)
    await connection.client.flush(int(PATIENCE))
    async with asyncio.timeout(PATIENCE):
        while (await connection.api(f"STREAM.INFO.{JOBS}"))["state"]["messages"] < 10_000:
            await asyncio.sleep(0.05)
    begun = time.monotonic()
    seen = [stored async for stored in connection.watch(JOBS, "v2t.job.>", live=False)]
    print(f"10,000 facts replayed in {time.monotonic() - begun:.2f} s")  # noqa: T201
    assert len(seen) == 10_001


# -- the topology


async def test_apply_again_and_twice_at_once_changes_nothing(nats: tuple[Server, Connection]) -> None:
    """Else two nodes that start together fail, or a restart loses what waits."""
    server, connection = nats
    await connection.publish(submitted())
    await connection.publish(task())

    async def state() -> list[tuple[object, str, int | None]]:
        streams = [await connection.api(f"STREAM.INFO.{name}") for name in STREAMS]
        consumers = [
            await connection.api(f"CONSUMER.INFO.{row.stream}.{consumer.durable}")
            for row in STAGES
            for consumer in row.consumers
        ]
        return [(info["config"], info["created"], info.get("num_pending")) for info in streams + consumers]

    async with asyncio.timeout(PATIENCE):  # what was published is counted a moment later
        while sum(pending or 0 for *_, pending in await state()) < 2:
            await asyncio.sleep(0.01)
    before = await state()
    async with await connect(server.url, name="test") as other:
        await asyncio.gather(*(set_up(each, Settings()) for each in (connection, other) for _ in range(2)))
    assert await state() == before


async def test_apply_twice_at_once_on_a_new_server(tmp_path: Path) -> None:
    """Else the first start of a cluster of nodes depends on luck."""
    server = Server(tmp_path)
    server.start()
    try:
        async with await connect(server.url, name="a") as one, await connect(server.url, name="b") as other:
            await asyncio.gather(*(set_up(each, Settings()) for each in (one, other)))
            assert len((await one.api("STREAM.NAMES"))["streams"]) == len(STREAMS) + 5  # and the buckets
    finally:
        server.stop()


# -- pulling


async def test_of_two_that_wait_the_lower_rank_is_served(nats: tuple[Server, Connection]) -> None:
    """Else a slow machine takes a chunk while a fast one is free."""
    server, connection = nats
    async with (
        await connect(server.url, name="slow") as slow_machine,
        await connect(server.url, name="fast") as fast_machine,
        Puller(slow_machine.client, CHUNKS, "transcribe-any", group="any", rank=5) as slow,
        Puller(fast_machine.client, CHUNKS, "transcribe-any", group="any", rank=0) as fast,
    ):
        slow_wait = asyncio.create_task(pulled(slow))
        await waiting(connection, CHUNKS, "transcribe-any", 1)
        for n in range(10):
            fast_wait = asyncio.create_task(pulled(fast))
            await waiting(connection, CHUNKS, "transcribe-any", 2)
            await connection.publish(task(n))
            await (await fast_wait).ack()
        assert not slow_wait.done()
        await connection.publish(task(10))
        assert await slow_wait


async def test_a_pull_does_not_wait_if_asked_not_to(connection: Connection) -> None:
    """Else a node that polls its own queue misses work in the common one."""
    asked = await connection.client.subscribe(f"$JS.API.CONSUMER.MSG.NEXT.{CHUNKS}.transcribe-cpu")
    async with Puller(connection.client, CHUNKS, "transcribe-cpu") as puller:
        assert await puller.next(0) is None
        assert "expires" not in json.loads((await asked.next_msg(PATIENCE)).data)
        await connection.publish(for_cpu())
        async with asyncio.timeout(PATIENCE):
            while not await puller.next(0):
                await asyncio.sleep(0.01)


async def test_what_waits_is_pulled_together(connection: Connection) -> None:
    """Else a node with many free slots asks for each chunk separately, or gets more than it has slots for."""
    async with Puller(connection.client, CHUNKS, "transcribe-any", group="any") as puller:
        for n in range(5):
            await connection.publish(task(n))
        taken = 0
        async with asyncio.timeout(PATIENCE):  # one who is told to wait for nothing may miss the answer
            while taken < 3:
                taken += len([message async for message in puller.waiting(3 - taken)])
            while (await connection.api(f"CONSUMER.INFO.{CHUNKS}.transcribe-any"))["num_ack_pending"] != 3:
                await asyncio.sleep(0.01)
            while taken < 5:
                taken += len([message async for message in puller.waiting(10)])
        assert [message async for message in puller.waiting(10)] == []


async def test_a_puller_that_stops_swallows_nothing(nats: tuple[Server, Connection]) -> None:
    """Else work on its way to a stage that is ending waits half a minute.

    One in a while may, for the server itself can be sending just when it hears that nobody listens any more.
    """
    server, connection = nats
    config = (await connection.api(f"CONSUMER.INFO.{CHUNKS}.transcribe-cpu"))["config"] | {"ack_wait": 2_000_000_000}
    await connection.api(f"CONSUMER.CREATE.{CHUNKS}.transcribe-cpu", {"stream_name": CHUNKS, "config": config})
    again = given_back = 0

    async def told(message: Msg) -> None:
        nonlocal given_back
        given_back += message.data.startswith(b"-NAK")

    await connection.client.subscribe(f"$JS.ACK.{CHUNKS}.transcribe-cpu.>", cb=told)
    async with await connect(server.url, name="leaving") as leaving:
        for n in range(20):
            async with Puller(leaving.client, CHUNKS, "transcribe-cpu") as puller:
                pull = asyncio.create_task(pulled(puller))
                await waiting(connection, CHUNKS, "transcribe-cpu", 1)
                publish = asyncio.create_task(connection.publish(for_cpu(n)))
                await asyncio.sleep(n * 0.0001)  # somewhere between the sending and the arrival
                pull.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await (await pull).nak()
            await publish
            async with Puller(connection.client, CHUNKS, "transcribe-cpu") as other:
                message = await pulled(other)
                assert message.subject == for_cpu(n).subject
                again += message.metadata.num_delivered - 1
                await message.ack_sync(timeout=int(PATIENCE))
    assert again - given_back <= 3


async def test_an_outage_does_not_pile_up_pulls(nats: tuple[Server, Connection]) -> None:
    """Else a node with one free slot gets a dozen chunks after an outage, and all but one wait there."""
    server, connection = nats
    async with await connect(server.url, name="node") as node, Puller(node.client, CHUNKS, "transcribe-cpu") as puller:
        server.kill()
        async with asyncio.timeout(PATIENCE):
            while node.client.is_connected:
                await asyncio.sleep(0.01)
        for _ in range(5):
            assert await puller.next(0.5) is None
        server.start()
        async with asyncio.timeout(PATIENCE):
            while not node.client.is_connected:
                await asyncio.sleep(0.01)
        for n in range(5):
            await connection.publish(for_cpu(n))
        message = await pulled(puller)
        async with asyncio.timeout(PATIENCE):  # what was published is counted a moment later
            while True:
                info = await connection.api(f"CONSUMER.INFO.{CHUNKS}.transcribe-cpu")
                if (info["num_ack_pending"], info["num_pending"]) == (1, 4):
                    break
                await asyncio.sleep(0.01)
        assert message.metadata.num_delivered == 1


async def test_a_deleted_consumer_gives_a_sentence(connection: Connection) -> None:
    """Else a stage whose queue was deleted waits for ever."""
    await connection.api(f"CONSUMER.DELETE.{CHUNKS}.transcribe-cpu")
    async with Puller(connection.client, CHUNKS, "transcribe-cpu") as puller:
        with pytest.raises(BrokerError, match="cannot pull work"):
            await pulled(puller)


async def test_dead_letters_are_kept_side_by_side(connection: Connection) -> None:
    """Else only the last of two dead chunks of a job can be retried."""
    for n in range(2):
        assert await connection.publish(dead(original_subject=f"s{n}"))
    assert (await connection.api(f"STREAM.INFO.{DEAD}"))["state"]["messages"] == 2


async def waiting(connection: Connection, stream: str, consumer: str, pulls: int) -> None:
    """Until that many pulls wait at the server."""
    async with asyncio.timeout(PATIENCE):
        while (await connection.api(f"CONSUMER.INFO.{stream}.{consumer}"))["num_waiting"] != pulls:
            await asyncio.sleep(0.01)
