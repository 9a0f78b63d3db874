"""`GET /v1/search` on a running pipeline."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.conftest import Pipeline
from tests.patience import PATIENCE
from tests.serve.api import done, problem
from tests.serving import serving


async def found(client: aiohttp.ClientSession, **query: str) -> dict[str, Any]:
    async with client.get("/v1/search", params=query) as answer:
        told: dict[str, Any] = await answer.json()
        assert answer.status == 200, told
        return told


async def until(client: aiohttp.ClientSession, jobs: set[str], **query: str) -> list[dict[str, Any]]:
    """The places, once they are in these jobs."""
    async with asyncio.timeout(PATIENCE):
        while True:
            told = await found(client, **query)
            if {each["job"] for each in told["data"]} == jobs and told["complete"]:
                return list(told["data"])
            await asyncio.sleep(0.05)


async def test_words_are_found_until_nobody_may_find_them(client: aiohttp.ClientSession) -> None:
    """A word that was said is not found; or one that was corrected, redone or removed still is."""
    # Other tests do the same recording, and must not get the corrected transcript of it.
    job, other = await done(client, beam_size="3"), await done(client)
    async with client.get(f"/v1/jobs/{job}/transcript.json") as answer:
        record, prefix = await answer.json(), answer.headers["X-V2T-Transcript"]
    segment = record["segments"][0]
    word = segment["text"].split()[0].strip(",.")
    (place,) = await until(client, {job}, q=word.upper(), job=job, limit="1")
    assert {name: place[name] for name in ("n", "start", "end", "text")} == {"n": 0} | {
        name: segment[name] for name in ("start", "end", "text")
    }
    assert place["title"] == "talk.flac"
    begin, end = place["marks"][0]
    assert place["text"][begin:end] == word
    async with client.patch(
        f"/v1/jobs/{job}/transcript", json={"of": prefix, "segments": {"0": "Zwölf Boxkämpfer"}}
    ) as answer:
        assert answer.status == 200
    await until(client, {job}, q='"zwolf box*"')
    await until(client, set(), q=f'"{segment["text"]}"', job=job)
    await until(client, {other}, q=word, job=other)
    async with client.delete(f"/v1/jobs/{job}", params={"remove": "true"}) as answer:
        assert answer.status == 204
    await until(client, set(), q="zwölf")
    async with client.get("/v1/search", params={"q": word, "job": job}) as answer:
        await problem(answer, 404)


@pytest.mark.parametrize(
    ("query", "param"),
    [({}, "q"), ({"q": " "}, "q"), ({"q": "x" * 1001}, "q"), ({"q": "x", "limit": "0"}, "limit"), ({"Q": "x"}, "Q")],
)
async def test_a_query_that_cannot_be_answered_is_refused_by_name(
    client: aiohttp.ClientSession, query: dict[str, str], param: str
) -> None:
    """A program that asks wrongly hears that nobody said it."""
    async with client.get("/v1/search", params=query) as answer:
        assert (await problem(answer, 400))["param"] == param


async def test_servers_share_an_index_that_may_vanish_or_be_damaged(pipeline: Pipeline, tmp_path: Path) -> None:
    """Two servers of a machine spoil each other's index, or a damaged one is never mended."""
    with serving(pipeline.url, tmp_path) as first, serving(pipeline.url, tmp_path) as second:
        async with aiohttp.ClientSession(first.url) as one, aiohttp.ClientSession(second.url) as two:
            job = await done(one)
            async with one.get(f"/v1/jobs/{job}/transcript.txt") as answer:
                word = (await answer.text()).split()[0]
            for client in (one, two):
                await until(client, {job}, q=word, job=job)
            (index,) = (tmp_path / "search").glob("*.sqlite")
            index.unlink()
            await until(two, {job}, q=word, job=job)
            index.write_bytes(b"no database" * 1000)
            async with asyncio.timeout(PATIENCE):
                while (await two.get("/v1/search", params={"q": word})).status != 200:
                    await asyncio.sleep(0.05)
            await until(two, {job}, q=word, job=job)
            first.process.terminate()
            first.process.wait(PATIENCE)
            later = await done(two)
            await until(two, {later}, q=word, job=later)
