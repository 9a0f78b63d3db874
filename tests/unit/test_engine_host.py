"""The host with a third party's engine, whose model's name says what it does."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import uvloop

from schemas.options import Request
from tests.patience import PATIENCE
from v2t_stream.errors import Full, Reject, Retry
from v2t_stream.transcription.engine_host import EngineHost
from v2t_stream.transcription.transcriber import Samples, Transcription

ENGINE = """
import os, signal, threading, time
from schemas.options import Request
from schemas.transcript import Segment, Word
from v2t_stream.errors import Full, Reject, Retry
from v2t_stream.transcription.transcriber import Transcription

loads = 0

class Fake:
    def __init__(self, *, model, device, threads):
        global loads
        loads += 1
        if model == "no such model":
            raise Reject("there is no such model")
        if model == "not now":
            raise Retry("the hub is away", delay=7.5)
        self.model, self.device, self.threads = model, device, threads

    def transcribe(self, chunks, request):
        if self.model == "crash":
            signal.raise_signal(signal.SIGSEGV)
        if self.model == "full":
            raise Full("the GPU has no room")
        if self.model == "bug":
            raise KeyError("beam")
        if self.model == "hang":
            time.sleep(600)
        if self.model == "noise":
            print("a library says hello", flush=True)
            os.system("echo so does its C")
        said = f"{self.device} {self.threads} {loads} {request.task}"
        if self.model.startswith("$"):
            said = os.environ[self.model[1:]]
        word = (Word(start=0.0, end=0.5, text="w", probability=0.5),) if request.word_timestamps else ()
        return [
            Transcription(
                (Segment(start=0.0, end=len(chunk) / 16000, text=f"{said} {chunk.sum():g}", words=word),),
                request.language or "en",
            )
            for chunk in chunks
        ]


class Wide(Fake):
    calls = 2
    inside = 0
    both = threading.Event()

    def transcribe(self, chunks, request):
        if self.model != "pair":
            return super().transcribe(chunks, request)
        Wide.inside += 1
        if Wide.inside == 2:
            Wide.both.set()
        text = f"{Wide.both.wait(60)} {chunks[0].sum():g}"
        return [Transcription((Segment(start=0.0, end=1.0, text=text),), "en")]


class Old(Fake):
    def transcribe(self, chunks, *, language, task, word_timestamps):
        return super().transcribe(
            chunks, Request(language=language, task=task, word_timestamps=word_timestamps)
        )
"""

CHUNK = np.full(16_000, 0.5, np.float32)


@pytest.fixture(autouse=True)
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine, installed as a package would be."""
    (tmp_path / "fake_engine.py").write_text(ENGINE)
    (tmp_path / "fake_engine-1.dist-info").mkdir()
    (tmp_path / "fake_engine-1.dist-info" / "METADATA").write_text("Name: fake-engine\nVersion: 1\n")
    (tmp_path / "fake_engine-1.dist-info" / "entry_points.txt").write_text(
        "[v2t.transcribers]\nfake = fake_engine:Fake\nold = fake_engine:Old\nwide = fake_engine:Wide\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


@pytest.fixture
async def host() -> AsyncIterator[EngineHost]:
    async with EngineHost("fake", device="cpu", threads=3) as host:
        yield host


async def ask(host: EngineHost, model: str = "echo", chunks: tuple[Samples, ...] = (CHUNK,)) -> list[Transcription]:
    return await host.transcribe(chunks, Request(model=model))


async def text(host: EngineHost, model: str) -> str:
    return (await ask(host, model))[0].segments[0].text


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    status = Path(f"/proc/{pid}/stat")  # in a container perhaps nobody collects the dead
    return status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] == "Z"


async def goes(pid: int) -> bool:
    give_up = time.monotonic() + PATIENCE
    while not gone(pid):
        if time.monotonic() > give_up:
            return False
        await asyncio.sleep(0.05)
    return True


async def test_a_chunk_in_a_transcription_out(host: EngineHost) -> None:
    """Nothing is transcribed, or a chunk gets its neighbour's words."""
    chunks = (CHUNK, CHUNK[:8_000], np.zeros(0, np.float32), CHUNK[::2])
    wish = Request(model="echo", language="de", task="translate", word_timestamps=True)
    found = await host.transcribe(chunks, wish)
    assert [t.segments[0].text.split()[-1] for t in found] == ["8000", "4000", "0", "4000"]
    assert found[1].segments[0].end == 0.5
    assert found[0].segments[0].text.startswith("cpu 3 1 translate")
    assert found[0].segments[0].words[0].probability == 0.5
    assert found[0].language == "de"


async def test_an_engine_with_the_signature_of_the_last_release_works() -> None:
    """An upgrade breaks every engine that a third party has written."""
    async with EngineHost("old", device="cpu", threads=1) as host:
        (heard,) = await host.transcribe(
            [CHUNK], Request(model="echo", language="de", word_timestamps=True, beam_size=2)
        )
    assert (heard.language, heard.segments[0].words[0].text) == ("de", "w")


async def test_an_engine_that_takes_two_calls_at_once_gets_them() -> None:
    """One core works and the others wait; or a chunk gets the words of the one beside it."""
    async with EngineHost("wide", device="cpu", threads=2) as host:
        await host.warm("pair")
        assert host.calls == 2
        found = await asyncio.gather(*(ask(host, "pair", (CHUNK[:n],)) for n in (2, 4)))
    assert [heard.segments[0].text for (heard,) in found] == ["True 1", "True 2"]


async def test_a_crash_costs_every_call_that_is_in_the_engine() -> None:
    """The call beside the one that crashed waits for its answer for ever."""
    async with EngineHost("wide", device="cpu", threads=2) as host:
        await host.warm("hang")
        calls = [asyncio.create_task(ask(host, "hang")) for _ in range(2)]
        await asyncio.sleep(0.2)
        host.kill()
        for call in calls:
            with pytest.raises(Retry, match="SIGKILL"):
                await call
        assert await ask(host, "echo")


async def test_the_longest_chunks_pass_unharmed(host: EngineHost) -> None:
    """A full batch deadlocks on a pipe, or arrives damaged."""
    chunks = tuple(np.full(480_000, n, np.float32) for n in range(16))
    found = await ask(host, chunks=chunks)
    assert [float(t.segments[0].text.split()[-1]) for t in found] == [480_000.0 * n for n in range(16)]


async def test_the_model_stays_loaded_until_another_is_asked(host: EngineHost) -> None:
    """Every call pays for loading; or a job is transcribed by the model of the one before."""
    await host.warm("one")
    assert [(await text(host, model)).split()[2] for model in ("one", "one", "two", "one")] == ["1", "1", "2", "3"]


async def test_calls_at_once_take_turns(host: EngineHost) -> None:
    """Two chunks that come in at the same moment get each other's answers."""
    found = await asyncio.gather(*(ask(host, chunks=(CHUNK[:n],)) for n in range(2, 42, 2)))
    assert [t[0].segments[0].text.split()[-1] for t in found] == [str(n) for n in range(1, 21)]


async def test_openmp_is_told_to_sleep_before_any_library_loads(host: EngineHost) -> None:
    """On a busy machine whisper.cpp takes a hundred times as long, its threads spinning on shared cores."""
    for name, value in {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "OMP_NUM_THREADS": "3"}.items():
        assert (await text(host, f"${name}")).split()[0] == value


async def test_what_the_engine_rejects_and_postpones_arrives_as_such(host: EngineHost) -> None:
    """A model that does not exist is tried for hours; a network that was away for a second fails the job."""
    with pytest.raises(Reject, match=r"^there is no such model$"):
        await host.warm("no such model")
    with pytest.raises(Retry, match=r"^the hub is away$") as caught:
        await ask(host, "not now")
    assert caught.value.delay == 7.5
    assert (await text(host, "echo")).split()[2] == "3"  # in the same process


async def test_an_unknown_engine_is_rejected() -> None:
    """A spelling mistake in --engine is tried until the last delivery."""
    async with EngineHost("fakee", device="cpu", threads=1) as host:
        with pytest.raises(Reject, match=r"unknown engine 'fakee'.*fake"):
            await ask(host)


async def test_a_bug_in_the_engine_is_reported_and_its_process_starts_afresh(host: EngineHost) -> None:
    """After one CUDA error the GPU fails every chunk until somebody restarts the worker."""
    with pytest.raises(Retry, match="engine fake failed with the model 'bug': KeyError: 'beam'"):
        await ask(host, "bug")
    assert (await text(host, "echo")).split()[2] == "1"


async def test_an_engine_without_room_gives_back_what_it_has(host: EngineHost) -> None:
    """Two programs wait for each other's part of the GPU's memory, or a chunk counts as what brings engines down."""
    with pytest.raises(Full, match="the GPU has no room"):
        await ask(host, "full")
    assert (await text(host, "echo")).split()[2] == "1"


async def test_a_crash_costs_one_call(host: EngineHost) -> None:
    """A crash in native code takes the worker with it, and the chunks of every other job in its hands."""
    with pytest.raises(Retry, match="engine fake was killed by SIGSEGV on 1 chunks with the model 'crash'"):
        await ask(host, "crash")
    assert (await text(host, "echo")).split()[2] == "1"


@pytest.mark.parametrize("busy", [True, False])
async def test_killed_from_outside_the_next_call_works(host: EngineHost, *, busy: bool) -> None:
    """Where the system kills the engine for its memory, the worker waits for it for ever."""
    await host.warm("echo")
    pid = host.pid
    assert pid is not None
    if busy:
        call = asyncio.create_task(ask(host, "hang"))
        await asyncio.sleep(0.2)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(Retry, match=r"SIGKILL \(perhaps it ran out of memory\)"):
            await call
    else:
        os.kill(pid, signal.SIGKILL)
        assert host._process
        await host._process.bury()
    assert await ask(host)
    assert host.pid != pid


async def test_a_hung_engine_can_be_killed(host: EngineHost) -> None:
    """One hang and the machine does nothing more."""
    await host.warm("echo")
    call = asyncio.create_task(ask(host, "hang"))
    await asyncio.sleep(0.2)
    host.kill()
    with pytest.raises(Retry, match="SIGKILL"):
        await call
    assert await ask(host)


async def test_a_cancelled_call_stops_computing_and_breaks_nothing(host: EngineHost) -> None:
    """A cancelled job keeps the machine busy, or the next chunk gets its words."""
    await host.warm("echo")
    pid = host.pid
    assert pid is not None
    call = asyncio.create_task(ask(host, "hang"))
    waiting = asyncio.create_task(ask(host, chunks=(CHUNK[:4],)))
    await asyncio.sleep(0.2)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (await waiting)[0].segments[0].text.endswith(" 2")
    assert await goes(pid)


async def test_what_libraries_print_does_no_harm(host: EngineHost) -> None:
    """One line on standard output and the worker cannot read the engine's answers any more."""
    assert await ask(host, "noise")
    assert await ask(host)


async def test_the_signals_of_a_terminal_are_the_parents_to_answer(host: EngineHost) -> None:
    """On Ctrl-C the engine dies at once, with a traceback, while the worker wants to finish its chunk."""
    await host.warm("echo")
    pid = host.pid
    assert pid is not None
    os.kill(pid, signal.SIGINT)
    os.kill(pid, signal.SIGTERM)
    assert await ask(host)
    assert host.pid == pid
    assert os.getsid(pid) == pid


async def test_close_leaves_nothing_behind(host: EngineHost) -> None:
    """The memory of a model stays taken when its worker has stopped, or stopping takes as long as all that waits."""
    await host.warm("echo")
    pid = host.pid
    assert pid is not None
    calls = [asyncio.create_task(ask(host, model)) for model in ("hang", "echo")]
    await asyncio.sleep(0.2)
    await host.close()
    assert gone(pid)
    assert host.pid is None
    for call in calls:
        with pytest.raises(Retry):
            await call
    assert host.pid is None


# Without a guard for __main__, as a careless script would be: the engine's process must not run it again.
PARENT = """
    import asyncio, numpy
    from schemas.options import Request
    from v2t_stream.transcription.engine_host import EngineHost

    async def main():
        host = EngineHost("fake", device="cpu", threads=1)
        await host.warm({model!r})
        print(host.pid, flush=True)
        await host.transcribe([numpy.zeros(9, "f4")], Request(model={model!r}))
        await asyncio.sleep(600)

    asyncio.run(main())
"""


@pytest.mark.parametrize("model", ["echo", "hang"])
async def test_a_killed_parent_takes_the_engine_with_it(tmp_path: Path, model: str) -> None:
    """Each worker that is killed leaves a process behind that holds gigabytes, on the GPU too."""
    script = tmp_path / "parent.py"
    script.write_text(textwrap.dedent(PARENT.format(model=model)))
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        time.sleep(0.2)  # noqa: ASYNC251  as above
        assert not gone(pid)
        parent.kill()
    assert await goes(pid)


def test_it_runs_on_uvloop() -> None:
    """On Linux and macOS, where workers run on uvloop, nothing can be transcribed."""

    async def main() -> None:
        async with EngineHost("fake", device="cpu", threads=1) as host:
            assert await ask(host, chunks=(np.zeros(480_000, np.float32),) * 8)
            with pytest.raises(Retry, match="SIGSEGV"):
                await ask(host, "crash")
            assert await ask(host)

    uvloop.run(main())


async def test_an_engine_that_is_just_starting_is_closed_too() -> None:
    """A worker that is stopped as its first chunk comes in never ends, and its engine stays."""
    host = EngineHost("any", device="cpu", threads=1)
    call = asyncio.create_task(host.warm("demo"))
    await asyncio.sleep(0)  # it begins
    assert host._turn.locked()
    assert host.pid is None
    async with asyncio.timeout(PATIENCE):
        await host.close()
    with pytest.raises(Retry, match="is being stopped"):
        await call
    assert host._process is None
