"""The two models: which of a few people speak in a window, and what a voice sounds like. Both run on the processor."""

from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.chunks import SAMPLE_RATE
from v2t_stream.speakers.embedding import MODEL
from v2t_stream.speakers.frames import FRAME

_FOLDER: Final = Path(__file__).parent / "data"  # see the model card there
WINDOW: Final = 10 * SAMPLE_RATE  # samples, as in the training of segmentation-3.0
# Its classes: nobody, one of three people, or two of them at once ("Powerset multi-class cross entropy loss for neural
# speaker diarization", Plaquet and Bredin, 2023).
_CLASSES: Final = np.array(
    [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]], dtype=np.bool_
)
_BINS: Final = 80  # of the filter banks that the embedding takes
_SHORTEST: Final = SAMPLE_RATE // 10  # samples that have a frame of features

Samples = NDArray[np.float32]  # mono, at SAMPLE_RATE, from -1 to 1


class Models:
    def __init__(self) -> None:
        self._segmentation = _session("segmentation.onnx")
        self._embedding = _session(f"{MODEL}.onnx")

    def active(self, samples: Samples) -> NDArray[np.bool_]:
        """Who speaks in each frame of a window, of shape (frames, 3): at most two of three people at once."""
        # A short window is repeated: the model hears more people in one that is filled up with silence.
        padded = np.tile(samples, -(-WINDOW // max(1, samples.size)))[:WINDOW]
        (scores,) = self._segmentation.run(None, {"input_values": padded[None, None]})
        decisions: NDArray[np.bool_] = _CLASSES[scores[0].argmax(axis=1)]
        return decisions[: samples.size // FRAME]

    def embedding(self, samples: Samples) -> NDArray[np.float32] | None:
        """The voice in `samples`, a vector of length 1; None if they are too few."""
        if samples.size < _SHORTEST:
            return None
        (vector,) = self._embedding.run(None, {"feats": _features(samples)[None]})
        voice: NDArray[np.float32] = vector[0] / np.linalg.norm(vector[0])
        return voice


@cache
def models() -> Models:
    """Loaded once for the process, in half a second."""
    return Models()


def _session(file: str) -> Any:
    import onnxruntime  # noqa: PLC0415  # heavy, and only jobs with speakers need it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # the engine needs the other cores
    return onnxruntime.InferenceSession(str(_FOLDER / file), options, providers=["CPUExecutionProvider"])


def _features(samples: Samples) -> NDArray[np.float32]:
    """Kaldi's filter banks, as CAM++ was trained on them: no dither, the mean over time taken away."""
    import kaldi_native_fbank  # noqa: PLC0415  # as above

    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.dither = 0.0
    options.frame_opts.samp_freq = SAMPLE_RATE
    options.mel_opts.num_bins = _BINS
    banks = kaldi_native_fbank.OnlineFbank(options)
    banks.accept_waveform(SAMPLE_RATE, samples * 32768)
    banks.input_finished()
    features = np.array([banks.get_frame(number) for number in range(banks.num_frames_ready)], np.float32)
    centred: NDArray[np.float32] = features - features.mean(axis=0)
    return centred
