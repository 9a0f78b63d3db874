"""Copies a broker's streams to another one: waiting work goes on there, and finished work is there."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from schemas.requests import SubmitRequest
from tests.builders import submitted
from tests.harness import DATA, Server, broker, ended, node, reference, transcribe, until, upload
from tests.patience import PATIENCE
from v2t_stream.access import keys
from v2t_stream.broker.connect import connect
from v2t_stream.broker.connection import Connection
from v2t_stream.demo.wer import word_error_rate
from v2t_stream.errors import BrokerError
from v2t_stream.jobs.submission import submit
from v2t_stream.runtime.backup import backup, restore
from v2t_stream.runtime.set_up import drifted, set_up
from v2t_stream.settings import Settings
from v2t_stream.store.jetstream_store import JetStreamStore
from v2t_stream.topology.streams import CHUNKS, JOBS, KEYS, ONCE

ENGLISH = {"model": "demo", "language": "en"}


@contextlib.asynccontextmanager
async def empty(folder: Path) -> AsyncIterator[tuple[Server, Connection]]:
    """An empty server."""
    server = Server(folder)
    server.start()
    try:
        async with await connect(server.url, name="test", patience=PATIENCE) as connection:
            yield server, connection
    finally:
        server.stop()


async def test_what_waited_goes_on_and_what_was_done_is_there_in_another_broker(tmp_path: Path) -> None:
    """Else a backup is a folder of files that nobody can use."""
    copy = tmp_path / "copy"
    async with broker(tmp_path / "one") as (server, connection):
        with node(server.url, tmp_path / "node"):
            done, words = await transcribe(
                connection, SubmitRequest(media=await upload(connection, DATA / "5s.flac"), **ENGLISH)
            )
        with node(server.url, tmp_path / "node", "intake", "download", "convert"):
            media = await upload(connection, DATA / "20s-1.flac")
            waiting, _ = await submit(connection, SubmitRequest(media=media, **ENGLISH))
            await until(connection, waiting, lambda job: bool(job.converted))
        sent = SubmitRequest(media=await upload(connection, DATA / "20s-2.flac"), title="not taken yet", **ENGLISH)
        await submit(connection, sent)
        await JetStreamStore(connection).put("voices/ann/one.json", b"a voice")
        key = await keys.add(connection, "ann", "viewer")
        assert (await backup(connection, copy, buckets=True))[CHUNKS] > 0

    async with empty(tmp_path / "other") as (server, connection):
        await restore(connection, copy)
        await set_up(connection, Settings())
        assert await drifted(connection, Settings()) == []
        store = JetStreamStore(connection)
        assert (await store.get(f"transcripts/{done.id}/transcript.txt")).decode() == words
        assert await store.get("voices/ann/one.json") == b"a voice"
        (kept,) = await keys.listed(connection)
        assert keys.fits(kept.key, key)
        with node(server.url, tmp_path / "node"):
            assert (await ended(connection, waiting)).state == "completed"
            text = (await store.get(f"transcripts/{waiting}/transcript.txt")).decode()
            assert word_error_rate(reference("20s-1.flac"), text) <= 0.05
            async with asyncio.timeout(PATIENCE):
                while len(await connection.subjects(JOBS, "v2t.job.*.completed")) < 3:
                    await asyncio.sleep(0.1)
            again = SubmitRequest(media=await upload(connection, DATA / "5s.flac"), **ENGLISH)
            job = await ended(connection, (await submit(connection, again))[0])
            assert job.completed
            assert job.completed.of == done.id


async def test_a_copy_that_does_not_hold_together_is_refused_and_removed(tmp_path: Path) -> None:
    """Else a chunk that finishes between the copies of two streams is in neither, and its job hangs for ever."""
    async with broker(tmp_path / "nats") as (_, connection):
        enough = asyncio.Event()

        async def go_on() -> None:
            for n in range(1_000_000):
                if enough.is_set():
                    return
                await connection.publish(submitted(f"j{n}"))

        going = asyncio.create_task(go_on())
        try:
            while len(await connection.subjects(JOBS, "v2t.job.>")) < 10:
                await asyncio.sleep(0.01)
            with pytest.raises(BrokerError, match="V2T_JOBS changed during the backup"):
                await backup(connection, tmp_path / "copy", buckets=True)
        finally:
            enough.set()
            await going  # what it had sent would land in the next copy
        assert list((tmp_path / "copy").iterdir()) == []
        await backup(connection, tmp_path / "copy", buckets=True)


async def test_a_damaged_copy_leaves_the_broker_as_empty_as_it_was(tmp_path: Path) -> None:
    """Else it can neither be used nor restored from a good one."""
    good, bad = tmp_path / "good", tmp_path / "bad"
    async with broker(tmp_path / "one") as (_, connection):
        for n in range(100):
            await connection.publish(submitted(f"j{n}", title=os.urandom(500).hex()))
        await backup(connection, good, buckets=True)
        with pytest.raises(BrokerError, match=r"used already .*: restore into a new one"):
            await restore(connection, good)
    shutil.copytree(good, bad)
    packed = bad / JOBS / "stream.tar.s2"
    packed.write_bytes(packed.read_bytes()[:20_000])
    async with empty(tmp_path / "other") as (_, connection):
        await set_up(connection, Settings())  # by a node that was started before
        with pytest.raises(BrokerError, match="V2T_JOBS could not be restored"):
            await restore(connection, bad)
        assert (await restore(connection, good))[JOBS] == 100
        assert len(await connection.subjects(JOBS, "v2t.job.*.submitted")) == 100


async def test_a_copy_from_before_there_were_keys_is_restored(tmp_path: Path) -> None:
    """Else an update makes all backups worthless."""
    async with broker(tmp_path / "one") as (_, connection):
        await connection.publish(submitted("kept"))
        await backup(connection, tmp_path / "copy", buckets=True)
    for stream in (KEYS, ONCE):
        shutil.rmtree(tmp_path / "copy" / stream)
    async with empty(tmp_path / "other") as (_, connection):
        assert (await restore(connection, tmp_path / "copy"))[JOBS] == 1
        await set_up(connection, Settings())
        assert await drifted(connection, Settings()) == []
        assert await keys.listed(connection) == []


def test_the_embedded_broker_is_copied_by_commands_or_by_its_folder(tmp_path: Path) -> None:
    """Else a user who has only Python loses everything with the disk."""

    def v2t(home: Path, *arguments: str | Path) -> str:
        bare = {name: text for name, text in os.environ.items() if not name.startswith(("V2T_", "NATS_", "MINIO_"))}
        done = subprocess.run(
            [sys.executable, "-m", "v2t_stream", *arguments],
            env={**bare, "V2T_DATA_DIR": str(home)},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    one = tmp_path / "one"
    v2t(one, "convert", "--input", DATA / "5s.flac", "--output", tmp_path, "--model", "demo", "--language", "en")
    (line,) = v2t(one, "job", "list").splitlines()[1:]
    words = v2t(one, "job", "transcript", line.split()[0])
    assert words

    shutil.copytree(one, tmp_path / "two")
    assert v2t(tmp_path / "two", "job", "transcript", line.split()[0]) == words

    v2t(one, "backup", tmp_path / "copy")
    v2t(tmp_path / "three", "restore", tmp_path / "copy")
    assert v2t(tmp_path / "three", "job", "transcript", line.split()[0]) == words
