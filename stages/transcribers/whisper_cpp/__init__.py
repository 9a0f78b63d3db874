"""The engine whisper.cpp: Metal on a Mac, the processor elsewhere."""

from typing import Final

from v2t_stream.engines.descriptor import Abilities, EngineDescriptor, Weights
from v2t_stream.engines.whisper import EXCEPTIONS

_PLAIN: Final = frozenset({"tiny", "tiny.en", "base", "base.en", "small", "small.en", "medium", "medium.en"})
_NAMES: Final = (
    _PLAIN
    | {"large-v1", "large-v2", "large-v3", "large-v3-turbo", "large-v3-q5_0"}
    | {f"{name}-{bits}" for name in _PLAIN - {"medium", "medium.en"} for bits in ("q5_1", "q8_0")}
    | {f"{name}-{bits}" for name in ("medium", "medium.en", "large-v2", "large-v3-turbo") for bits in ("q5_0", "q8_0")}
)

ENGINE: Final = EngineDescriptor(
    transcriber="stages.transcribers.whisper_cpp.engine:WhisperCpp",
    devices=("coreml", "metal", "cpu"),  # the wheels have no CUDA
    abilities=Abilities(hints=frozenset({"prompt", "hotwords", "beam_size", "temperature"})),
    exceptions=EXCEPTIONS,
    weights=Weights(
        repositories=dict.fromkeys(sorted(_NAMES), "ggerganov/whisper.cpp"),
        file="ggml-{name}.bin",
        kept_by="pywhispercpp",
    ),
)
