"""A tiny speech model for both engines and a clip it understands, for demonstration and tests: see MODEL_CARD.md."""

import json
from pathlib import Path

from v2t_stream.errors import NoDemo

HERE = Path(__file__).parent
CLIP = HERE / "clip.webm"

_MODELS = {"faster-whisper": HERE / "faster-whisper", "whisper-cpp": HERE / "whisper-cpp" / "ggml-demo.bin"}


def model_path(engine: str) -> Path:
    """The demo model's path for `engine`; raises NoDemo if the engine has none."""
    if path := _MODELS.get(engine):
        return path
    raise NoDemo(f"the engine {engine!r} has no demo model: use {' or '.join(_MODELS)}, or choose a model of its own")


def reference() -> str:
    """The words spoken in the clip."""
    text: str = json.loads((HERE / "clip.json").read_text(encoding="utf-8"))["text"]
    return text
