"""Cancelling, retrying, removing and reading jobs by HTTP, and what wrong requests get."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from schemas.transcript import Segment
from tests import builders
from tests.conftest import Pipeline
from tests.harness import Server
from tests.serve.api import done, events, problem, sent
from tests.serving import serving
from v2t_stream.broker.connection import Connection
from v2t_stream.jobs.written import write
from v2t_stream.store.jetstream_store import JetStreamStore

NOWHERE = "http://127.0.0.1:9/talk"


async def failed(client: aiohttp.ClientSession) -> str:
    """A job that has failed."""
    async with client.post("/v1/jobs", json={"url": NOWHERE, "title": "nowhere"}) as answer:
        job = str((await answer.json())["id"])
    assert (await events(client, job))[-1][2] == {"state": "failed"}
    return job


async def test_a_job_is_there_at_once_and_can_be_cancelled_before_any_node_takes_it(
    nats: tuple[Server, Connection], tmp_path: Path
) -> None:
    """A program that asks for the job it was just given hears that there is none."""
    with serving(nats[0].url, tmp_path / "home") as server:
        async with aiohttp.ClientSession(server.url) as client:
            async with client.post("/v1/jobs", json={"url": NOWHERE, "title": "Talk"}) as answer:
                assert answer.status == 202
                where, told = answer.headers["Location"], await answer.json()
            assert (told["state"], told["title"], told["source"]) == ("queued", "Talk", NOWHERE)
            async with client.get(where) as answer:
                known = await answer.json()
            assert {name: known[name] for name in ("id", "state", "title")} == {
                name: told[name] for name in ("id", "state", "title")
            }
            assert "start v2t up here" in known["warning"]
            async with client.delete(where) as answer:
                assert (await answer.json())["state"] == "cancelled"
            async with client.get(where) as answer:
                assert (await answer.json())["state"] == "cancelled"
            async with client.delete(where) as answer:
                assert answer.status == 200  # whoever did not get the answer asks again


async def test_a_job_that_failed_is_retried_and_then_removed(client: aiohttp.ClientSession) -> None:
    """A program cannot get rid of what failed, nor try it again."""
    job = await failed(client)
    async with client.delete(f"/v1/jobs/{job}") as answer:
        assert "already failed" in (await problem(answer, 409))["message"]
    async with client.get(f"/v1/jobs/{job}/transcript.srt") as answer:
        assert "has no transcript: it is failed" in (await problem(answer, 409))["message"]
    async with client.post(f"/v1/jobs/{job}/retry") as answer:
        assert answer.status == 202
        assert (await answer.json())["state"] != "failed"
    assert [kind for kind, _, _ in await events(client, job)].count("failed") == 2
    async with client.delete(f"/v1/jobs/{job}", params={"remove": "true"}) as answer:
        assert answer.status == 204
    for path in ("", "/events", "/transcript.txt"):
        async with client.get(f"/v1/jobs/{job}{path}") as answer:
            assert (await problem(answer, 404))["code"] == "not_found"
    async with client.get("/v1/jobs", params={"title": "nowhere"}) as answer:
        assert job not in [each["id"] for each in (await answer.json())["data"]]


async def test_a_running_job_gives_what_there_is(nats: tuple[Server, Connection], tmp_path: Path) -> None:
    """Nobody can read along before the whole recording is done."""
    chunks = [builders.chunk(n, f"part {n}", "j") for n in range(2)]
    for fact in (builders.submitted("j"), builders.downloaded("j"), *chunks):
        await nats[1].publish(fact)
    with serving(nats[0].url, tmp_path / "home") as server:
        async with aiohttp.ClientSession(server.url) as client:
            async with client.get("/v1/jobs/j/transcript.txt") as answer:
                assert answer.headers["X-V2T-State"] == "transcribing"
                assert await answer.text() == "part 0\npart 1\n"
            async with client.get("/v1/jobs/j/transcript.json") as answer:
                assert [each["text"] for each in (await answer.json())["segments"]] == ["part 0", "part 1"]
            async with client.delete("/v1/jobs/j", params={"remove": ""}) as answer:
                assert "cancel it first" in (await problem(answer, 409))["message"]


async def test_a_transcript_outlives_the_facts_of_its_job(
    client: aiohttp.ClientSession, connection: Connection
) -> None:
    """Last month's transcript is stored, and nobody can read it by HTTP."""
    store = JetStreamStore(connection)
    await write(store, "transcripts/gone/transcript", builders.transcript(Segment(start=0, end=1, text="kept")))
    async with client.get("/v1/jobs/gone/transcript.txt") as answer:
        assert (await answer.text(), answer.headers["X-V2T-State"]) == ("kept\n", "completed")
    async with client.get("/v1/jobs/gone") as answer:
        await problem(answer, 404)


@pytest.mark.parametrize(
    ("method", "path", "status", "says", "param"),
    [
        ("GET", "/v1/jobs?state=happy", 400, "unknown state 'happy'", "state"),
        ("GET", "/v1/jobs?since=yesterday", 400, "neither an age such as 30min", "since"),
        ("GET", "/v1/jobs?limit=0", 400, "from 1 to 1000", "limit"),
        ("GET", "/v1/jobs?limit=many", 400, "is not a number", "limit"),
        ("GET", "/v1/jobs?after=none", 400, "there is no job 'none' to go on after", "after"),
        ("GET", "/v1/jobs?colour=red", 400, "unknown parameter 'colour'", "colour"),
        ("GET", "/v1/jobs/none", 404, "there is no job 'none'", None),
        ("GET", "/v1/jobs/none?x=1", 400, "unknown parameter 'x'", "x"),
        ("GET", "/v1/jobs/a%20*.%3E", 404, "there is no job", None),
        ("GET", "/v1/jobs/*", 404, "there is no job '*'", None),
        ("GET", "/v1/jobs/%3E/transcript.txt", 404, "there is no job '>'", None),
        ("DELETE", "/v1/jobs/none", 404, "there is no job 'none'", None),
        ("DELETE", "/v1/jobs/none?remove=maybe", 400, "neither true nor false", "remove"),
        ("POST", "/v1/jobs/none/retry", 404, "there is no job 'none'", None),
        ("PUT", "/v1/jobs", 405, "does not know that method", None),
        ("GET", "/v1/nothing", 404, "nothing is at this path", None),
        ("GET", "/v1/jobs/none/transcript.doc", 404, "unknown format 'doc'", "format"),
        ("GET", "/v1/jobs/none/transcript.srt?style=fancy", 400, "unknown style 'fancy'", "style"),
        ("GET", "/v1/jobs/none/transcript.txt?style=social", 400, "a style shapes only subtitles", "style"),
        ("GET", "/v1/jobs/none/transcript.srt?highlight_words=1", 400, "cannot show the time", "highlight_words"),
        ("GET", "/v1/jobs/none/transcript.srt?max_lines=9", 400, "the style is not valid", "max_lines"),
        ("GET", "/v1/jobs/none/transcript.srt?style=plain&fps=25", 400, "has no limits", "fps"),
        ("GET", "/v1/jobs/none/transcript.srt?min_cue=9", 400, "is more than max_cue", "min_cue"),
    ],
)
async def test_a_wrong_request_is_refused_with_one_sentence(  # noqa: PLR0917  # as the table has them
    client: aiohttp.ClientSession, method: str, path: str, status: int, says: str, param: str | None
) -> None:
    """Whoever mistypes a parameter gets everything, or an error that does not say what is wrong."""
    async with client.request(method, path) as answer:
        error = await problem(answer, status)
    assert says in error["message"]
    assert error["param"] == param


@pytest.mark.parametrize(
    ("body", "content_type", "status", "says"),
    [
        (b"{", "application/json", 400, "is not a JSON object"),
        (b"[]", "application/json", 400, "is not a JSON object"),
        (b"\xff", "application/json", 400, "is not a JSON object"),
        (b"[" * 100_000, "application/json", 400, "is not a JSON object"),
        (b"", "application/json", 400, "is not a JSON object"),
        (b"url=x", "application/x-www-form-urlencoded", 415, "send"),
        (b'{"url": 5}', "application/json", 400, "url is not valid"),
        (b'{"url": "http://localhost./x", "media": "media/x"}', "application/json", 400, "and not both"),
        (b'{"url": "http://[::ffff:10.0.0.1]/x"}', "application/json", 400, "not a public address"),
        (b'{"url": "http://2130706434/x"}', "application/json", 400, "not a public address"),
        (b'{"media": "media/../x"}', "application/json", 400, "invalid media key"),
        (b'{"url": "s3://b"}', "application/json", 400, "s3://BUCKET/KEY"),
    ],
)
async def test_a_wrong_body_is_refused_with_one_sentence(
    client: aiohttp.ClientSession, body: bytes, content_type: str, status: int, says: str
) -> None:
    """A job is made of what nobody meant, or a server answers with a stack trace."""
    async with client.post("/v1/jobs", data=body, headers={"Content-Type": content_type}) as answer:
        assert says in (await problem(answer, status))["message"]


async def test_pages_of_a_list_have_every_job_once(client: aiohttp.ClientSession) -> None:
    """A program that reads all jobs page by page misses some, or counts them twice."""
    jobs = [await sent(client, title=f"leaf {n}") for n in range(5)]
    await asyncio.gather(*(events(client, job) for job in jobs))
    found: list[str] = []
    while True:
        query = {"title": "LEAF ", "limit": "2"} | ({"after": found[-1]} if found else {})
        async with client.get("/v1/jobs", params=query) as answer:
            told: dict[str, Any] = await answer.json()
        found += [each["id"] for each in told["data"]]
        if not told["has_more"]:
            break
    assert found == jobs[::-1]
    async with client.get("/v1/jobs", params={"title": "leaf", "state": "failed,running", "since": "1h"}) as answer:
        assert (await answer.json()) == {"data": [], "has_more": False}


async def test_the_fleet_is_shown(client: aiohttp.ClientSession, pipeline: Pipeline) -> None:
    """Nobody sees by HTTP why a job waits."""
    await done(client)
    async with client.get("/v1/fleet") as answer:
        nodes = (await answer.json())["data"]
    assert {"intake", "download", "convert", "transcribe", "aggregate"} <= {each["stage"] for each in nodes}
