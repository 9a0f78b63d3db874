"""Silero VAD over a stream: faster-whisper's model, with its state carried from block to block."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.chunks import SAMPLE_RATE
from v2t_stream.audio.speech import THRESHOLD, WINDOW

MODEL = "silero_vad_v6.onnx"  # in faster_whisper/assets
CONTEXT = 64  # samples of the previous window that the model sees again (snakers4/silero-vad, at 16 kHz)
STATE = (1, 1, 128)  # the model's two LSTM states
MEMORY = 4 * SAMPLE_RATE // WINDOW  # windows
SILENT = 0.2  # below this probability nobody speaks


class SileroVad:
    """Speech probabilities of consecutive windows of WINDOW samples at 16 kHz.

    All windows of a block go into one call: 8 or more cost half as much each as one alone (measured: 230 times real
    time one by one, 470 from 32 on). It uses one thread: the model is too small for more, and the engines need the
    cores.

    After half a minute of silence the model misses the first second of speech (measured on three voices, after digital
    silence and noise; up to 1.2 s after five minutes), so this resets it after four seconds without speech.
    """

    def __init__(self) -> None:
        self._session = _session()
        self._h = self._c = np.zeros(STATE, np.float32)
        self._at = 0  # windows so far
        self._highest = 0.0  # highest probability since the last check for a reset
        # The last window's end, then samples that do not fill a window yet.
        self._tail: NDArray[np.float32] = np.zeros(CONTEXT, np.float32)

    def feed(self, samples: NDArray[np.int16]) -> NDArray[np.float32]:
        """Return the probabilities, shape (windows,), of the windows that these samples fill."""
        audio: NDArray[np.float32] = np.concatenate((self._tail, samples.astype(np.float32) / np.float32(32768)))
        count = (len(audio) - CONTEXT) // WINDOW
        self._tail = audio[count * WINDOW :]
        if not count:
            return np.zeros(0, np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(audio, CONTEXT + WINDOW)[::WINDOW][:count]
        # Check by place in the stream, so that the size of blocks does not matter.
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
        """Return the probability of the last window, padded with silence."""
        return self.feed(np.zeros(WINDOW - (len(self._tail) - CONTEXT) % WINDOW, np.int16))

    def speech_seconds(self, samples: NDArray[np.int16]) -> float:
        """Return the seconds of speech windows in these samples and the pending ones."""
        probabilities = np.concatenate((self.feed(samples), self.finish()))
        return float(np.count_nonzero(probabilities >= THRESHOLD) * WINDOW / SAMPLE_RATE)


class Everything:
    """Treats all sound as speech: replaces SileroVad if voice detection is off."""

    def __init__(self) -> None:
        self._count = 0  # samples that do not fill a window yet

    def feed(self, samples: NDArray[np.int16]) -> NDArray[np.float32]:
        windows, self._count = divmod(self._count + len(samples), WINDOW)
        return np.ones(windows, np.float32)

    def finish(self) -> NDArray[np.float32]:
        return np.ones(1, np.float32)


@cache
def _session() -> Any:
    """The model, which keeps no state; it takes 30 ms to load."""
    import onnxruntime  # noqa: PLC0415  # slow, and only convert needs it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # it would keep the largest block's memory for ever
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(_model_path()), sess_options=options, providers=["CPUExecutionProvider"])


def _model_path() -> Path:
    """The path of the model, without importing faster_whisper (0.7 s)."""
    spec = find_spec("faster_whisper")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder, "assets", MODEL)
        if path.is_file():
            return path
    raise RuntimeError(f"faster-whisper's {MODEL} is not installed: faster-whisper 1.2.1 or a later 1.x brings it")
