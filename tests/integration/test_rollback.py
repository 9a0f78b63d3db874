"""A broker whose streams go back to an older copy: nodes notice it, and no job gets another job's id."""

import asyncio
import shutil
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import NamedTuple

import pytest
from msgspec.structs import replace

from schemas.events import Failed
from schemas.requests import SubmitRequest
from tests.acceptance.test_backup import empty
from tests.acceptance.test_cli import Terminal
from tests.builders import submitted
from tests.harness import DATA, Node, Server, alive, ended, node, until, upload
from tests.patience import PATIENCE
from tests.simulated import install
from v2t_stream.broker.connect import connect
from v2t_stream.broker.connection import Connection
from v2t_stream.broker.lineage import Mark
from v2t_stream.cli.follow import follow
from v2t_stream.errors import StoreChanged
from v2t_stream.host.tasks import end
from v2t_stream.jobs.submission import submit
from v2t_stream.runtime.set_up import set_up
from v2t_stream.settings import Settings
from v2t_stream.topology.epochs import Seen, renew, renew_if_rolled_back
from v2t_stream.topology.ids import inbox_epoch, job_id
from v2t_stream.topology.streams import EPOCH_HEADER, INBOX, JOBS
from v2t_stream.topology.subjects import SUBMIT_SUBJECT


async def done(connection: Connection, title: str) -> str:
    """Submit a job and wait for its end; returns its id."""
    media = await upload(connection, DATA / "5s.flac")
    job, _ = await submit(connection, SubmitRequest(media=media, title=title, force=True))
    assert (await ended(connection, job)).title == title
    return job


async def supervised(running: Node) -> None:
    """Restart what ends, as `v2t node` does, until cancelled."""
    while True:
        running.revive()
        await asyncio.sleep(0.2)


class House(NamedTuple):
    """A broker, a copy of its store after one job, and a node that has done two more jobs since."""

    server: Server
    running: Node
    connection: Connection
    copy: Path
    used: list[str]  # the ids of the three jobs

    def go_back(self) -> None:
        """Replace the store with the copy."""
        store = self.server.folder / "jetstream"
        self.server.kill()
        shutil.rmtree(store)
        shutil.copytree(self.copy, store)
        self.server.start()


@pytest.fixture
async def house(tmp_path: Path) -> AsyncGenerator[House]:
    environment = {**install(tmp_path / "simulated"), "V2T_MODEL": "x1000"}
    server, copy = Server(tmp_path / "nats"), tmp_path / "copy"
    server.start()
    try:
        async with await connect(server.url, name="test", patience=PATIENCE) as connection:
            await set_up(connection, Settings())
            with node(server.url, tmp_path / "node", **environment) as running:
                await alive(connection)
                used = [await done(connection, "before")]
                server.stop()
                shutil.copytree(server.folder / "jetstream", copy)
                server.start()
                used += [await done(connection, f"after {n}") for n in range(2)]
                yield House(server, running, connection, copy, used)
    finally:
        server.stop()


@pytest.mark.parametrize("nodes", ["at work meanwhile", "started later"])
async def test_no_job_gets_an_id_that_was_used_before_a_rollback(nodes: str, house: House) -> None:
    """Else the transcript of a new recording replaces another recording's."""
    if nodes == "started later":
        house.running.stop()
    house.go_back()
    if nodes == "at work meanwhile":
        house.running.wait("intake")
    reviving = asyncio.create_task(supervised(house.running))
    await alive(house.connection)
    epoch = await inbox_epoch(house.connection)
    again = [await done(house.connection, f"again {n}") for n in range(3)]
    await end(reviving)
    assert all(job.startswith(f"{epoch}-") for job in again)
    assert len({*house.used, *again}) == 6


@pytest.mark.parametrize("nodes", ["at work meanwhile", "started later"])
async def test_a_submission_sent_before_a_rollback_is_noticed_ends_for_its_sender(nodes: str, house: House) -> None:
    """Else it runs under an id that its sender never learns, and the sender waits for ever."""
    if nodes == "started later":
        house.running.stop()
    house.go_back()
    media = await upload(house.connection, DATA / "5s.flac")
    request = SubmitRequest(media=media, force=True)
    # As many as were lost, and one more: the number of the latest says nothing any more.
    titles = [f"again {n}" for n in range(3)]
    sent = [(await submit(house.connection, replace(request, title=title)))[0] for title in titles]
    reviving = asyncio.create_task(supervised(house.running))
    jobs = [await ended(house.connection, job) for job in sent]
    epoch = await inbox_epoch(house.connection)
    await end(reviving)
    assert [(job.title, job.state) for job in jobs] == [(title, "completed") for title in titles]
    assert all(job.id.startswith(f"{epoch}-") for job in jobs)
    assert not {job.id for job in jobs} & {*house.used}


@pytest.mark.parametrize("more", [0, 2])
async def test_the_sender_of_a_job_lost_in_a_rollback_gets_an_error(more: int, house: House) -> None:
    """Else `v2t etl --wait` and `v2t convert` hang for ever. `more`: sent before the waiting command is back."""
    house.running.stop()
    async with await connect(house.server.url, name="waits", patience=PATIENCE) as connection:
        await connection.hold_to(INBOX)
        job, _ = await submit(connection, SubmitRequest(url="http://127.0.0.1:9/x"))
        following = asyncio.create_task(follow(connection, job))
        await asyncio.to_thread(house.go_back)
        async with await connect(house.server.url, name="sends", patience=PATIENCE) as sender:
            for _ in range(more):
                await submit(sender, SubmitRequest(url="http://127.0.0.1:9/y"))
        house.running.revive()
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(StoreChanged, match=f"job {job} may be lost"):
                await following


async def test_a_broker_that_was_not_rolled_back_keeps_its_ids(nats: tuple[Server, Connection], tmp_path: Path) -> None:
    """Else after each start of a node, a command waits for a job id that never comes."""
    server, connection = nats
    epoch = await inbox_epoch(connection)
    _, _ = await submit(connection, SubmitRequest(url="http://127.0.0.1/x"))
    Seen(tmp_path, epoch).see(Mark(1, 0.0))
    server.kill()
    server.start()
    await renew_if_rolled_back(connection, tmp_path)
    assert await inbox_epoch(connection) == epoch
    Seen(tmp_path, epoch).see(Mark(2, 0.0))
    await renew_if_rolled_back(connection, tmp_path)
    assert await inbox_epoch(connection) != epoch


def test_what_was_seen_is_known_after_a_restart(tmp_path: Path) -> None:
    """Else a rollback while nothing runs is never noticed."""
    seen = Seen(tmp_path, "e")
    for number in (3, 1, 7, 5):
        seen.see(Mark(number, 100.5 + number))
    assert Seen(tmp_path, "e").newest == Mark(7, 107.5)
    assert Seen(tmp_path, "other").newest == Mark()
    (tmp_path / "inbox" / "e").write_text("9")  # as an older release writes it
    assert Seen(tmp_path, "e").newest == Mark(9)
    (tmp_path / "inbox" / "e").write_text("damaged")
    assert Seen(tmp_path, "e").newest == Mark()


async def test_a_backup_that_is_restored_gives_other_ids(nats: tuple[Server, Connection], tmp_path: Path) -> None:
    """Else jobs made after the backup share ids with jobs made after it was restored."""
    server, connection = nats
    epoch = await inbox_epoch(connection)
    Terminal(tmp_path / "one", server.url).run("backup", tmp_path / "copy")
    while int(time.time()) == int(epoch, 36):  # ids name the second in which an inbox was made
        await asyncio.sleep(0.05)
    async with empty(tmp_path / "other") as (other, restored):
        Terminal(tmp_path / "two", other.url).run("restore", tmp_path / "copy")
        assert await inbox_epoch(restored) != epoch
        renewed = await inbox_epoch(restored)
        Terminal(tmp_path / "two", other.url).run("topology", "apply")
        assert await inbox_epoch(restored) == renewed


async def test_what_is_sent_twice_is_sent_again_where_ids_were_renewed(nats: tuple[Server, Connection]) -> None:
    """Else the second sender waits for an id made from the first one's number, which no job has."""
    _, connection = nats
    request = SubmitRequest(url="http://127.0.0.1/x")
    sent = [await submit(connection, request, message_id="mine") for _ in range(2)]
    await renew(connection)
    sent.append(await submit(connection, request, message_id="mine"))
    assert [duplicate for _, duplicate in sent] == [False, True, False]
    assert len({job for job, _ in sent}) == 2


@pytest.mark.parametrize(("epoch", "is_there"), [("abc", False), ("abc", True), ("*", False), ("a.b", False)])
async def test_only_an_id_that_no_job_has_is_given_up_for_another(
    *, epoch: str, is_there: bool, nats: tuple[Server, Connection], tmp_path: Path
) -> None:
    """Else any submitter can end the jobs of others with a header that claims them."""
    server, connection = nats
    if is_there:
        await connection.publish(submitted(f"{epoch}-1", title="mine"))
    await connection.submit(SUBMIT_SUBJECT, b"http://127.0.0.1/y", "y", {EPOCH_HEADER: epoch})
    job = job_id(await inbox_epoch(connection), 1)
    with node(server.url, tmp_path / "node", "intake"):
        await until(connection, job, lambda job: job.submitted is not None)
    given_up = [Failed.subject_of(job="abc-1")] if epoch == "abc" and not is_there else []
    assert await connection.subjects(JOBS, "v2t.job.*.failed") == given_up
