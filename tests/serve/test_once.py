"""Requests that are repeated with an `Idempotency-Key`."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from schemas.requests import SubmitRequest
from tests.conftest import Pipeline
from tests.serve.api import CLIP, problem
from tests.serving import Serving, serving
from v2t_stream.broker.connection import Connection
from v2t_stream.jobs.submission import submit
from v2t_stream.serve.once import Repeatable
from v2t_stream.serve.problems import Problem
from v2t_stream.store.jetstream_store import JetStreamStore
from v2t_stream.store.protocol import UPLOADED

NOWHERE = "http://127.0.0.1:9/talk"


async def post(server: str, key: str, **wish: Any) -> dict[str, Any]:
    """The job that a server gives."""
    async with (
        aiohttp.ClientSession(server) as client,
        client.post("/v1/jobs", json=wish, headers={"Idempotency-Key": key}) as answer,
    ):
        told = await answer.json()
        assert answer.status == 202, told
        return dict(told)


def repeatable(connection: Connection, key: str, wish: SubmitRequest, **more: Any) -> Repeatable:
    return Repeatable(connection, sender="", key=key, about=msgspec.json.encode(wish), **more)


async def test_the_same_request_at_two_servers_at_once_makes_one_job(
    pipeline: Pipeline, server: Serving, tmp_path: Path
) -> None:
    """A proxy that sends a request again doubles the work, and the bill."""
    with serving(pipeline.url, tmp_path / "other") as other:
        urls = [server.url, other.url] * 8
        jobs = await asyncio.gather(*(post(url, "at once", url=NOWHERE, title="one") for url in urls))
    assert len({job["id"] for job in jobs}) == 1
    with serving(pipeline.url, tmp_path / "later") as later:
        assert (await post(later.url, "at once", url=NOWHERE, title="one"))["id"] == jobs[0]["id"]
    assert (await post(server.url, "another", url=NOWHERE, title="one"))["id"] != jobs[0]["id"]


async def test_a_key_that_is_used_again_for_something_else_is_refused(
    client: aiohttp.ClientSession, server: Serving
) -> None:
    """A program that mixes up its keys gets the transcript of another recording."""
    await post(server.url, "used", url=NOWHERE)
    headers = {"Idempotency-Key": "used"}
    for wish in ({"url": NOWHERE, "language": "de"}, {"url": f"{NOWHERE}/2"}):
        async with client.post("/v1/jobs", json=wish, headers=headers) as answer:
            assert (await problem(answer, 422))["code"] == "idempotency_key_reused"
    async with client.post("/v1/jobs", json={"url": NOWHERE}, headers={"Idempotency-Key": "x" * 256}) as answer:
        await problem(answer, 400)


async def test_a_file_that_is_sent_again_is_not_kept_twice(
    client: aiohttp.ClientSession, connection: Connection
) -> None:
    """Each repetition of an upload takes its space in the store for days."""
    store = JetStreamStore(connection)
    before = await store.keys(f"{UPLOADED}/")
    jobs = set()
    for fields in ({}, {}, {"language": "de"}, {"colour": "red"}):
        form = aiohttp.FormData({"model": "demo", "language": "en", **fields})
        form.add_field("file", CLIP.read_bytes(), filename="talk.flac")
        async with client.post("/v1/jobs", data=form, headers={"Idempotency-Key": "file"}) as answer:
            jobs.add((answer.status, (await answer.json()).get("id")))
    assert sorted(status for status, _ in jobs) == [202, 400, 422]
    assert len(set(await store.keys(f"{UPLOADED}/")) - set(before)) <= 1  # its own, which goes with its media


@pytest.mark.parametrize("is_submitted", [False, True])
async def test_a_server_that_died_in_the_middle_leaves_a_request_that_can_be_repeated(
    server: Serving, connection: Connection, *, is_submitted: bool
) -> None:
    """The client repeats its request as it should, and has two jobs, or none."""
    key, wish = f"died {is_submitted}", SubmitRequest(url=NOWHERE)
    claim = await repeatable(connection, key, wish).claimed()
    first = (await submit(connection, wish, message_id=claim.once.message))[0] if is_submitted else ""
    again = [(await post(server.url, key, url=NOWHERE))["id"] for _ in range(2)]
    assert len({*again, first or again[0]}) == 1


async def test_a_request_that_may_have_made_a_job_long_ago_is_not_made_again(connection: Connection) -> None:
    """The broker has forgotten the first message by then, so a second job would begin unseen."""
    wish = SubmitRequest(url=NOWHERE)
    await repeatable(connection, "interrupted", wish).claimed()
    with pytest.raises(Problem, match="may have made a job: look for it"):
        await repeatable(connection, "interrupted", wish, window=0).earlier()
