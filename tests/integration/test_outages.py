"""Outages, full disks, missing files and wrong clocks: the pipeline recovers, or says what happened."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from schemas.events import ChunkDone
from schemas.requests import SubmitRequest
from tests.clock import wrong_by
from tests.harness import ALL_STAGES, DATA, Node, Server, alive, broker, ended, node, transcribe, upload
from tests.observed import ACK_WAIT, hasten, observed, record, resumed
from tests.patience import PATIENCE
from tests.proxy import Proxy
from tests.simulated import install
from tests.small_disk import small_disk
from v2t_stream.broker.connection import Connection
from v2t_stream.fleet.presence import fleet
from v2t_stream.jobs.submission import submit
from v2t_stream.store.jetstream_store import JetStreamStore
from v2t_stream.topology.queues import pause
from v2t_stream.topology.streams import CHUNKS

SHARED = ("intake", "download", "convert", "aggregate")
Shown = Callable[[str, str], None]


class House(NamedTuple):
    """A broker without stages, and the variables for a node with the simulated engine."""

    server: Server
    connection: Connection
    folder: Path
    simulated: dict[str, str]

    @property
    def store(self) -> JetStreamStore:
        return JetStreamStore(self.connection)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with broker(tmp_path / "nats") as (server, connection):
        await hasten(connection)
        yield House(server, connection, tmp_path, install(tmp_path / "simulated"))
        server.revive()


# -- the network


async def test_a_late_result_of_a_node_that_was_cut_off_changes_nothing(house: House, shown: Shown) -> None:
    """Else a machine whose network comes back overwrites, or doubles, what another did in its place.

    The two hear different languages, so that it would be seen whose words stand there.
    """
    connection = house.connection
    async with Proxy(house.server.port) as network:
        hub = node(house.server.url, house.folder / "hub", *SHARED)
        cut_off = node(
            network.url,
            house.folder / "cut-off",
            "transcribe",
            **{**house.simulated, "V2T_MODEL": "x5-de", "V2T_NODE": "cut-off"},
        )
        other = node(
            house.server.url,
            house.folder / "other",
            "transcribe",
            **{**house.simulated, "V2T_MODEL": "x1000-fr", "V2T_NODE": "other"},
        )
        with hub, cut_off as far:
            media = await upload(connection, DATA / "20s-1.flac")
            async with asyncio.timeout(PATIENCE):
                await alive(connection)
            before = network.carried
            async with observed(connection, SubmitRequest(force=True, media=media, multilingual=True)) as job:
                arriving = await connection.client.subscribe(f"v2t.job.{job.id}.chunk.0")
                await job.until("converted")
                audio = await house.store.size(f"media/{job.id}/chunks/0.flac")
                assert audio
                async with asyncio.timeout(PATIENCE):
                    while network.carried < before + audio:
                        await asyncio.sleep(0.01)
                network.open.clear()
                began = time.monotonic()
                with other:
                    await job.until("completed")
                    first = msgspec.json.decode((await arriving.next_msg(PATIENCE)).data, type=ChunkDone)
                    transcript = await house.store.get(f"transcripts/{job.id}/transcript.json")
                    async with asyncio.timeout(PATIENCE):
                        while f"PUB v2t.job.{job.id}.chunk.0".encode() not in network.held:
                            await asyncio.sleep(0.01)
                    lasted = time.monotonic() - began
                    assert lasted > ACK_WAIT
                    network.open.set()
                    late = first
                    while late.node == "other":  # which may have sent its own again
                        late = msgspec.json.decode((await arriving.next_msg(PATIENCE)).data, type=ChunkDone)
                    assert (first.node, first.language) == ("other", "fr")
                    assert (late.node, late.language) == ("cut-off", "de")
                    # What arrived after it is known by now to the one who watches.
                    await house.store.put("media/x", b"")
                    assert (job.count("chunk.0"), job.count("completed")) == (1, 1)
                    assert await house.store.get(f"transcripts/{job.id}/transcript.json") == transcript
                    assert not await connection.subjects(CHUNKS, ">")
                    far.kill("transcribe")  # who waits for its end is the one who carries its messages
    shown(
        f"the network of a node cut for {lasted:.1f} s (ack_wait {ACK_WAIT:g} s) with a chunk in hand",
        "1 late result arrived, 1 result stored (the other node's), 1 completion, the transcript unchanged",
    )


# -- the object store


async def test_audio_that_is_gone_leaves_a_gap(house: House, shown: Shown) -> None:
    """Else a job waits for ever for a chunk that nobody can do."""
    connection, store = house.connection, house.store
    with node(house.server.url, house.folder / "hub", *SHARED):
        media = await upload(connection, DATA / "3min.ogg")
        async with observed(connection, SubmitRequest(force=True, media=media)) as job:
            await job.until("converted")
            await store.delete(f"media/{job.id}/chunks/1.flac")
            with node(house.server.url, house.folder / "one", "transcribe", **house.simulated, V2T_MODEL="x1000"):
                after = await ended(connection, job.id)
    assert after.state == "completed"
    assert [gap.chunk for gap in after.gaps] == [1]
    assert "chunk 1 is no longer in the object store: submit the job again" in after.gaps[0].reason
    shown("the audio of 1 chunk deleted before it was transcribed", "1 job completed with 1 gap, which says so")


async def test_media_that_is_gone_fails_the_job(house: House, shown: Shown) -> None:
    """Else a job whose media has expired hangs between two stages."""
    connection, store = house.connection, house.store
    with node(house.server.url, house.folder / "hub", "intake", "download"):
        media = await upload(connection, DATA / "5s.flac")
        async with observed(connection, SubmitRequest(force=True, media=media)) as job:
            await job.until("downloaded")
            await store.delete(media)
            with node(house.server.url, house.folder / "one", "convert"):
                after = await ended(connection, job.id)
    assert after.state == "failed"
    assert "is no longer in the object store: send it again" in after.reason
    shown("the media deleted before it was converted", "1 job failed with a sentence that says so")


@pytest.mark.parametrize("how", ["hangs", "is gone"])
async def test_the_store_is_away_for_a_while(
    how: str, house: House, request: pytest.FixtureRequest, shown: Shown
) -> None:
    """Else an outage of the store during reads and writes costs a job, or nobody notices it.

    The embedded store is the broker's: where it is away, so is all else. `--chaos` makes it a minute.
    """
    lasting = 60 if request.config.getoption("--chaos") else 8
    connection = house.connection
    with node(house.server.url, house.folder / "all", **house.simulated, V2T_MODEL="x60"):
        wish = SubmitRequest(force=True, media=await upload(connection, DATA / "3min.ogg"))
        job, _ = await transcribe(connection, wish)
        undisturbed = (await record(connection, job.id)).segments
        await pause(connection, "aggregate")  # the job is not done before it is struck, however late this process is
        async with observed(connection, msgspec.structs.replace(wish, title="again")) as again:
            await again.until("progress.convert")  # chunks are on their way into the store
            if how == "hangs":
                house.server.signal(signal.SIGSTOP)
            else:
                house.server.kill()
            assert not again.count("completed")
            await asyncio.sleep(lasting)
            if how == "hangs":
                house.server.signal(signal.SIGCONT)
            else:
                house.server.start()
            back = time.monotonic()
            await resumed(connection, "aggregate")
            await again.completes_as(undisturbed)
    shown(
        f"a store that {how} for {lasting} s while chunks are written to it",
        f"1 job completed once, as undisturbed, {time.monotonic() - back:.0f} s after it was back",
    )


# -- disks


def fill(folder: Path) -> Path:
    """Fill the disk of `folder`; returns the file that fills it."""
    path = folder / "other data"
    with path.open("wb") as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(65_536))
            file.flush()
    return path


async def test_the_disk_of_the_broker_is_full_in_the_middle_of_a_job(tmp_path: Path, shown: Shown) -> None:
    """Else a full disk loses accepted work, even when there is room again."""
    with small_disk(tmp_path / "nats", "128m") as disk:
        async with broker(disk) as (server, connection):
            await hasten(connection)
            simulated = install(tmp_path / "simulated")
            with node(server.url, tmp_path / "all", **simulated, V2T_MODEL="x60"):
                wish = SubmitRequest(force=True, media=await upload(connection, DATA / "3min.ogg"))
                job, _ = await transcribe(connection, wish)
                undisturbed = (await record(connection, job.id)).segments
                await pause(connection, "aggregate")
                async with observed(connection, msgspec.structs.replace(wish, title="again")) as again:
                    await again.until("chunk.0")
                    other = fill(disk)
                    async with asyncio.timeout(PATIENCE):
                        while "no space left on device" not in (disk / "server.log").read_text():
                            await asyncio.sleep(0.05)
                    assert not again.count("completed")
                    other.unlink()
                    server.kill()
                    server.start()
                    await resumed(connection, "aggregate")
                    await again.completes_as(undisturbed)
    shown(
        "the broker's disk full with a job in work, then freed and the broker restarted",
        "1 job completed once, as undisturbed",
    )


async def test_a_full_scratch_disk_that_is_freed_costs_nothing(house: House, shown: Shown) -> None:
    """Else a machine that was full for a minute needs repair, or fails all its jobs."""
    connection = house.connection
    with (
        small_disk(house.folder / "small", "128k") as small,
        node(house.server.url, house.folder / "hub", "intake", "download", "aggregate"),
        node(house.server.url, small, "convert") as full,
        node(house.server.url, house.folder / "one", "transcribe", **house.simulated, V2T_MODEL="x1000"),
    ):
        media = await upload(connection, DATA / "3min.ogg")
        async with observed(connection, SubmitRequest(force=True, media=media)) as job:
            async with asyncio.timeout(PATIENCE):
                while "free space there" not in full.log("convert"):
                    await asyncio.sleep(0.05)
            subprocess.run(["mount", "-o", "remount,size=64m", str(small)], check=True)
            await job.until("completed")
        assert (await ended(connection, job.id)).gaps == []
    shown("the disk of the node that converts full, then freed", "1 job completed, and the disk was named in the log")


# -- clocks


async def test_the_clocks_of_nodes_are_an_hour_off(house: House, shown: Shown) -> None:
    """Else a machine without a time server is invisible, or its jobs look as if they had ended before they began."""
    connection = house.connection
    clocks = {"ahead": wrong_by(3600, house.folder / "ahead"), "behind": wrong_by(-3600, house.folder / "behind")}

    def machine(name: str) -> contextlib.AbstractContextManager[Node]:
        path = f"{clocks[name]['PYTHONPATH']}:{house.simulated['PYTHONPATH']}"
        environment = {**house.simulated, "V2T_MODEL": "x60", "V2T_NODE": name, "PYTHONPATH": path}
        return node(house.server.url, house.folder / f"node {name}", **environment)

    begun = time.time()
    with machine("ahead"), machine("behind") as behind:
        async with asyncio.timeout(PATIENCE):
            while len(await fleet(connection)) < 2 * len(ALL_STAGES):
                await asyncio.sleep(0.1)
        media = await upload(connection, DATA / "3min.ogg")
        jobs = [await submit(connection, SubmitRequest(force=True, media=media, title=f"{n}")) for n in range(3)]
        for job_id, _ in jobs:
            job = await ended(connection, job_id)
            assert job.state == "completed", job.reason
            assert {chunk.node for chunk in job.chunks.values()} <= {"ahead", "behind"}
            assert job.started_at
            assert job.ended_at
            assert begun - 5 < job.started_at <= job.ended_at < time.time() + 5
        environment = {**os.environ, **clocks["ahead"], "NATS_URL": house.server.url}

        def listed() -> set[tuple[str, str]]:
            command = [sys.executable, "-m", "v2t_stream", "node", "list", "--json"]
            told = subprocess.run(command, env=environment, capture_output=True, check=True).stdout
            return {(info["node"], info["stage"]) for info in json.loads(told)}

        async with asyncio.timeout(PATIENCE):  # one that stands still for 4 s is not listed
            while await asyncio.to_thread(listed) != {(name, stage) for name in clocks for stage in ALL_STAGES}:
                pass
        behind.kill("transcribe")
        async with asyncio.timeout(PATIENCE):
            while any((info.node, info.stage) == ("behind", "transcribe") for info in await fleet(connection)):
                await asyncio.sleep(0.1)
    shown(
        "the clock of one node an hour ahead, of another an hour behind",
        f"{len(jobs)} jobs completed with times by the broker's clock, {2 * len(ALL_STAGES)} of {2 * len(ALL_STAGES)} "
        "processes listed as alive, 1 killed one forgotten",
    )
