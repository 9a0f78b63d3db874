"""Three NATS servers, each with all of the data, of which one is killed: the one that leads, too."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from schemas.requests import SubmitRequest
from schemas.transcript import Segment
from tests.cluster import Cluster, cluster, is_whole, leader
from tests.harness import DATA, node, transcribe, upload
from tests.observed import hasten, observed, record
from tests.simulated import install
from v2t_stream.errors import BrokerError
from v2t_stream.jetstream import Connection
from v2t_stream.topology import CHUNKS, JOBS, STREAMS

ALL_STREAMS = (*STREAMS, "OBJ_v2t_media", "OBJ_v2t_transcripts")


class Running(NamedTuple):
    """A cluster with a node on it, and what a job makes of the clip where nothing goes wrong."""

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
        async with asyncio.timeout(40):
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
            request = SubmitRequest(media=await upload(connection, DATA / "3min.ogg"))
            job, _ = await transcribe(connection, request)
            undisturbed = (await record(connection, job.id)).segments
            yield Running(servers, connection, request, undisturbed)


@pytest.mark.timeout(240)
async def test_one_server_of_three_dies(running: Running, shown: Callable[[str, str], None]) -> None:
    """Else the broker is the one machine that everything hangs on."""
    killed = []
    for stream in (JOBS, CHUNKS):
        async with observed(running.connection, running.again(f"in work, {stream}")) as in_work:
            await in_work.until("chunk.0")
            killed.append(await leader(running.connection, stream))
            running.servers.members[killed[-1]].kill()
            assert not in_work.count("completed")
            async with observed(running.connection, running.again(f"sent in the outage, {stream}")) as sent:
                await in_work.completes_as(running.undisturbed)
                await sent.completes_as(running.undisturbed)
        await running.restored()
    shown(
        "in a cluster of 3 servers, R3, the leader of the facts killed, and then that of the chunks, each with a job "
        "in work and one sent before there was a new leader",
        f"4 jobs completed once, each chunk stored once, 4 transcripts equal to the undisturbed one; "
        f"{len(ALL_STREAMS)} of {len(ALL_STREAMS)} streams on 3 servers again",
    )


@pytest.mark.timeout(240)
async def test_two_servers_of_three_die_and_come_back(running: Running, shown: Callable[[str, str], None]) -> None:
    """Else what was accepted before is lost, or what is sent then is taken and forgotten."""
    one, two, _ = running.servers.members.values()
    async with observed(running.connection, running.again("in work")) as job:
        await job.until("chunk.0")
        one.kill()
        two.kill()
        with pytest.raises(BrokerError):
            await running.connection.api(f"STREAM.INFO.{JOBS}")
        assert not job.count("completed")
        await running.restored()
        await job.completes_as(running.undisturbed)
    shown("2 of 3 servers killed with a job in work, and started again", "1 job completed once, as undisturbed")
