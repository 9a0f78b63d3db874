"""Three NATS servers, each with all data, of which one is killed, even the leader."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from nats.aio.msg import Msg

from schemas.events import Cancelled
from schemas.message import Message
from schemas.requests import SubmitRequest
from schemas.transcript import Segment
from tests.builders import task
from tests.cluster import Cluster, cluster, is_whole, leader
from tests.harness import DATA, Server, broker, ended, node, transcribe, upload
from tests.observed import hasten, observed, record, resumed
from tests.patience import PATIENCE
from tests.simulated import install
from v2t_stream.broker.connect import connect
from v2t_stream.broker.connection import Connection
from v2t_stream.errors import BrokerError
from v2t_stream.jobs.submission import submit
from v2t_stream.runtime.set_up import set_up
from v2t_stream.settings import Settings
from v2t_stream.topology.queues import pause
from v2t_stream.topology.streams import CHUNKS, INBOX, JOBS, STREAMS

ALL_STREAMS = (*STREAMS, "OBJ_v2t_media", "OBJ_v2t_uploads", "OBJ_v2t_transcripts", "OBJ_v2t_models", "OBJ_v2t_voices")


class Running(NamedTuple):
    """A cluster with a node, and the clip's result when nothing goes wrong."""

    servers: Cluster
    connection: Connection
    request: SubmitRequest
    undisturbed: tuple[Segment, ...]

    def again(self, title: str) -> SubmitRequest:
        """The same, as another job."""
        return msgspec.structs.replace(self.request, title=title)

    async def restored(self) -> None:
        """Start what was killed, and wait until it has caught up."""
        for member in self.servers.members.values():
            member.revive()
        async with asyncio.timeout(PATIENCE):
            for stream in ALL_STREAMS:
                while True:
                    with contextlib.suppress(BrokerError):
                        if await is_whole(self.connection, stream):
                            break
                    await asyncio.sleep(0.1)


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with cluster(tmp_path) as (servers, connection):
        await hasten(connection)
        with node(servers.url, tmp_path / "home", **{**install(tmp_path / "simulated"), "V2T_MODEL": "x60"}):
            request = SubmitRequest(force=True, media=await upload(connection, DATA / "3min.ogg"))
            job, _ = await transcribe(connection, request)
            undisturbed = (await record(connection, job.id)).segments
            yield Running(servers, connection, request, undisturbed)


async def test_servers_of_a_cluster_die(
    running: Running, request: pytest.FixtureRequest, shown: Callable[[str, str], None]
) -> None:
    """Else everything depends on one machine, the broker."""
    leading = ALL_STREAMS if request.config.getoption("--chaos") else (JOBS,)
    for stream in leading:
        await pause(running.connection, "aggregate")  # it is struck in the middle, however late this process is
        async with observed(running.connection, running.again(f"in work, {stream}")) as in_work:
            await in_work.until("chunk.0")
            running.servers.members[await leader(running.connection, stream)].kill()
            assert not in_work.count("completed")
            async with observed(running.connection, running.again(f"sent in the outage, {stream}")) as sent:
                await resumed(running.connection, "aggregate")
                await in_work.completes_as(running.undisturbed)
                await sent.completes_as(running.undisturbed)
        await running.restored()
    jobs = 2 * len(leading)
    shown(
        f"the leaders of {len(leading)} streams of a cluster of 3 servers killed, one after the other, each with a job "
        "in work and one sent before there was a new leader",
        f"{jobs} jobs completed once with each chunk stored once, {jobs} transcripts as undisturbed, "
        f"{len(ALL_STREAMS)} of {len(ALL_STREAMS)} streams on 3 servers again",
    )
    await pause(running.connection, "aggregate")
    async with observed(running.connection, running.again("two of three")) as in_work:
        await in_work.until("chunk.0")
        for member in list(running.servers.members.values())[:2]:
            member.kill()
        assert not in_work.count("completed")
        sending = asyncio.create_task(submit(running.connection, running.again("sent to one of three")))
        await running.restored()
        await resumed(running.connection, "aggregate")
        await in_work.completes_as(running.undisturbed)
        job_id, _ = await sending
        assert (await ended(running.connection, job_id)).state == "completed"
    shown("2 of 3 servers killed, with a job in work and one sent then, and started again", "2 jobs completed")

    await set_up(running.connection, Settings())  # by a node without V2T_REPLICAS
    await running.restored()


def _overhear(connection: Connection, *codes: int) -> asyncio.Event:
    """Set as soon as the server answers one of `codes`."""
    told = asyncio.Event()
    ask = connection.client.request

    async def request(*words: Any, **options: Any) -> Msg:
        reply = await ask(*words, **options)
        if json.loads(reply.data).get("error", {}).get("err_code") in codes:
            told.set()
        return reply

    connection.client.request = request  # type: ignore[method-assign]  # the server's own words, that nothing else shows
    return told


async def _as_stored(connection: Connection, stream: str, message: Message) -> bytes | None:
    """Publish, and look at once whether it stands there."""
    await connection.publish(message)
    stored = await connection.last(stream, message.subject)
    return stored.data if stored else None


async def _job(connection: Connection, title: str) -> str:
    request = SubmitRequest(url="https://example.com/a.ogg", title=title)
    job_id, _ = await submit(connection, request, message_id=f"sent-{title}")
    return job_id


_ON_ITS_WAY: dict[str, Callable[[Connection, str], Awaitable[object]]] = {
    INBOX: _job,
    JOBS: lambda connection, name: _as_stored(connection, JOBS, Cancelled(job=name)),
    CHUNKS: lambda connection, name: _as_stored(connection, CHUNKS, task(0, name)),
}


@pytest.mark.parametrize("stream", _ON_ITS_WAY)
async def test_what_only_the_leader_has_is_not_taken_for_stored(stream: str, tmp_path: Path) -> None:
    """Else a stored submission is refused, or work is lost with the only server that had it."""
    async with cluster(tmp_path) as (servers, connection), asyncio.timeout(PATIENCE):
        for name in map(str, itertools.count()):  # a server may hand over just before the two others are frozen
            leading = await leader(connection, stream)
            async with await connect(servers.members[leading].url, name="test") as sender, asyncio.TaskGroup() as tasks:
                with contextlib.ExitStack() as frozen:
                    for other in servers.members.keys() - {leading}:
                        frozen.enter_context(servers.members[other].frozen())
                    told = _overhear(sender, 10158, 10164)
                    sending = [tasks.create_task(_ON_ITS_WAY[stream](sender, name)) for _ in range(2)]
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(told.wait(), 5)
            first, second = (task.result() for task in sending)
            assert first is not None
            assert first == second
            if told.is_set():
                return


async def test_reading_begins_though_a_server_has_just_died(tmp_path: Path) -> None:
    """Else a command that follows a job must ask again, because its consumer died with the server."""
    async with cluster(tmp_path) as (servers, connection):
        await connection.publish(Cancelled(job="a"))
        leading = await leader(connection, JOBS)
        next(member for name, member in servers.members.items() if name != leading).kill()

        async def read() -> int:
            return len([stored async for stored in connection.watch(JOBS, "v2t.job.>", live=False) if stored])

        async with asyncio.timeout(PATIENCE):
            assert await asyncio.gather(*(read() for _ in range(12))) == [1] * 12


async def test_replicas_without_a_cluster_are_refused_with_what_to_do(tmp_path: Path) -> None:
    """Else a setting left over from another broker shows only a server's error code."""
    async with broker(tmp_path) as (_, connection):
        await connection.api(f"STREAM.DELETE.{JOBS}")
        with pytest.raises(
            BrokerError, match=r"V2T_REPLICAS=3 needs a cluster .*: start them as nats/cluster\.conf says"
        ):
            await set_up(connection, Settings(replicas=3))


async def test_the_other_servers_take_the_same_user(tmp_path: Path) -> None:
    """Else a client that names one server of a cluster is locked out by the others that it learns of."""
    user = "authorization { user: u, password: right }"
    first = Server(tmp_path / "one", f'cluster {{ name: c, listen: "127.0.0.1:-1" }}\n{user}', jetstream=False)
    first.start()
    (ports,) = first.folder.glob("*.ports")
    route = json.loads(ports.read_text())["cluster"][0]
    second = Server(
        tmp_path / "two", f'cluster {{ name: c, listen: "127.0.0.1:-1", routes: ["{route}"] }}\n{user}', jetstream=False
    )
    second.start()
    try:
        login = f"nats://u:right@127.0.0.1:{first.port}"
        async with await connect(f"nats://127.0.0.1:1,{login}", name="test") as connection:
            assert "right" not in connection.url
            async with asyncio.timeout(PATIENCE):
                while str(second.port) not in {str(server.port) for server in connection.client.servers}:
                    await asyncio.sleep(0.05)
                first.kill()
                while not (url := connection.client.connected_url) or url.port != second.port:
                    await asyncio.sleep(0.05)
                await connection.client.flush(int(PATIENCE))
        with pytest.raises(BrokerError, match="rejects the user") as caught:
            await connect(f"nats://127.0.0.1:1,nats://u:wrong@127.0.0.1:{second.port}", name="test")
        assert "wrong" not in str(caught.value)
    finally:
        first.stop()
        second.stop()
