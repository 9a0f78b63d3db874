"""What a command shows while its job waits, on a real broker."""

import asyncio

import pytest

from schemas.events import Submitted
from tests.harness import ALL_STAGES, Server
from tests.patience import PATIENCE
from v2t_stream.broker.connection import Connection
from v2t_stream.cli import waiting
from v2t_stream.cli.bars import Bars
from v2t_stream.cli.follow import follow
from v2t_stream.fleet.presence import NodeInfo, tell
from v2t_stream.host.tasks import end
from v2t_stream.topology.queues import pause, resume


async def test_a_command_says_within_seconds_what_its_job_waits_for(
    nats: tuple[Server, Connection], capsys: pytest.CaptureFixture[str]
) -> None:
    """Else a user looks at a bar that does not move, and cannot tell a long queue from a broken fleet."""
    _, connection = nats
    said = ""

    async def until_told(sentence: str) -> None:
        nonlocal said
        async with asyncio.timeout(PATIENCE):
            while sentence not in said:
                await asyncio.sleep(0.05)
                said += capsys.readouterr().err

    async def announce() -> None:
        while True:
            for stage in ALL_STAGES:
                await tell(connection, NodeInfo(node="m4", stage=stage, pid=1, version="1", state="ready"))
            await asyncio.sleep(1)

    await connection.publish(Submitted(job="e-1", title="of somebody else", url="http://127.0.0.1/a.mp3"))
    with Bars() as bars:
        async with waiting.fleet_shown(connection, bars, patience=0.5, count_every=0.1):
            following = asyncio.create_task(follow(connection, "e-2", bars))
            await until_told("v2t: 1 job waits, because no node is up: start v2t up here")
            await pause(connection, "download")
            announcing = asyncio.create_task(announce())
            await connection.publish(Submitted(job="e-2", title="mine", url="http://127.0.0.1/b.mp3"))
            await until_told("v2t: 1 job waits in the queue, behind 1 other job\n")
            await until_told("v2t: 1 job waits, because the queue download is paused: v2t queue resume download\n")
            await resume(connection, "download")
            await end(following, announcing)
    assert "runs nowhere" not in said
