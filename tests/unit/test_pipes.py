"""What comes through a pipe is taken once."""

import asyncio
import os
import threading
from pathlib import Path

import pytest

from v2t_stream.cli.pipes import save
from v2t_stream.errors import SettingsError
from v2t_stream.settings import Settings


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "talk")
    return tmp_path / "talk"


def saved(pipe: Path, *, max_bytes: float = 1e9) -> tuple[bytes, list[str]]:
    told: list[str] = []
    to = pipe.with_name("source")
    asyncio.run(save(pipe, "the pipe", to, Settings(data_dir=str(pipe.parent), max_bytes=max_bytes), told.append))
    return to.read_bytes(), told


def filling(pipe: Path, data: bytes) -> threading.Thread:
    thread = threading.Thread(target=lambda: pipe.write_bytes(data), daemon=True)
    thread.start()
    return thread


def test_all_of_it_is_saved_and_how_much_is_shown(pipe: Path) -> None:
    """A recording is cut off where a block ended, or the user watches nothing for minutes."""
    data = os.urandom(3_000_000)
    thread = filling(pipe, data)
    there, told = saved(pipe)
    thread.join()
    assert there == data
    assert told[-1] == "3.0 MB"
    assert len(told) > 2


def test_a_pipe_without_anything_is_a_mistake(pipe: Path) -> None:
    """The command before the pipe failed, and the user reads about a damaged file."""
    filling(pipe, b"")
    with pytest.raises(SettingsError, match=r"^nothing came from the pipe: check the command that should send it$"):
        saved(pipe)


def test_a_stream_without_end_stops_at_the_limit(pipe: Path) -> None:
    """`yes | v2t convert -` fills the disk."""
    thread = threading.Thread(target=_endless, args=(pipe,), daemon=True)
    thread.start()
    with pytest.raises(SettingsError, match=r"^the pipe has .* GiB, more than the 0\.00 GiB allowed: raise V2T_"):
        saved(pipe, max_bytes=2e6)
    thread.join()


def _endless(pipe: Path) -> None:
    with pipe.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(100_000))
        except BrokenPipeError:
            pass


def test_leaving_waits_for_nobody(pipe: Path, tmp_path: Path) -> None:
    """Ctrl-C does nothing while a pipe is silent."""

    async def leave() -> None:
        settings = Settings(data_dir=str(tmp_path))
        saving = asyncio.create_task(save(pipe, "the pipe", tmp_path / "source", settings, lambda _: None))
        await asyncio.sleep(0)
        saving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await saving

    asyncio.run(leave())  # which waits for the threads of asyncio
    filling(pipe, b"late").join()  # so that the thread of the pipe ends with the test
