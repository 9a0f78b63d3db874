"""Playlists, feeds and earlier transcripts: real stages, and the real yt-dlp with a web server on loopback."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from typing import NamedTuple

import msgspec
import pytest

from schemas.events import Completed, Submitted
from schemas.options import LANGUAGES
from schemas.requests import SubmitRequest
from stages.download import Download
from tests.builders import resources, submitted
from tests.harness import DATA, Node, Server, ended, simulated, until, upload
from tests.patience import PATIENCE
from tests.web import Web, web
from v2t_stream.broker.connect import connect
from v2t_stream.broker.connection import Connection
from v2t_stream.errors import V2TError
from v2t_stream.jobs import operations
from v2t_stream.jobs.assembly import stored
from v2t_stream.jobs.formats import FORMATS
from v2t_stream.jobs.lists import children, read
from v2t_stream.jobs.state import Job
from v2t_stream.jobs.submission import submit
from v2t_stream.store.jetstream_store import JetStreamStore
from v2t_stream.topology.ids import child_id, inbox_epoch, job_id
from v2t_stream.topology.streams import JOBS
from v2t_stream.topology.subjects import SUBMIT_SUBJECT


class Running(NamedTuple):
    server: Server
    machine: Node
    site: Web


class House:
    """Shared by all tests here; work that one of them sends never counts as done before for another."""

    def __init__(self, running: Running, connection: Connection, language: str) -> None:
        self.machine = running.machine
        self.site = running.site
        self.connection = connection
        self.store = JetStreamStore(connection)
        self.language = language
        self._count = itertools.count()

    async def url(self, path: str, **options: object) -> str:
        """Submit a path of the web server; the job."""
        job, _ = await submit(self.connection, self._request(url=f"{self.site.url}/{path}", **options))
        return job

    async def file(self, name: str, **options: object) -> Job:
        """A file through all stages."""
        media = await upload(self.connection, DATA / name)
        job, _ = await submit(self.connection, self._request(media=media, **options))
        return await ended(self.connection, job)

    def _request(self, **fields: object) -> SubmitRequest:
        wish = {"language": self.language, "title": f"{self.language} {next(self._count)}", **fields}
        return msgspec.convert(wish, SubmitRequest)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A broker, a node with an engine that takes no time, and a web server."""
    with web(DATA) as site, simulated(tmp_path_factory.mktemp("lists"), V2T_MAX_BYTES="50000000") as there:
        yield Running(there.server, there.machine, site)


_LANGUAGES = iter(sorted(LANGUAGES))


@pytest.fixture
async def house(running: Running) -> AsyncIterator[House]:
    running.machine.revive()
    running.site.missing.clear()
    running.site.asked.clear()
    async with await connect(running.server.url, name="test") as connection:
        yield House(running, connection, next(_LANGUAGES))


# -- lists


async def test_a_feed_sent_by_any_client_is_a_job_for_each_episode(house: House) -> None:
    """A playlist works only with our command line, or its videos become one download."""
    ack = await house.connection.client.jetstream().publish(SUBMIT_SUBJECT, f"{house.site.url}/feed/3".encode())
    job = await ended(house.connection, job_id(await inbox_epoch(house.connection), ack.seq))
    assert (job.state, job.title, job.reason) == ("completed", "A podcast", "")
    assert [(part.id, part.state, part.title) for part in job.parts] == [
        (f"{job.id}_{n}", "completed", f"Episode {n}")
        for n in (1, 2, 3)  # as in the feed, not the file's name
    ]
    assert all([await house.store.size(f"{part.completed.transcript}.srt") for part in job.parts if part.completed])


async def test_a_limit_holds_and_a_page_with_players_is_a_list(house: House) -> None:
    """A user who wants a channel's latest two gets all of it, or the first of two players on a page counts twice."""
    feed, page = await house.url("feed/3", limit=2), await house.url("list", force=True)
    assert [part.id for part in (await ended(house.connection, feed)).parts] == [f"{feed}_1", f"{feed}_2"]
    job = await ended(house.connection, page)
    assert job.state == "completed"
    assert len({part.downloaded.size for part in job.parts if part.downloaded}) == 2


async def test_what_fails_in_a_list_fails_alone_and_is_tried_again_alone(house: House) -> None:
    """One private video fails a whole channel, or retrying it repeats all others."""
    house.site.missing.add("20s-2.flac")
    job = await ended(house.connection, await house.url("feed/3"))
    assert (job.state, job.counts) == ("failed", {"completed": 2, "failed": 1})
    assert job.reason.startswith("1 of 3 entries failed, the first because ")
    assert "does not exist (HTTP 404)" in job.children[2].reason
    house.site.missing.clear()
    assert await operations.retry_list(house.connection, job) == 1
    assert (await ended(house.connection, job.id)).state == "completed"
    with pytest.raises(V2TError, match=r"no entry of the list .* failed: pass --model"):
        await operations.retry_list(house.connection, await read(house.connection, job.id))


async def test_a_list_that_was_read_by_a_process_that_died_gets_each_entry_once(house: House) -> None:
    """A killed process leaves half a list, or two jobs for one video, or loses a new video."""
    house.machine.kill("intake")
    house.machine.kill("download")
    job = await house.url("feed/3")
    # What a process leaves that dies after two entries of a feed of two, before it grew at its top.
    house.machine.start("intake")
    fact = (await until(house.connection, job, lambda job: job.submitted is not None)).submitted
    assert fact
    for n, episode in ((1, 2), (2, 3)):
        await house.connection.publish(
            submitted(f"{job}_{n}", url=f"{house.site.url}/episode/{episode}/20s-{episode}.flac", parent=job)
        )
    house.machine.start("download")
    done = await ended(house.connection, job)
    assert [part.submitted.url[-6] for part in done.parts if part.submitted and part.submitted.url] == ["2", "3", "1"]


async def test_a_list_whose_reader_is_killed_is_read_to_its_end(house: House) -> None:
    """Half a channel looks complete, or its first half is done twice."""
    await shorten(house.connection, "download", 2)
    house.machine.kill("download")
    for stage in ("convert", "transcribe"):
        house.machine.kill(stage)
    house.machine.start("download")
    job_id = await house.url("feed/400")
    async with asyncio.timeout(PATIENCE):
        while not await house.connection.subjects(JOBS, Submitted.subject_of(job=child_id(job_id, 1))):
            await asyncio.sleep(0.001)
    house.machine.kill("download")
    house.machine.start("download")
    job = await until(house.connection, job_id, lambda job: job.listed is not None)
    assert job.listed
    assert job.listed.children == 400
    await operations.cancel(house.connection, house.store, await read(house.connection, job_id))
    entries = await children(house.connection, job_id)
    assert len({entry.submitted.url for entry in entries if entry.submitted}) == len(entries) == 400
    assert all(entry.ended for entry in entries)


async def shorten(connection: Connection, durable: str, ack_wait: float) -> None:
    """The product's half a minute is too long for a test."""
    config = (await connection.api(f"CONSUMER.INFO.{JOBS}.{durable}"))["config"]
    config["ack_wait"] = int(ack_wait * 1e9)
    await connection.api(f"CONSUMER.CREATE.{JOBS}.{durable}", {"stream_name": JOBS, "config": config})


async def test_a_cancelled_list_leaves_nothing_running(house: House) -> None:
    """A channel that was sent by mistake keeps the machines busy for days."""
    for stage in ("convert", "transcribe"):
        house.machine.kill(stage)
    job_id = await house.url("feed/3")
    job = await until(house.connection, job_id, lambda job: job.listed is not None)
    await operations.cancel(house.connection, house.store, await read(house.connection, job.id))
    job = await read(house.connection, job.id)
    assert (job.state, job.counts) == ("cancelled", {"cancelled": 3})
    with pytest.raises(V2TError, match="was cancelled"):
        await operations.retry_list(house.connection, job)


async def test_an_entry_that_comes_after_its_list_was_cancelled_ends_itself(house: House) -> None:
    """Cancelling a list while it is read leaves some of its videos running."""
    house.machine.kill("download")
    job_id = await house.url("feed/3")
    job = await until(house.connection, job_id, lambda job: job.submitted is not None)
    await operations.cancel(house.connection, house.store, job)
    late = submitted(f"{job_id}_1", title="late", url=f"{house.site.url}/5s.flac", parent=job_id)
    await house.connection.publish(late)
    house.machine.start("download")
    assert (await ended(house.connection, late.job)).state == "cancelled"
    assert [child.id for child in await children(house.connection, job_id)] == [late.job]
    assert not house.site.asked["/5s.flac"]


async def test_a_list_within_a_list_gives_a_sentence(house: House) -> None:
    """A page of pages with players makes jobs without end."""
    job = await ended(house.connection, await house.url("pages"))
    assert [part.state for part in job.parts] == ["completed", "failed"]
    assert "is a list within a list: submit its link on its own" in job.children[2].reason


# -- what was done before


async def test_a_file_is_not_done_twice_but_for_other_settings_or_when_forced(house: House) -> None:
    """Sending a folder again costs everything again, or gives the words of another model or language."""
    first = await house.file("5s.flac")
    again = await house.file("5s.flac", accelerator="cpu")
    assert again.completed
    assert (again.completed.of, again.completed.transcript) == (first.id, f"transcripts/{first.id}/transcript")
    assert not again.downloaded
    for options in ({"language": "yue"}, {"model": "sim/x900"}, {"word_timestamps": True}, {"force": True}):
        other = await house.file("5s.flac", **options)
        assert other.completed
        assert not other.completed.of, options
    # The latest stands.
    again = await house.file("5s.flac")
    assert again.completed
    assert again.completed.of == other.id


async def test_a_link_is_known_by_what_it_leads_to(house: House) -> None:
    """A link whose file has changed gives the old words, or the same file under two links is done twice."""
    first = await ended(house.connection, await house.url("5s.flac"))
    again = await ended(house.connection, await house.url("redirect?to=/5s.flac"))
    assert again.completed
    assert again.submitted
    assert (again.completed.of, again.title) == (first.id, again.submitted.title)  # the title that its sender gave
    other = await ended(house.connection, await house.url("20s-1.flac"))
    assert other.completed
    assert not other.completed.of


async def test_entries_of_a_list_that_were_done_are_skipped(house: House) -> None:
    """Sending a channel every week costs all of it every week."""
    first = await ended(house.connection, await house.url("feed/1"))
    job = await ended(house.connection, await house.url("feed/2"))
    assert [part.completed.of for part in job.parts if part.completed] == [f"{first.id}_1", ""]
    again = await ended(house.connection, await house.url("feed/2", force=True))
    assert [part.completed.of for part in again.parts if part.completed] == ["", ""]


async def test_a_transcript_that_is_gone_is_made_again(house: House) -> None:
    """A job points to a transcript that no longer exists."""
    first = await house.file("5s.flac")
    await house.store.delete_prefix(f"transcripts/{first.id}/")
    again = await house.file("5s.flac")
    assert again.completed
    assert not again.completed.of


async def test_a_retry_by_another_model_makes_it_that_model_s(house: House) -> None:
    """A job gets another model's words instead of those that the user asked for."""
    first = await house.file("5s.flac", model="sim/x1000")
    await operations.retry(house.connection, first, model="sim/x900")
    await ended(house.connection, first.id)
    old, new = await house.file("5s.flac", model="sim/x1000"), await house.file("5s.flac", model="sim/x900")
    assert old.completed
    assert new.completed
    assert (old.completed.of, new.completed.of) == (first.id, first.id)
    assert [await models(house, job) for job in (old, new)] == [("sim/x1000",), ("sim/x900",)]
    # One chunk by another model is a mixture that no settings give; what was there before it is not.
    mixed = await house.file("5s.flac", model="sim/x1000", force=True)
    await operations.retry(house.connection, mixed, model="sim/x900", chunk=0)
    await ended(house.connection, mixed.id)
    assert await models(house, await house.file("5s.flac", model="sim/x1000")) == ("sim/x1000",)


async def models(house: House, job: Job) -> tuple[str, ...]:
    """The models that made the words of a completed job."""
    assert job.completed
    return (await stored(house.store, job.completed.transcript)).models


async def test_a_transcript_to_which_nothing_points_any_more_is_removed(house: House) -> None:
    """Each retry leaves its transcript behind for good, or removes one that another job uses."""
    first = await house.file("5s.flac")
    assert first.completed
    given = await house.file("5s.flac")
    assert given.completed
    assert given.completed.transcript == first.completed.transcript
    second = await again(house, first)
    assert await house.store.size(f"{first.completed.transcript}.json")  # another job has it
    third = await again(house, second)
    assert await house.store.keys(f"transcripts/{first.id}/1/") == []
    assert third.completed
    assert third.completed.transcript == f"transcripts/{first.id}/2/transcript"
    assert len(await house.store.keys(f"transcripts/{first.id}/2/")) == len(FORMATS)
    assert await house.store.size(f"{first.completed.transcript}.json")


async def again(house: House, job: Job) -> Job:
    """Redo its first chunk, and wait until the cleanup after it is done too."""
    await operations.retry(house.connection, job, chunk=0)
    job = await ended(house.connection, job.id)
    async with asyncio.timeout(PATIENCE):
        while (await house.connection.api(f"CONSUMER.INFO.{JOBS}.aggregate"))["num_ack_pending"]:
            await asyncio.sleep(0.02)
    return job


async def test_a_job_that_had_nothing_to_do_can_be_redone_by_another_model(house: House) -> None:
    """A skipped job can only be redone as a new job."""
    await house.file("5s.flac")
    again = await house.file("5s.flac")
    with pytest.raises(V2TError, match=r"was done before as job .*: pass --model NAME"):
        await operations.retry(house.connection, again)
    await operations.retry(house.connection, again, model="sim/x900")
    job = await until(house.connection, again.id, lambda job: job.state == "completed")
    assert {chunk.model for chunk in job.chunks.values()} == {"sim/x900"}


async def test_an_old_submission_that_comes_again_during_a_retry_ends_nothing(house: House) -> None:
    """Else a retry with another model ends at once with the old model's words."""
    await house.file("5s.flac")
    old = await house.file("5s.flac")
    assert old.submitted
    download = Download(resources(house.connection, store=house.store))
    late = [fact async for fact in download.process(old.submitted)]
    await download.close()
    assert [type(fact) for fact in late] == [Completed]
    house.machine.kill("download")
    await operations.retry(house.connection, old, model="sim/x900")
    await house.connection.api(f"STREAM.PURGE.{JOBS}", {"filter": late[0].subject})
    assert await house.connection.publish(late[0])
    assert (await read(house.connection, old.id)).state == "queued"
    house.machine.start("download")
    job = await ended(house.connection, old.id)
    assert await models(house, job) == ("sim/x900",)
