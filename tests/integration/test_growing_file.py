"""A recording that is still being written is not sent as if it were complete."""

import threading
from pathlib import Path

import pytest

from tests.harness import DATA
from v2t_stream.broker.connection import Connection
from v2t_stream.errors import SettingsError
from v2t_stream.jobs.submission import store_file
from v2t_stream.store.jetstream_store import JetStreamStore


async def test_a_file_that_grows_while_it_is_sent_is_refused(connection: Connection, tmp_path: Path) -> None:
    """Half a meeting is transcribed and counts as all of it."""
    path, over = tmp_path / "meeting.ogg", threading.Event()
    data = (DATA / "3min.ogg").read_bytes()
    path.write_bytes(data[:100_000])

    def record() -> None:
        with path.open("ab") as file:
            for start in range(100_000, len(data), 1_000):
                file.write(data[start : start + 1_000])
                file.flush()
                if over.wait(0.05):
                    return

    recording = threading.Thread(target=record)
    recording.start()
    store = JetStreamStore(connection)
    before = await store.keys("media/uploads/")
    try:
        with pytest.raises(
            SettingsError, match=r"meeting\.ogg is still being written: send it again when it is complete"
        ):
            await store_file(store, path)
    finally:
        over.set()
        recording.join()
    assert await store.keys("media/uploads/") == before
    assert await store.size(await store_file(store, path)) == path.stat().st_size
