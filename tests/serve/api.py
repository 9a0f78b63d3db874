"""Requests that many tests of the HTTP API send."""

import io
import json
from typing import Any

import aiohttp

from tests.harness import DATA

CLIP = DATA / "5s.flac"
TALK = (DATA / "3min.ogg").read_bytes()
LONG = TALK * 3  # links of an Ogg: one recording of nine minutes, which is not done before a test has ended it


async def sent(client: aiohttp.ClientSession, **fields: str) -> str:
    """The job of a clip."""
    form = aiohttp.FormData({"model": "demo", "language": "en", "force": "true", **fields})
    form.add_field("file", CLIP.read_bytes(), filename="talk.flac")
    async with client.post("/v1/jobs", data=form) as answer:
        told = await answer.json()
        assert answer.status == 202, told
        assert answer.headers["Location"] == f"/v1/jobs/{told['id']}"
        return str(told["id"])


async def events(client: aiohttp.ClientSession, job: str, after: int = 0) -> list[tuple[str, int, dict[str, Any]]]:
    """The events of a job until it ends: their kinds, ids and data."""
    found = []
    async with client.get(f"/v1/jobs/{job}/events", headers={"Last-Event-ID": str(after)}) as answer:
        assert answer.status == 200
        assert answer.content_type == "text/event-stream"
        for block in (await answer.text()).split("\n\n"):
            lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
            if lines:
                found.append((lines["event"], int(lines.get("id", 0)), json.loads(lines["data"])))
    return found


async def done(client: aiohttp.ClientSession, **fields: str) -> str:
    """The job of a clip, when it has ended."""
    job = await sent(client, **fields)
    assert (await events(client, job))[-1][2] == {"state": "completed"}
    return job


async def problem(answer: aiohttp.ClientResponse, status: int) -> dict[str, Any]:
    """The error of an answer with this status: one sentence, in the shape that all errors have."""
    told = await answer.json()
    assert answer.status == status, told
    error = told["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert "\n" not in error["message"]
    return dict(error)


def form(clip: bytes = CLIP.read_bytes(), name: str = "talk.flac", **fields: str) -> aiohttp.FormData:
    """What a client of OpenAI's audio API sends, the file last."""
    data = aiohttp.FormData({"model": "demo", "language": "en", **fields})
    data.add_field("file", io.BytesIO(clip), filename=name)
    return data
