"""How long things are kept, on a real server with short ages."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from schemas.events import Done
from schemas.options import Options
from tests.builders import dead, submitted
from tests.harness import broker, s3_server
from tests.patience import PATIENCE
from v2t_stream.broker.connection import Connection
from v2t_stream.jobs import previous
from v2t_stream.runtime.set_up import set_up
from v2t_stream.settings import Settings
from v2t_stream.store.jetstream_store import JetStreamStore
from v2t_stream.store.minio_store import MinioStore
from v2t_stream.store.protocol import ObjectStore
from v2t_stream.topology.streams import DEAD, DONE, JOBS

MOMENT = 1.5 / 86_400  # days: long enough to see that it is there


async def gone(what: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while await what() not in (None, []):
            await asyncio.sleep(0.05)


async def store_everything(connection: Connection, store: ObjectStore) -> None:
    """Store one of each thing that is kept."""
    settings = Options(model="demo")
    await connection.publish(submitted())
    await connection.publish(dead())
    await connection.publish(
        Done(job="job", key=previous.key("youtube:x", settings), transcript="transcripts/job/transcript")
    )
    await store.put("media/job/source", b"media")
    await store.put("transcripts/job/transcript.json", b"{}")


async def test_facts_dead_letters_and_media_expire_and_transcripts_stay(tmp_path: Path) -> None:
    """Else the disk fills, or a recording is transcribed again although its transcript is still there."""
    async with broker(tmp_path) as (_, connection):
        settings = Settings(facts_days=MOMENT, dead_days=MOMENT, media_hours=MOMENT * 24)
        await set_up(connection, settings, told=True)
        store = JetStreamStore(connection)
        await store_everything(connection, store)
        await gone(lambda: connection.subjects(JOBS, "v2t.job.>"))
        await gone(lambda: connection.subjects(DEAD, "v2t.dead.>"))
        await gone(lambda: store.size("media/job/source"))
        assert await store.get("transcripts/job/transcript.json") == b"{}"
        found = await previous.find(connection, store, "youtube:x", Options(model="demo"))
        assert found
        assert found.job == "job"
        for job, told in (("job", "{}"), ("other", "there is no job 'other'")):
            command = [sys.executable, "-m", "v2t_stream", "job", "transcript", job, "--format", "json"]
            environment = {**os.environ, "NATS_URL": connection.url, "V2T_DATA_DIR": str(tmp_path / "home")}
            shown = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
            )
            assert told in shown.stdout + shown.stderr


async def test_transcripts_expire_by_the_setting_and_are_then_made_again(tmp_path: Path) -> None:
    """Else a user who must delete transcripts keeps them, or gets pointed to one that no longer exists."""
    async with broker(tmp_path) as (_, connection):
        await set_up(connection, Settings(transcript_days=MOMENT), told=True)
        store = JetStreamStore(connection)
        await store_everything(connection, store)
        await gone(lambda: store.size("transcripts/job/transcript.json"))
        assert await previous.find(connection, store, "youtube:x", Options(model="demo")) is None
        await gone(lambda: connection.subjects(DONE, "v2t.done.*"))
        assert await connection.subjects(JOBS, "v2t.job.>")
        assert await store.size("media/job/source")


async def test_existing_objects_expire_too_once_the_setting_says_so(tmp_path: Path) -> None:
    """Else a setting made today applies only to new files, and the full disk stays full."""
    async with broker(tmp_path) as (_, connection):
        store = JetStreamStore(connection)
        await store_everything(connection, store)
        await set_up(connection, Settings(facts_days=MOMENT, dead_days=0), told=True)
        await gone(lambda: connection.subjects(JOBS, "v2t.job.>"))
        assert await connection.subjects(DEAD, "v2t.dead.>")


async def test_an_s3_server_gets_the_lifetimes_and_keeps_them(tmp_path: Path) -> None:
    """Else transcripts pile up in the bucket despite the setting, or a starting node changes the chosen value."""
    server = s3_server(tmp_path)
    server.start()
    try:
        store = MinioStore(server.settings())
        await store.create(media_max_age=3600)
        assert await store.lifetimes() == {"media": 86_400, "transcripts": 0, "models": 0, "voices": 0}
        await store.create(media_max_age=2 * 86_400, transcript_max_age=0.5 * 86_400)
        kept = {"media": 2 * 86_400, "transcripts": 86_400, "models": 0, "voices": 0}
        assert await store.lifetimes() == kept
        await store.create(media_max_age=7 * 86_400, transcript_max_age=7 * 86_400, keep=True)
        assert await store.lifetimes() == kept
    finally:
        server.stop()


def test_the_settings_say_how_long() -> None:
    """Else units are mixed up, and a month lasts half a minute."""
    settings = Settings.from_environment(
        {"V2T_FACTS_DAYS": "7", "V2T_DEAD_DAYS": "0.5", "V2T_TRANSCRIPT_DAYS": "365", "V2T_MEDIA_HOURS": "1"}
    )
    assert msgspec.to_builtins(settings.retention) == (3600, 7 * 86_400, 43_200, 365 * 86_400)
