"""Removing jobs for good, on a real broker with real files."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from schemas.events import Cancelled, Listed
from schemas.options import Options
from tests.builders import failed, submitted
from tests.finished import Finished
from tests.harness import Server, s3_server, shared_broker
from v2t_stream.broker.connect import connect
from v2t_stream.cli.job import job as command
from v2t_stream.errors import StoreAway, V2TError
from v2t_stream.jobs import operations, previous, removal
from v2t_stream.jobs.assembly import stored
from v2t_stream.jobs.corrections import correct
from v2t_stream.jobs.lists import read
from v2t_stream.jobs.superseded import sweep_superseded
from v2t_stream.settings import Settings
from v2t_stream.store.minio_store import MinioStore
from v2t_stream.topology.streams import DEAD, JOBS
from v2t_stream.topology.subjects import facts_of


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with shared_broker(tmp_path_factory.mktemp("nats")) as running:
        yield running


@pytest.fixture
async def house(server: Server) -> AsyncIterator[Finished]:
    async with await connect(server.url, name="test") as connection:
        yield Finished(connection)


async def test_nothing_of_a_removed_job_is_left(house: Finished) -> None:
    """Else what the user removed for good can still be read by everyone who has the broker."""
    job = await house.job("gone-1")
    await house.retried(job)
    assert await house.store.keys("transcripts/gone-1/")
    await removal.remove(house.connection, house.store, Settings(), await read(house.connection, job))
    assert await house.connection.subjects(JOBS, facts_of(job)) == [Cancelled.subject_of(job=job)]
    assert not await house.store.keys("transcripts/gone-1/")
    assert not await house.store.keys("media/gone-1/")
    assert await previous.latest(house.connection, previous.key(f"origin-{job}", Options())) is None
    assert not await house.connection.subjects(DEAD, f"v2t.dead.*.{job}")


async def test_what_comes_late_does_not_bring_a_removed_job_back(house: Finished) -> None:
    """Else a node that slept makes a ghost that waits in the list for ever, and its work is done again."""
    job = await house.job("late-1")
    state = await read(house.connection, job)
    await removal.remove(house.connection, house.store, Settings(), state)
    for fact in house.facts(job):
        await house.connection.publish(fact)
    assert not await house.connection.publish(Cancelled(job=job, run=0, removed=True))
    now = await read(house.connection, job)
    assert (now.removed, now.state, now.ended_at is not None) == (True, "cancelled", True)
    with pytest.raises(V2TError, match="was cancelled"):
        await operations.retry(house.connection, now)
    await house.store.put(f"transcripts/{job}/transcript.json", b"{}")  # by an aggregator that slept
    await removal.remove(house.connection, house.store, Settings(), now)  # again, for what came late
    assert await house.connection.subjects(JOBS, facts_of(job)) == [Cancelled.subject_of(job=job)]
    assert not await house.store.keys(f"transcripts/{job}/")


async def test_files_on_an_s3_server_go_too_and_nothing_of_others(house: Finished, tmp_path: Path) -> None:
    """Else a bucket keeps what was removed for good, or loses a file that only has a name like that of the job."""
    server = s3_server(tmp_path)
    server.start()
    try:
        store = MinioStore(server.settings(), timeout=10)
        await store.create(media_max_age=3600)
        bucket = Finished(house.connection, store)
        job = await bucket.job("s3-1")
        await bucket.retried(job)
        state = await read(house.connection, job)
        record = await stored(store, state.transcript)
        await correct(house.connection, store, state, replace(record, title="Corrected"), by="ann@desk")
        await store.put(f"transcripts/{job}/talk.srt", b"of an upload with such a path")
        await store.put("transcripts/s3-10/transcript.json", b"{}")
        await removal.remove(house.connection, store, Settings(), await read(house.connection, job))
        assert sorted(await store.keys("transcripts/")) == [
            f"transcripts/{job}/talk.srt",
            "transcripts/s3-10/transcript.json",
        ]
        assert not await store.keys(f"media/{job}/")
    finally:
        server.stop()


async def test_a_transcript_that_another_job_shows_stays_until_that_job_is_gone(house: Finished) -> None:
    """Else removing one job empties another, which was done before."""
    first = await house.job("first-1")
    second = await house.before("second-1", of=first)
    assert await removal.remove(house.connection, house.store, Settings(), await read(house.connection, first))
    other = await read(house.connection, second)
    assert await house.store.get(f"{other.transcript}.txt")
    # But a third submission is transcribed anew.
    assert await previous.find(house.connection, house.store, f"origin-{first}", Options()) is None
    await removal.remove(house.connection, house.store, Settings(), other)
    await sweep_superseded(house.connection, house.store)
    assert not await house.store.keys(f"transcripts/{first}/")


async def test_a_removal_that_broke_off_is_finished_by_the_next(
    house: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the files of a job that nobody can see any more stay for ever."""
    await house.connection.publish(submitted("broke-1", url="http://x/feed"))
    await house.connection.publish(Listed(job="broke-1", title="A podcast", children=1))
    await house.job("broke-1_1", parent="broke-1")

    async def away(key: str) -> None:
        raise StoreAway(f"the store is away: {key}")

    with monkeypatch.context() as outage:
        outage.setattr(house.store, "delete", away)
        with pytest.raises(StoreAway):
            await removal.remove(house.connection, house.store, Settings(), await read(house.connection, "broke-1"))
    now = await read(house.connection, "broke-1")
    assert now.removed
    await removal.remove(house.connection, house.store, Settings(), now)
    assert not await house.store.keys("transcripts/broke-1_1/")
    assert await house.connection.subjects(JOBS, facts_of("broke-1_1")) == [Cancelled.subject_of(job="broke-1_1")]


async def test_a_job_that_runs_is_not_removed(house: Finished) -> None:
    """Else its work goes on for nobody."""
    await house.connection.publish(submitted("runs-1"))
    with pytest.raises(V2TError, match="job runs-1 is queued: cancel it first, with v2t job cancel runs-1"):
        await removal.remove(house.connection, house.store, Settings(), await read(house.connection, "runs-1"))


async def test_a_list_without_one_of_its_entries_has_still_ended_and_goes_as_a_whole(house: Finished) -> None:
    """Else a list whose entry was removed waits for it for ever, or its entries outlive it."""
    await house.connection.publish(submitted("list-1"))
    await house.connection.publish(Listed(job="list-1", title="A podcast", children=2))
    for n in (1, 2):
        await house.job(f"list-1_{n}", parent="list-1")
    await removal.remove(house.connection, house.store, Settings(), await read(house.connection, "list-1_1"))
    left = await read(house.connection, "list-1")
    assert (left.state, left.counts) == ("completed", {"cancelled": 1, "completed": 1})
    await removal.remove(house.connection, house.store, Settings(), left)
    now = await read(house.connection, "list-1")
    assert now.removed
    assert all(child.removed for child in now.children.values())
    assert not await house.store.keys("transcripts/list-1_2/")


async def test_the_filters_of_the_list_work_together(
    house: Finished, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Else a user who looks for the failed ones of today gets all of them, or none."""
    monkeypatch.setenv("NATS_URL", server.url)
    monkeypatch.setenv("V2T_DATA_DIR", str(tmp_path))
    for n in range(3):
        await house.connection.publish(submitted(f"find-{n}", title=f"Keynote {n}"))
        await house.connection.publish(failed(f"find-{n}"))
    await house.job("find-9")
    arguments = ["list", "--state", "failed", "--since", "2h", "--title", "keynote", "--limit", "2"]
    shown = await asyncio.to_thread(CliRunner().invoke, command, arguments)
    assert [line.split()[0] for line in shown.stdout.splitlines()] == ["job", "find-2", "find-1"]  # the newest first
    listed = json.loads((await asyncio.to_thread(CliRunner().invoke, command, [*arguments, "--json"])).stdout)
    assert [job["id"] for job in listed] == ["find-1", "find-2"]
    none = await asyncio.to_thread(CliRunner().invoke, command, ["list", "--age", "2h", "--title", "no such job"])
    assert none.stdout.splitlines() == ["job  state  language  length  took  submitted  title"]


async def test_the_command_asks_first_and_forgets_the_job(
    house: Finished, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Else a slip of the finger in a script removes what cannot be made again; or the job is still in the list."""
    monkeypatch.setenv("NATS_URL", server.url)
    monkeypatch.setenv("V2T_DATA_DIR", str(tmp_path))
    await house.job("cli-1")
    run = CliRunner().invoke
    refused = await asyncio.to_thread(run, command, ["rm", "cli-1"])
    assert (refused.exit_code, "confirm it with --yes" in refused.stderr) == (2, True)
    assert "cli-1" in (await asyncio.to_thread(run, command, ["list"])).stdout
    with monkeypatch.context() as terminal:
        terminal.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _: True, raising=False)
        asked = await asyncio.to_thread(run, command, ["rm", "cli-1"], input="n\n")
    assert "cli-1  Talk (completed)\nremove 1 job and its transcript for good? [y/N]: " in asked.stderr
    assert (asked.exit_code, asked.stdout) == (1, "")
    done = await asyncio.to_thread(run, command, ["rm", "--yes", "cli-1"])
    assert done.stdout == "removed job cli-1\n"
    assert "cli-1" not in (await asyncio.to_thread(run, command, ["list"])).stdout
    for arguments in (["status", "cli-1"], ["transcript", "cli-1"]):
        gone = await asyncio.to_thread(run, command, arguments)
        assert str(gone.exception) == "there is no job 'cli-1': v2t job list shows all jobs"
