"""A broker whose streams go back to an older copy: it is noticed, and no job gets an id that another one had."""

import asyncio
import shutil
import time
from pathlib import Path

import pytest

from schemas.requests import SubmitRequest
from tests.acceptance.test_backup import empty
from tests.acceptance.test_cli import Terminal
from tests.harness import DATA, Node, Server, alive, ended, node, upload
from tests.patience import PATIENCE
from tests.simulated import install
from v2t_stream.broker.connect import connect
from v2t_stream.broker.connection import Connection
from v2t_stream.host.tasks import end
from v2t_stream.jobs.submission import submit
from v2t_stream.runtime.session import set_up
from v2t_stream.settings import Settings
from v2t_stream.topology.epochs import Seen, renew_if_rolled_back
from v2t_stream.topology.streams import inbox_epoch


async def done(connection: Connection, title: str) -> str:
    """A job that was submitted and has ended; its id."""
    media = await upload(connection, DATA / "5s.flac")
    job, _ = await submit(connection, SubmitRequest(media=media, title=title, force=True))
    assert (await ended(connection, job)).title == title
    return job


async def supervised(running: Node) -> None:
    """Start again what ends, as `v2t node` does; until cancelled."""
    while True:
        running.revive()
        await asyncio.sleep(0.2)


@pytest.mark.parametrize("nodes", ["started later"])  # nodes that work meanwhile at times hang: docs/faults.md
async def test_no_job_gets_an_id_that_was_used_before_a_rollback(nodes: str, tmp_path: Path) -> None:
    """Else the transcript of a new recording replaces that of another."""
    environment = {**install(tmp_path / "simulated"), "V2T_MODEL": "x1000"}
    store, copy = tmp_path / "nats", tmp_path / "copy"
    server = Server(store)
    server.start()
    machine = node(server.url, tmp_path / "node", **environment)
    try:
        async with await connect(server.url, name="test", patience=PATIENCE) as connection:
            await set_up(connection, Settings())
            with machine as running:
                await alive(connection)
                used = [await done(connection, "before")]
                server.stop()
                shutil.copytree(store / "jetstream", copy)
                server.start()
                used += [await done(connection, f"after {n}") for n in range(2)]
                if nodes == "started later":
                    running.stop()
                server.kill()
                shutil.rmtree(store / "jetstream")
                shutil.copytree(copy, store / "jetstream")
                server.start()
                if nodes == "at work meanwhile":
                    running.wait("intake")
                reviving = asyncio.create_task(supervised(running))
                await alive(connection)
                epoch = await inbox_epoch(connection)
                used += [await done(connection, f"again {n}") for n in range(3)]
                await end(reviving)
        assert all(job.startswith(f"{epoch}-") for job in used[3:])
        assert len(set(used)) == 6
    finally:
        server.stop()


async def test_a_broker_that_was_not_rolled_back_keeps_its_ids(nats: tuple[Server, Connection], tmp_path: Path) -> None:
    """Else who waits for a job waits for an id that never comes, after each start of a node."""
    server, connection = nats
    epoch = await inbox_epoch(connection)
    _, _ = await submit(connection, SubmitRequest(url="http://127.0.0.1/x"))
    Seen(tmp_path, epoch).see(1)
    server.kill()
    server.start()
    await renew_if_rolled_back(connection, tmp_path)
    assert await inbox_epoch(connection) == epoch
    Seen(tmp_path, epoch).see(2)
    await renew_if_rolled_back(connection, tmp_path)
    assert await inbox_epoch(connection) != epoch


def test_what_was_seen_is_known_after_a_restart(tmp_path: Path) -> None:
    """Else a rollback while nothing ran is never noticed."""
    seen = Seen(tmp_path, "e")
    for number in (3, 1, 7, 5):
        seen.see(number)
    assert Seen(tmp_path, "e").newest == 7
    assert Seen(tmp_path, "other").newest == 0
    (tmp_path / "inbox" / "e").write_text("damaged")
    assert Seen(tmp_path, "e").newest == 0


async def test_a_backup_that_is_restored_gives_other_ids(nats: tuple[Server, Connection], tmp_path: Path) -> None:
    """Else jobs that were made after the backup share their ids with those made after it was restored."""
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
