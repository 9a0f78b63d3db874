"""Server-sent events, with the facts published by the tests themselves."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest

from schemas.events import Cancelled, Listed
from schemas.message import Message
from schemas.speakers import Voice, Window
from tests import builders
from tests.harness import Server
from tests.patience import PATIENCE
from tests.serve.api import problem
from tests.serving import serving
from v2t_stream.broker.connection import Connection


class Event(NamedTuple):
    id: int
    kind: str
    data: Any


class Desk(NamedTuple):
    """A server without any node."""

    client: aiohttp.ClientSession
    connection: Connection
    broker: Server

    async def tell(self, *facts: Message) -> None:
        for fact in facts:
            assert await self.connection.publish(fact), fact


@pytest.fixture
async def desk(nats: tuple[Server, Connection], tmp_path: Path) -> AsyncIterator[Desk]:
    """A server on a broker that the test may break."""
    with serving(nats[0].url, tmp_path / "home") as server:
        async with aiohttp.ClientSession(server.url, timeout=aiohttp.ClientTimeout(PATIENCE)) as client:
            yield Desk(client, nats[1], nats[0])


async def heard(answer: aiohttp.ClientResponse) -> AsyncIterator[Event]:
    """The events of a stream as they come."""
    found: dict[str, str] = {}
    async for line in answer.content:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name:
            found[name] = value
        elif "data" in found:
            yield Event(int(found.get("id", 0)), found["event"], json.loads(found["data"]))
            found = {}


async def some(events: AsyncIterator[Event], count: int) -> list[Event]:
    return [await anext(events) for _ in range(count)]


def begun(job: str) -> list[Message]:
    return [builders.submitted(job), builders.downloaded(job)]


def numbered(job: str, numbers: range, letters: int = 1) -> list[Message]:
    return [builders.chunk(n, "x" * letters, job) for n in numbers]


def ended(job: str, chunks: int) -> list[Message]:
    return [builders.converted(job, chunks), builders.completed(job, transcript=f"transcripts/{job}/transcript")]


async def test_events_go_on_when_the_broker_comes_back(desk: Desk) -> None:
    """A page shows a job that stands still for ever, because the broker was updated meanwhile."""
    await desk.tell(*begun("j"))
    async with desk.client.get("/v1/jobs/j/events") as answer:
        events = heard(answer)
        told = await some(events, 2)
        desk.broker.kill()
        desk.broker.start()
        await desk.tell(*numbered("j", range(3)), *ended("j", 3))
        told += [event async for event in events]
    assert [event.kind for event in told] == [
        *("submitted", "downloaded", "chunk", "chunk", "chunk", "converted", "completed", "end")
    ]
    assert [event.data["n"] for event in told if event.kind == "chunk"] == [0, 1, 2]


async def test_a_client_that_comes_back_misses_nothing_and_hears_nothing_twice(desk: Desk) -> None:
    """Words are missing on a page, or stand there twice, after its connection broke."""
    chunks = 600  # more than the server keeps of a job
    await desk.tell(*begun("j"))

    async def work() -> None:
        await desk.tell(*numbered("j", range(chunks)), *ended("j", chunks))

    working = asyncio.create_task(work())
    told: list[Event] = []
    while not told or told[-1].kind != "end":
        last = {"Last-Event-ID": str(told[-1].id)} if told else {}
        async with desk.client.get("/v1/jobs/j/events", headers=last) as answer:
            assert answer.status == 200
            async for event in heard(answer):
                told.append(event)
                if not len(told) % 70:
                    break
    await working
    assert [event.data["n"] for event in told if event.kind == "chunk"] == list(range(chunks))
    assert [event.kind for event in told if event.kind != "chunk"] == [
        *("submitted", "downloaded", "converted", "completed", "end")
    ]
    async with desk.client.get("/v1/jobs/j/events", headers={"Last-Event-ID": str(told[-1].id)}) as answer:
        assert answer.status == 204  # an EventSource gives up


async def test_a_client_that_reads_slowly_delays_nobody_and_misses_nothing(desk: Desk) -> None:
    """One phone in a tunnel holds up every page, or fills the server's memory."""
    chunks, letters = 60, 200_000
    await desk.tell(*begun("j"))
    async with desk.client.get("/v1/jobs/j/events") as slow, desk.client.get("/v1/jobs/j/events") as quick:
        late, events = heard(slow), heard(quick)
        await some(late, 2)  # and no more for now
        await some(events, 2)
        await desk.tell(*numbered("j", range(chunks), letters), *ended("j", chunks))
        assert [event.kind async for event in events][-1] == "end"
        told = [event async for event in late]
    assert [event.data["n"] for event in told if event.kind == "chunk"] == list(range(chunks))
    assert told[-1].kind == "end"


async def test_a_retry_is_followed_like_the_first_run(desk: Desk) -> None:
    """Who watches a retry hears of the run before, and then of nothing."""
    await desk.tell(*begun("j"), *numbered("j", range(2)), *ended("j", 2))
    async with desk.client.get("/v1/jobs/j/events") as answer:
        *_, last = [event async for event in heard(answer)]
    await desk.tell(builders.rerun(builders.downloaded("j"), keeps=(0,)))
    async with desk.client.get("/v1/jobs/j/events", headers={"Last-Event-ID": str(last.id)}) as answer:
        events = heard(answer)
        assert (await anext(events)).kind == "rerun"
        async with desk.client.get("/v1/jobs/j") as now:
            known = await now.json()
        assert (known["state"], known["chunks_done"]) == ("transcribing", 1)  # the chunk that it keeps
        await desk.tell(*(builders.later(1, fact) for fact in (builders.chunk(1, "y", "j"), *ended("j", 2))))
        assert [event.kind async for event in events] == ["chunk", "converted", "completed", "end"]


async def test_voices_stay_with_the_pipeline(desk: Desk) -> None:
    """Whoever may read a transcript gets prints of the voices in it."""
    chunk = builders.chunk(0, "x", "j", windows=(Window(0, 1, (Voice(0, ((0, 1),), 1.0, b"print"),)),))
    await desk.tell(*begun("j"), chunk, Cancelled(job="j"))
    async with desk.client.get("/v1/jobs/j/events") as answer:
        told = [event async for event in heard(answer)]
    assert [event.kind for event in told] == ["submitted", "downloaded", "chunk", "cancelled", "end"]
    assert "windows" not in told[2].data


async def test_a_list_tells_of_its_entries_until_all_have_ended(desk: Desk) -> None:
    """The page of a playlist does not say which episodes are done."""
    await desk.tell(builders.submitted("l"), Listed(job="l", title="A podcast", children=2))
    await desk.tell(builders.submitted("l_1", parent="l"), builders.submitted("l_2", parent="l"))
    async with desk.client.get("/v1/jobs/l/events") as answer:
        events = heard(answer)
        told = await some(events, 4)
        assert [(event.kind, event.data.get("id")) for event in told[2:]] == [("job", "l_1"), ("job", "l_2")]
        await desk.tell(builders.failed("l_2"), *ended("l_1", 0))
        later = [event async for event in events]
    assert {(event.data["id"], event.data["state"]) for event in later if event.kind == "job"} >= {
        *(("l_1", "completed"), ("l_2", "failed"))
    }
    assert (later[-1].kind, later[-1].data) == ("end", {"state": "failed"})
    async with desk.client.get("/v1/events") as answer:
        told = (await anext(heard(answer))).data
    assert [(child["id"], child["state"]) for child in told["children"]] == [("l_1", "completed"), ("l_2", "failed")]


async def test_all_jobs_are_followed_at_once(desk: Desk) -> None:
    """A page must ask for each job every second, or shows yesterday's state."""
    await desk.tell(builders.submitted("a", title="first"), builders.submitted("b"))
    async with desk.client.get("/v1/events") as answer:
        events = heard(answer)
        told = await some(events, 3)
        assert {(event.kind, event.data.get("id")) for event in told} == {("job", "a"), ("job", "b"), ("ready", None)}
        await desk.tell(builders.submitted("c"))
        assert (await anext(events)).data["id"] == "c"
        await desk.tell(Cancelled(job="a"))
        assert (await anext(events)).data["state"] == "cancelled"
        await desk.connection.publish(Cancelled(job="b", removed=True))
        assert (await anext(events)).data == {"id": "b", "removed": True}


async def test_an_id_that_is_no_number_is_refused(desk: Desk) -> None:
    """A client that sends another stream's id hears everything again, or nothing."""
    await desk.tell(*begun("j"))
    for last in ("x", "-1", "1.5"):
        async with desk.client.get("/v1/jobs/j/events", headers={"Last-Event-ID": last}) as answer:
            assert "is not a number" in (await problem(answer, 400))["message"]
    async with desk.client.get("/v1/jobs/none/events") as answer:
        await problem(answer, 404)
