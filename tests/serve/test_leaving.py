"""Clients of OpenAI's audio API that do not wait for the end, and servers that end before it."""

import asyncio
import contextlib
from pathlib import Path

import aiohttp

from tests.conftest import Pipeline
from tests.patience import PATIENCE
from tests.serve.api import LONG, TALK, form
from tests.serving import serving
from v2t_stream.broker.connection import Connection
from v2t_stream.jobs.following import states


async def test_a_client_that_goes_away_takes_its_job_along(
    client: aiohttp.ClientSession, connection: Connection
) -> None:
    """The fleet works for hours for somebody who has closed the window."""
    for clip, headers, end in ((LONG, {}, "cancelled"), (TALK, {"x-v2t-keep": "true"}, "completed")):
        data = form(clip, "talk.ogg", stream="true", force="true")
        async with client.post("/v1/audio/transcriptions", data=data, headers=headers) as answer:
            job = answer.headers["X-V2T-Job"]
            await answer.content.readline()
        assert await ends(connection, job) == end


async def test_a_client_that_gives_up_waiting_takes_its_job_along(
    client: aiohttp.ClientSession, connection: Connection
) -> None:
    """A client without a stream notices nothing, and its job goes on."""
    data = form(LONG, "talk.ogg", title="given up", force="true")
    waiting = asyncio.create_task(client.post("/v1/audio/transcriptions", data=data))
    async with asyncio.timeout(PATIENCE):
        while not (found := await listed(client, "given up")):
            await asyncio.sleep(0.02)
    waiting.cancel()
    assert await ends(connection, found[0]) == "cancelled"


async def test_a_server_that_stops_takes_no_job_along(
    pipeline: Pipeline, connection: Connection, tmp_path: Path
) -> None:
    """An update of the server throws away what everybody waits for."""
    with serving(pipeline.url, tmp_path / "home") as stopping:
        async with aiohttp.ClientSession(stopping.url) as client:
            data = form(LONG, "talk.ogg", stream="true", force="true")
            async with client.post("/v1/audio/transcriptions", data=data) as answer:
                await answer.content.readline()
                stopping.process.terminate()
                with contextlib.suppress(aiohttp.ClientError):
                    await answer.read()
        assert stopping.process.wait(PATIENCE) == 0
    assert await ends(connection, answer.headers["X-V2T-Job"]) == "completed"


async def ends(connection: Connection, job: str) -> str:
    """How a job ends."""
    async with asyncio.timeout(PATIENCE):
        return [state.state async for state in states(connection, job)][-1]


async def listed(client: aiohttp.ClientSession, title: str) -> list[str]:
    async with client.get("/v1/jobs", params={"title": title}) as answer:
        return [job["id"] for job in (await answer.json())["data"]]
