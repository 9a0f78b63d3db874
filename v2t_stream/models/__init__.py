"""The names of Whisper's models that each engine knows and where they come from, so that no engine is imported for it.

folder.py keeps them on this machine, shared.py in the object store for the fleet, hub.py fetches from the Hugging Face
Hub, and fetching.py decides between them.
"""

import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Final, NamedTuple

from schemas.options import DEMO_MODEL
from v2t_stream.text import quoted

_FASTER_WHISPER: Final[Mapping[str, str]] = {
    **{
        name: f"Systran/faster-whisper-{name}"
        for size in ("tiny", "base", "small", "medium")
        for name in (size, f"{size}.en")
    },
    **{name: f"Systran/faster-whisper-{name}" for name in ("large-v1", "large-v2", "large-v3")},
    **{
        f"distil-{size}": f"Systran/faster-distil-whisper-{size}"
        for size in ("small.en", "medium.en", "large-v2", "large-v3")
    },
    "distil-large-v3.5": "distil-whisper/distil-large-v3.5-ct2",
    "large-v3-turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
}
_PLAIN = frozenset({"tiny", "tiny.en", "base", "base.en", "small", "small.en", "medium", "medium.en"})
_WHISPER_CPP = (
    _PLAIN
    | {"large-v1", "large-v2", "large-v3", "large-v3-turbo", "large-v3-q5_0"}
    | {f"{name}-{bits}" for name in _PLAIN - {"medium", "medium.en"} for bits in ("q5_1", "q8_0")}
    | {f"{name}-{bits}" for name in ("medium", "medium.en", "large-v2", "large-v3-turbo") for bits in ("q5_0", "q8_0")}
)

# faster-whisper knows these two itself; whisper.cpp is given them too, so that a job means the same on every node.
ALIASES: Final[Mapping[str, str]] = {"large": "large-v3", "turbo": "large-v3-turbo"}

NAMES: Final[Mapping[str, frozenset[str]]] = {
    "faster-whisper": frozenset(_FASTER_WHISPER) | ALIASES.keys(),
    "whisper-cpp": _WHISPER_CPP | ALIASES.keys(),
}

# Owner and name as the hub has them; neither can lead out of a folder.
_REPOSITORY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*/[A-Za-z0-9][A-Za-z0-9._-]*")


class Origin(NamedTuple):
    """A model that can be fetched."""

    engine: str
    name: str  # without aliases, so that nothing is fetched twice
    repository: str  # on the hub
    file: str  # the largest of its files
    beside: tuple[str, ...] = ()  # patterns of the others
    is_folder: bool = False  # whether the engine is given the folder rather than the file

    @property
    def key(self) -> str:
        """Where it lies, below the folder or the bucket of models."""
        return f"{self.engine}/{self.name.replace('/', '--')}"

    def path(self, folder: Path) -> Path:
        """What the engine is given, where the files lie in `folder`."""
        return folder if self.is_folder else folder / self.file


def origin(model: str, engine: str) -> Origin | None:
    """Where `model` comes from for `engine`; None for a path, the demo model, and whatever is unknown."""
    name = ALIASES.get(model, model)
    if name not in NAMES.get(engine, ()) and (not _is_repository(model) or Path(model).exists()):
        return None
    match engine:
        case "faster-whisper":
            beside = ("config.json", "preprocessor_config.json", "tokenizer.json", "vocabulary.*")
            repository = _FASTER_WHISPER.get(name, name)
            return Origin(engine, name, repository, "model.bin", beside, is_folder=True)
        case "whisper-cpp" if name in NAMES[engine]:
            return Origin(engine, name, "ggerganov/whisper.cpp", f"ggml-{name}.bin")
    return None


def is_path(model: str) -> bool:
    """Whether `model` is meant as a place, on this disk or on a hub ("org/name"), rather than as a known name."""
    if "/" in model or "\\" in model or model.startswith("~"):
        return True
    return os.path.exists(model)  # noqa: PTH110  # Path raises where a name is too long


def problem(model: str, engine: str | None) -> str | None:
    """What is wrong with asking `engine` (None: any) for `model`, as a sentence for the user; None where all is well.

    Paths pass, for they may exist on the worker alone; so does every name for an engine that is not one of ours.
    """
    if model == DEMO_MODEL or is_path(model) or (engine is not None and engine not in NAMES):
        return None
    known = frozenset().union(*NAMES.values()) if engine is None else NAMES[engine]
    if model in known:
        return None
    if others := [other for other, names in NAMES.items() if model in names]:
        return f"{engine} has no model {model!r}: {' and '.join(others)} has"
    near = get_close_matches(model, sorted(known | {DEMO_MODEL}), n=3)
    advice = f"did you mean {' or '.join(near)}?" if near else "`v2t models list` shows those there are"
    return f"unknown model {quoted(model)}: {advice}"


def _is_repository(model: str) -> bool:
    return _REPOSITORY.fullmatch(model) is not None and ".." not in model and "--" not in model
