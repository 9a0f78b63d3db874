"""The jobs of the HTTP API, as a program uses them."""

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.harness import DATA, reference
from tests.patience import PATIENCE
from tests.serving import Serving
from v2t_stream.demo.wer import word_error_rate

CLIP = DATA / "5s.flac"


@pytest.fixture
async def client(server: Serving) -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(PATIENCE)
    async with aiohttp.ClientSession(server.url, timeout=timeout) as session:
        yield session


async def sent(client: aiohttp.ClientSession, **fields: str) -> dict[str, Any]:
    """The job of a clip."""
    form = aiohttp.FormData({"model": "demo", "language": "en", "force": "true", **fields})
    form.add_field("file", CLIP.read_bytes(), filename="talk.flac")
    async with client.post("/v1/jobs", data=form) as answer:
        told = await answer.json()
        assert answer.status == 202, told
        assert answer.headers["Location"] == f"/v1/jobs/{told['id']}"
        return dict(told)


async def events(client: aiohttp.ClientSession, path: str, after: int = 0) -> list[tuple[str, int, dict[str, Any]]]:
    """The events of a stream until it ends: their kinds, ids and data."""
    found = []
    async with client.get(path, headers={"Last-Event-ID": str(after)}) as answer:
        assert answer.status == 200
        assert answer.content_type == "text/event-stream"
        for block in (await answer.text()).split("\n\n"):
            lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
            if lines:
                found.append((lines["event"], int(lines.get("id", 0)), json.loads(lines["data"])))
    return found


async def test_a_file_becomes_a_transcript_by_http_alone(client: aiohttp.ClientSession) -> None:
    """Programs that speak only HTTP cannot use the fleet."""
    job = (await sent(client))["id"]
    told = await events(client, f"/v1/jobs/{job}/events")
    assert [kind for kind, _, _ in told if kind != "progress"] == [
        *("submitted", "downloaded", "language", "chunk", "converted", "completed", "end")
    ] or {kind for kind, _, _ in told} >= {"submitted", "downloaded", "chunk", "converted", "completed", "end"}
    assert told[-1] == ("end", 0, {"state": "completed"})
    ids = [id_ for _, id_, _ in told[:-1]]
    assert ids == sorted(set(ids))
    async with client.get(f"/v1/jobs/{job}/transcript.txt") as answer:
        assert word_error_rate(reference(CLIP.name), await answer.text()) <= 0.1
        assert answer.headers["X-V2T-State"] == "completed"
        assert answer.headers["X-V2T-Transcript"].startswith("transcripts/")
    async with client.get(f"/v1/jobs/{job}/transcript.srt", params={"style": "social"}) as answer:
        assert max(len(line) for line in (await answer.text()).splitlines()) <= 29
    async with client.get(f"/v1/jobs/{job}") as answer:
        known = await answer.json()
        assert (known["state"], known["title"], known["caveats"]) == ("completed", "talk.flac", [])
    async with client.get("/v1/jobs", params={"title": "talk.flac", "limit": "1"}) as answer:
        listed = await answer.json()
        assert [each["id"] for each in listed["data"]] == [job]
