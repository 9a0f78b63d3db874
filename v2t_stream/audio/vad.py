"""Silero VAD over a stream: the model that faster-whisper brings, with its state carried from block to block."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.chunks import SAMPLE_RATE
from v2t_stream.audio.speech import THRESHOLD, WINDOW

MODEL = "silero_vad_v6.onnx"  # in faster_whisper/assets
CONTEXT = 64  # samples of the window before that the model sees again (snakers4/silero-vad, at 16 kHz)
STATE = (1, 1, 128)  # of the model's LSTM, twice
MEMORY = 4 * SAMPLE_RATE // WINDOW  # windows
SILENT = 0.2  # a probability under which there is nobody who is speaking


class SileroVad:
    """Speech probabilities of consecutive windows of WINDOW samples at 16 kHz.

    All windows of a block go into one call: 8 or more cost half as much each as one alone (measured: 230 times real
    time one by one, 470 from 32 on). One thread: the model is too small for more, and the cores belong to the engines.

    After half a minute of silence the model does not hear the first second of what is said (measured on three voices,
    behind digital silence and noise; up to 1.2 s behind five minutes), so it forgets four seconds without speech.
    """

    def __init__(self) -> None:
        self._session = _session()
        self._h = self._c = np.zeros(STATE, np.float32)
        self._at = 0  # windows so far
        self._highest = 0.0  # probability since the last look at whether to forget
        # The last window's end, then what does not fill a window yet.
        self._tail: NDArray[np.float32] = np.zeros(CONTEXT, np.float32)

    def feed(self, samples: NDArray[np.int16]) -> NDArray[np.float32]:
        """Return the probabilities, shape (windows,), of the windows that are full with these samples."""
        audio: NDArray[np.float32] = np.concatenate((self._tail, samples.astype(np.float32) / np.float32(32768)))
        count = (len(audio) - CONTEXT) // WINDOW
        self._tail = audio[count * WINDOW :]
        if not count:
            return np.zeros(0, np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(audio, CONTEXT + WINDOW)[::WINDOW][:count]
        # Looked at by the place in the stream, so that the size of blocks does not matter.
        first = MEMORY - self._at % MEMORY
        return np.concatenate([self._run(part) for part in np.split(windows, range(first, count, MEMORY))])

    def _run(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._at % MEMORY == 0:
            if self._highest < SILENT:
                self._h = self._c = np.zeros(STATE, np.float32)
            self._highest = 0.0
        out, self._h, self._c = self._session.run(
            None, {"input": np.ascontiguousarray(windows), "h": self._h, "c": self._c}
        )
        probabilities: NDArray[np.float32] = out
        self._at += len(windows)
        self._highest = max(self._highest, float(probabilities.max()))
        return probabilities

    def finish(self) -> NDArray[np.float32]:
        """Return the probability of the last window, filled up with silence."""
        return self.feed(np.zeros(WINDOW - (len(self._tail) - CONTEXT) % WINDOW, np.int16))

    def speech_seconds(self, samples: NDArray[np.int16]) -> float:
        """Return how many seconds of these samples, and what came before, are in windows that are speech."""
        probabilities = np.concatenate((self.feed(samples), self.finish()))
        return float(np.count_nonzero(probabilities >= THRESHOLD) * WINDOW / SAMPLE_RATE)


class Everything:
    """Takes all sound for speech: what there is in place of SileroVad for those who want to do without."""

    def __init__(self) -> None:
        self._count = 0  # samples that do not fill a window yet

    def feed(self, samples: NDArray[np.int16]) -> NDArray[np.float32]:
        windows, self._count = divmod(self._count + len(samples), WINDOW)
        return np.ones(windows, np.float32)

    def finish(self) -> NDArray[np.float32]:
        return np.ones(1, np.float32)


@cache
def _session() -> Any:
    """The model, which has no state of its own; it takes 30 ms to load."""
    import onnxruntime  # noqa: PLC0415  # takes a while, and only convert needs it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # it would keep the largest block's memory for good
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(_model_path()), sess_options=options, providers=["CPUExecutionProvider"])


def _model_path() -> Path:
    """Where the model lies, without importing faster_whisper (0.7 s)."""
    spec = find_spec("faster_whisper")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder, "assets", MODEL)
        if path.is_file():
            return path
    raise RuntimeError(f"faster-whisper's {MODEL} is not installed: faster-whisper 1.2.1 or a later 1.x brings it")
