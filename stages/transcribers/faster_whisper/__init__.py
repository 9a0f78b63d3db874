"""The engine faster-whisper: CTranslate2 on the processor or an NVIDIA GPU, several chunks in one call."""

from typing import Final

from v2t_stream.engines.descriptor import Abilities, EngineDescriptor, Weights
from v2t_stream.engines.whisper import EXCEPTIONS

_PLAIN: Final = [name for size in ("tiny", "base", "small", "medium") for name in (size, f"{size}.en")]
_DISTILLED: Final = ("small.en", "medium.en", "large-v2", "large-v3")

ENGINE: Final = EngineDescriptor(
    transcriber="stages.transcribers.faster_whisper.engine:FasterWhisper",
    devices=("cuda", "cpu"),  # CTranslate2 has no Metal and no Core ML
    # On a processor two chunks take 0.85 of the time that they take one by one; four gain no more, and fewer in hand
    # leave more for other machines.
    batch={"cuda": 16, "cpu": 2},
    calls={"cuda": 2, "cpu": 4},
    abilities=Abilities(hints=frozenset({"prompt", "hotwords", "beam_size", "temperature"})),
    exceptions=EXCEPTIONS,
    weights=Weights(
        repositories={
            **{name: f"Systran/faster-whisper-{name}" for name in (*_PLAIN, "large-v1", "large-v2", "large-v3")},
            **{f"distil-{name}": f"Systran/faster-distil-whisper-{name}" for name in _DISTILLED},
            "distil-large-v3.5": "distil-whisper/distil-large-v3.5-ct2",
            "large-v3-turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
        },
        file="model.bin",
        beside=("config.json", "preprocessor_config.json", "tokenizer.json", "vocabulary.*"),
        is_folder=True,
        any_repository=True,
    ),
)
