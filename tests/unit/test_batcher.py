"""Chunks that wait together share the calls of a real engine process. The chunks tell the engine what to do."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from schemas.options import Request
from v2t_stream.models.fetching import Held
from v2t_stream.transcription.batcher import Batcher
from v2t_stream.transcription.engine_host import EngineDied, EngineHost

ENGINE = """
import signal, threading, time
from schemas.transcript import Segment
from v2t_stream.transcription.transcriber import Transcription

inside = threading.Semaphore(0)

class Pair:
    calls = 2

    def __init__(self, *, model, device, threads):
        self.model = model

    def transcribe(self, chunks, request):
        first = int(chunks[0][0])
        if first == 666:
            time.sleep(0.3)  # so that a call beside it is in the engine
            signal.raise_signal(signal.SIGSEGV)
        if first == 2:  # two calls of these end only when both are in the engine
            inside.release(2)
            assert inside.acquire(timeout=60) and inside.acquire(timeout=60)
        if first == 3:
            time.sleep(0.6)
        text = f"{self.model} {len(chunks)}"
        return [Transcription((Segment(start=0.0, end=1.0, text=f"{text} {int(chunk[0])}"),), "en") for chunk in chunks]
"""


@pytest.fixture
async def batcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Batcher]:
    """The engine, installed as a package would be."""
    (tmp_path / "pair_engine.py").write_text(ENGINE)
    (tmp_path / "pair_engine-1.dist-info").mkdir()
    (tmp_path / "pair_engine-1.dist-info" / "METADATA").write_text("Name: pair-engine\nVersion: 1\n")
    (tmp_path / "pair_engine-1.dist-info" / "entry_points.txt").write_text(
        "[v2t.transcribers]\npair = pair_engine:Pair\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    async def hold(model: str) -> Held:
        return Held(model)

    made = Batcher(EngineHost("pair", device="cpu", threads=2), hold, 2, idle=60)
    yield made
    await made.close()


async def heard(batcher: Batcher, number: int, model: str = "m") -> str:
    transcription, _ = await batcher.transcribe(np.full(16_000, number, np.float32), Request(model=model))
    return transcription.segments[0].text


async def test_two_calls_are_in_the_engine_at_once(batcher: Batcher) -> None:
    """One core works and the others wait."""
    assert await asyncio.gather(*(heard(batcher, 2) for _ in range(4))) == ["m 2 2"] * 4


async def test_a_chunk_that_crashes_the_engine_fails_alone(batcher: Batcher) -> None:
    """One poisoned chunk costs the chunks of every other job that is beside it in the engine."""
    numbers = (3, 1, 666, 1, 3)
    results = await asyncio.gather(*(heard(batcher, number) for number in numbers), return_exceptions=True)
    assert isinstance(results[2], EngineDied)
    assert [str(result).split()[-1] for n, result in enumerate(results) if n != 2] == ["3", "1", "1", "3"]


async def test_another_model_waits_until_the_calls_of_the_first_have_ended(batcher: Batcher) -> None:
    """A chunk is cut off, or done by the model of another job."""
    asked = [(3, "m"), (1, "n"), (3, "m"), (1, "n")]
    results = await asyncio.gather(*(heard(batcher, number, model) for number, model in asked))
    assert [result.split()[::2] for result in results] == [[model, str(number)] for number, model in asked]


async def test_a_cancelled_chunk_is_left_out(batcher: Batcher) -> None:
    """A cancelled job is computed all the same, in front of the others."""
    running = [asyncio.create_task(heard(batcher, 3)) for _ in range(4)]
    await asyncio.sleep(0)
    forsaken, wanted = (asyncio.create_task(heard(batcher, number)) for number in (1, 4))
    await asyncio.sleep(0)
    forsaken.cancel()
    assert (await wanted).split()[-1] == "4"
    assert len(await asyncio.gather(*running)) == 4
