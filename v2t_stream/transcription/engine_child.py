"""The process an engine runs in: `python -m v2t_stream.transcription.engine_child ENGINE DEVICE THREADS`.

It reads frames from its standard input: four bytes of length, a Call, then the samples of its chunks as float32. It
writes frames to its standard output: four bytes of length, then an Answer. It ends when its input ends, that is with
its parent, however the parent ended.
"""

import inspect
import os
import queue
import signal
import struct
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO, Literal

import msgspec

from schemas.options import Request
from v2t_stream.engines.registry import load_engine
from v2t_stream.errors import Full, NoDemo, Reject, Retry
from v2t_stream.transcription.transcriber import Samples, Transcriber, Transcription

LENGTH = struct.Struct(">I")


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """What to do; without chunks, only load the model."""

    number: int
    request: Request
    chunks: tuple[int, ...] = ()  # the samples in each


class Done(msgspec.Struct, frozen=True, tag=True):
    transcriptions: tuple[Transcription, ...]
    calls: int  # how many the engine takes at once


class Failed(msgspec.Struct, frozen=True, tag=True):
    kind: Literal["reject", "no demo", "retry", "full", "error"]
    text: str
    delay: float | None = None  # of a retry, in seconds
    trace: str = ""  # of an error


class Answer(msgspec.Struct, frozen=True):
    """Answers come in any order if an engine takes several calls at once."""

    number: int  # of the call
    result: Done | Failed


def main() -> None:
    engine, device, threads = sys.argv[1:]
    # The parent decides when we end; Ctrl-C or stopping a service signals every process at once.
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.SIG_IGN)
    requests, answers = _take_pipes()
    inbox: queue.SimpleQueue[tuple[Call, list[Samples]]] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(requests, inbox), daemon=True).start()
    work = _Work(engine, device, int(threads))
    writing = threading.Lock()

    def answer(call: Call, result: Done | Failed) -> None:
        frame = msgspec.msgpack.encode(Answer(call.number, result))
        try:
            with writing:
                answers.write(LENGTH.pack(len(frame)) + frame)
                answers.flush()
        except OSError:  # the parent is gone
            os._exit(0)  # an ordinary exit would make whisper.cpp abort, as its log calls into Python

    while True:
        call, chunks = inbox.get()
        work.begin(call, chunks, answer)


def _take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Our ends of the pipes, moved out of reach of any library that prints."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, answers


def _receive(requests: BinaryIO, inbox: queue.SimpleQueue[tuple[Call, list[Samples]]]) -> None:
    """Keep reading while the engine computes, to notice at once when the parent ends."""
    import numpy as np  # noqa: PLC0415  here it loads while the engine does

    decode = msgspec.msgpack.Decoder(Call).decode
    while len(length := requests.read(LENGTH.size)) == LENGTH.size:
        call = decode(requests.read(LENGTH.unpack(length)[0]))
        chunks = [np.frombuffer(requests.read(4 * count), np.float32) for count in call.chunks]
        inbox.put((call, chunks))
    os._exit(0)


class _Work:
    """The engine with the model that was last asked for, and a thread for each call it takes at once."""

    def __init__(self, engine: str, device: str, threads: int) -> None:
        self._engine, self._device, self._threads = engine, device, threads
        self._model = ""
        self._loaded: Transcriber | None = None
        self._calls = 1
        self._running = ThreadPoolExecutor(1, "engine")

    def begin(self, call: Call, chunks: list[Samples], answer: Callable[[Call, Done | Failed], None]) -> None:
        """Load the model if it is a different one, then compute in a thread, which sends the answer."""
        failed = _failure(lambda: self._load(call.request.model))
        if failed is not None or not chunks:
            answer(call, failed or Done((), self._calls))
            return
        self._running.submit(lambda: answer(call, self._heard(call.request, chunks)))

    def _heard(self, request: Request, chunks: list[Samples]) -> Done | Failed:
        done: list[Transcription] = []
        engine = self._loaded
        assert engine is not None  # noqa: S101  for the type checker: it was loaded before
        failed = _failure(lambda: done.extend(_transcribed(engine, chunks, request)))
        return failed or Done(tuple(done), self._calls)

    def _load(self, model: str) -> None:
        if self._loaded is not None and self._model == model:
            return
        self._running.shutdown()  # let the running calls end before their model goes
        self._loaded = None  # before the next one loads, as two might not fit
        self._running = ThreadPoolExecutor(1, "engine")  # for the next call, even if loading fails
        self._loaded = load_engine(self._engine)(model=model, device=self._device, threads=self._threads)
        self._model = model
        self._calls = getattr(self._loaded, "calls", 1)
        self._running = ThreadPoolExecutor(self._calls, "engine")


def _failure(work: Callable[[], object]) -> Failed | None:
    """What went wrong, if anything did."""
    try:
        work()
    except NoDemo as error:
        return Failed("no demo", str(error))
    except Reject as error:
        return Failed("reject", str(error))
    except Full as error:
        return Failed("full", str(error))
    except Retry as error:
        return Failed("retry", str(error), error.delay)
    except Exception as error:  # noqa: BLE001  whatever a native library or a third party's engine raises
        return Failed("error", f"{type(error).__name__}: {error}", trace=traceback.format_exc())
    return None


def _transcribed(engine: Transcriber, chunks: list[Samples], request: Request) -> list[Transcription]:
    if "request" in inspect.signature(engine.transcribe).parameters:
        return engine.transcribe(chunks, request)
    # An engine made for release 0.1, which took the options of its day as keywords; until release 0.3.
    old: Any = engine
    done: list[Transcription] = old.transcribe(
        chunks, language=request.language, task=request.task, word_timestamps=request.word_timestamps
    )
    return done


if __name__ == "__main__":
    main()
