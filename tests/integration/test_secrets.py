"""Passwords and keys in links: the download uses them, and no viewer sees them anywhere."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest

from schemas.requests import SubmitRequest
from tests.harness import DATA, Simulated, ended, simulated
from tests.patience import PATIENCE
from tests.web import PASSWORD, TOKEN, USER, Web, web
from v2t_stream.broker.connect import connect
from v2t_stream.broker.connection import Connection
from v2t_stream.errors import V2TError
from v2t_stream.jobs import operations
from v2t_stream.jobs.dead_letters import dead_letters
from v2t_stream.jobs.lists import read
from v2t_stream.jobs.redrive import redrive
from v2t_stream.jobs.state import Job
from v2t_stream.jobs.submission import submit
from v2t_stream.store.jetstream_store import JetStreamStore
from v2t_stream.topology.streams import DEAD, DONE, JOBS
from v2t_stream.topology.subjects import SUBMIT_SUBJECT, job_of

MARK = "hush"  # in every secret here


@pytest.fixture(scope="module")
def site() -> Iterator[Web]:
    with web(DATA) as running:
        yield running


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Simulated]:
    with simulated(tmp_path) as running:
        yield running


@pytest.fixture
async def connection(there: Simulated) -> AsyncIterator[Connection]:
    async with await connect(there.server.url, name="test") as connection:
        yield connection


def with_login(site: Web, path: str, password: str = PASSWORD) -> str:
    scheme, _, host = site.url.partition("://")
    return f"{scheme}://{USER}:{quote(password, safe='')}@{host}/{path}"


async def shown(there: Simulated, connection: Connection) -> str:
    """Everything that a viewer can read, commands print, and logs contain."""
    store = JetStreamStore(connection)
    seen = [
        stored.subject + stored.data.decode()
        for stream in (JOBS, DEAD, DONE)
        async for stored in connection.watch(stream, ">", live=False)
        if stored
    ]
    seen += [(await store.get(key)).decode() for key in await store.keys("transcripts/")]
    seen += [path.read_text() for path in there.machine.home.rglob("*.log")]
    jobs = {job_of(subject) for subject in await connection.subjects(JOBS, "v2t.job.*.submitted")}
    commands = [["job", "list"], ["job", "list", "--json"], ["dead", "list", "--json"], ["node", "list"]]
    commands += [["job", "status", job, "--json", "--timeline"] for job in jobs]
    for command in commands:
        environment = {"NATS_URL": there.server.url, "V2T_DATA_DIR": str(there.machine.home), "PATH": "/usr/bin:/bin"}
        said = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "v2t_stream", *command],
            env=environment,
            check=command[1] != "status",  # 1 where the job failed
            capture_output=True,
            timeout=PATIENCE,
        )
        seen.append(said.stdout.decode() + said.stderr.decode())
    assert sum(map(len, seen)) > 1000
    return "\n".join(seen)


async def through(connection: Connection, url: str) -> Job:
    job, _ = await submit(connection, SubmitRequest(url=url, language="en"))
    await ended(connection, job)
    return await read(connection, job)


async def test_a_link_with_a_password_is_fetched_and_shown_without(
    there: Simulated, connection: Connection, site: Web
) -> None:
    """Else a file behind a password cannot be fetched, or every viewer can fetch it."""
    job = await through(connection, with_login(site, "private/5s.flac"))
    assert (job.state, job.source) == ("completed", f"{site.url}/private/5s.flac"), job.reason
    assert job.submitted
    assert job.submitted.url == f"{site.url}/private/5s.flac"
    assert MARK not in await shown(there, connection)


async def test_a_refused_password_is_shown_nowhere(there: Simulated, connection: Connection, site: Web) -> None:
    """Else the dead letter of a link reveals what the status hides."""
    job = await through(connection, with_login(site, "private/5s.flac", "hush/wrong"))
    assert (job.state, "401" in job.reason) == ("failed", True), job.reason
    job = await through(connection, f"{site.url}/status/404?v=1&access_token=hush")
    assert job.state == "failed"
    assert f"{site.url}/status/404" in job.reason
    assert MARK not in await shown(there, connection)


async def test_a_refused_submission_is_sent_again_as_it_was_and_shown_without_its_password(
    there: Simulated, connection: Connection, site: Web
) -> None:
    """Else a viewer reads it in the dead letter, or a redriven submission lacks the password for its download."""
    store = JetStreamStore(connection)
    sent = b'{"language": "klingon", "url": "' + with_login(site, "private\\/5s.flac").encode() + b'"}'
    await connection.submit(SUBMIT_SUBJECT, sent, "x")
    async with asyncio.timeout(PATIENCE):
        while not (letters := await dead_letters(connection)):
            await asyncio.sleep(0.05)
    (letter,) = letters
    assert MARK not in await shown(there, connection)
    assert msgspec.json.decode(letter.letter.data)["url"] == f"{site.url}/private/5s.flac"
    assert await store.get(letter.letter.kept) == sent
    with pytest.raises(
        V2TError, match="had a link with a password or a key, which has expired or cannot be read from here"
    ):
        await redrive(connection, None, letter, there.machine.home)
    await redrive(connection, store, letter, there.machine.home)
    async with asyncio.timeout(PATIENCE):
        while not (again := [one for one in await dead_letters(connection) if one.number != letter.number]):
            await asyncio.sleep(0.05)
    assert await store.get(again[0].letter.kept) == sent


async def test_entries_of_a_list_that_differ_in_their_tokens_are_each_done(
    there: Simulated, connection: Connection, site: Web
) -> None:
    """Else only the first episode of a paid podcast is transcribed, or everyone sees the feed's tokens."""
    job = await through(connection, f"{site.url}/tokens?key=hush")
    assert [child.state for child in job.parts] == ["completed", "completed"], [child.reason for child in job.parts]
    assert [child.submitted and child.submitted.url for child in job.parts] == [f"{site.url}/private/20s-1.flac"] * 2
    keys = [child.submitted.link for child in job.parts if child.submitted]
    links = [await JetStreamStore(connection).get(key) for key in keys]
    assert links == [f"{site.url}/private/20s-1.flac?token={TOKEN}{n}".encode() for n in (1, 2)]
    assert MARK not in await shown(there, connection)


async def test_the_secret_of_a_cancelled_job_goes_with_it(there: Simulated, connection: Connection, site: Web) -> None:
    """Else a password is kept for days although nobody needs it."""
    store = JetStreamStore(connection)
    job, _ = await submit(connection, SubmitRequest(url=with_login(site, "stalls/5s.flac")))
    async with asyncio.timeout(PATIENCE):
        while not await store.keys(f"media/{job}/"):
            await asyncio.sleep(0.02)
        while not (state := await read(connection, job)).submitted:
            await asyncio.sleep(0.02)
    await operations.cancel(connection, store, state)
    assert await store.keys(f"media/{job}/") == []
