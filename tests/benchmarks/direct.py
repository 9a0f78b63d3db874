"""The engine's own library, called as one would without this project: what the pipeline is measured against.

`python -m tests.benchmarks.direct ENGINE THREADS BATCH MODEL` reads a mode and the path of a file from each line of its
standard input, with a tab between them, and answers each with one line of JSON.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from schemas.options import DEMO_MODEL
from schemas.transcript import Segment, Word
from tests.harness import DATA
from v2t_stream.demo import model_path
from v2t_stream.host.devices import detect, preload_cuda
from v2t_stream.transcription.engine_process import environment as engine_environment

# The ways of each library that people use, the first being the one that is nearest to ours.
MODES: dict[str, dict[str, dict[str, Any]]] = {
    "faster-whisper": {
        "batched": {"word_timestamps": True},
        "sequential": {},
        "sequential, VAD": {"vad_filter": True},
    },
    # The settings of one call of pywhispercpp stay for the next; 16,384 is its default.
    "whisper-cpp": {
        "without context": {"n_max_text_ctx": 0},
        "defaults": {"n_max_text_ctx": 16_384},
    },
}
# Transcribes a file in a way that MODES names.
Transcribe = Callable[[str, str], Iterator[Segment]]


class Heard(msgspec.Struct):
    seconds: float  # that the call took, decoding included, loading the model not
    processor: float  # seconds that all its threads computed
    segments: list[Segment]

    @property
    def text(self) -> str:
        return " ".join(segment.text for segment in self.segments)


class Direct:
    """A process with the library and its model loaded."""

    def __init__(self, process: "subprocess.Popen[bytes]", modes: tuple[str, ...]) -> None:
        self._process = process
        self.modes = modes  # that it knows

    def transcribe(self, path: Path, mode: str = "") -> Heard:
        """In the first mode where none is named."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{mode or self.modes[0]}\t{path}\n".encode())
        self._process.stdin.flush()
        return msgspec.json.decode(self._process.stdout.readline(), type=Heard)


@contextmanager
def direct(engine: str, *, threads: int, batch: int, model: str = DEMO_MODEL) -> Iterator[Direct]:
    """The library in a process of its own with the environment of our engine process, and a short clip behind it."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.direct", engine, str(threads), str(batch), model],
        env=engine_environment(threads),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as process:
        try:
            ready = Direct(process, tuple(MODES[engine]))
            ready.transcribe(DATA / "5s.flac")
            yield ready
        finally:
            process.terminate()


def _faster_whisper(threads: int, batch: int, model: str) -> Transcribe:
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    device = detect("faster-whisper")
    if device == "cuda":
        preload_cuda()
    folder = model_path("faster-whisper") if model == DEMO_MODEL else model
    compute = "float16" if device == "cuda" else "int8"
    engine = WhisperModel(str(folder), device=device, compute_type=compute, cpu_threads=threads)
    batched = BatchedInferencePipeline(engine)

    def transcribe(path: str, mode: str) -> Iterator[Segment]:
        settings = MODES["faster-whisper"][mode]
        if mode == "batched":
            found, _ = batched.transcribe(path, language="en", batch_size=batch, **settings)
        else:
            found, _ = engine.transcribe(path, language="en", **settings)
        for segment in found:
            words = [
                Word(start=float(word.start), end=float(word.end), text=word.word.strip())
                for word in segment.words or ()
            ]
            start, end = float(segment.start), float(segment.end)
            yield Segment(start=start, end=end, text=segment.text.strip(), words=tuple(words))

    return transcribe


def _whisper_cpp(threads: int, _: int, model: str) -> Transcribe:
    from faster_whisper.audio import decode_audio
    from pywhispercpp.model import Model

    engine: Any = Model(
        str(model_path("whisper-cpp") if model == DEMO_MODEL else model),
        redirect_whispercpp_logs_to=None,
        n_threads=threads,
        language="en",
        print_progress=False,
    )

    def transcribe(path: str, mode: str) -> Iterator[Segment]:
        for segment in engine.transcribe(decode_audio(path), **MODES["whisper-cpp"][mode]):
            yield Segment(start=segment.t0 / 100, end=segment.t1 / 100, text=segment.text.strip())

    return transcribe


def main() -> None:
    engine, threads, batch, model = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # out of reach of any library that prints
    transcribe = {"faster-whisper": _faster_whisper, "whisper-cpp": _whisper_cpp}[engine](threads, batch, model)
    for line in sys.stdin:
        mode, _, path = line.rstrip("\n").partition("\t")
        begun, before = time.perf_counter(), time.process_time()
        segments = list(transcribe(path, mode))
        heard = Heard(time.perf_counter() - begun, time.process_time() - before, segments)
        answers.write(msgspec.json.encode(heard) + b"\n")
        answers.flush()


if __name__ == "__main__":
    main()
