"""The names of Whisper's models that each engine knows, held here so that no engine is imported to check one."""

import os
from collections.abc import Mapping
from difflib import get_close_matches

from schemas.options import DEMO_MODEL

_COMMON = frozenset(
    {"tiny", "tiny.en", "base", "base.en", "small", "small.en", "medium", "medium.en"}
    | {"large", "large-v1", "large-v2", "large-v3", "large-v3-turbo", "turbo"}
)
_DISTILLED = frozenset(
    {"distil-small.en", "distil-medium.en", "distil-large-v2", "distil-large-v3", "distil-large-v3.5"}
)
_QUANTISED = frozenset(
    {
        f"{size}-{bits}"
        for size in ("tiny", "tiny.en", "base", "base.en", "small", "small.en")
        for bits in ("q5_1", "q8_0")
    }
    | {f"{size}-{bits}" for size in ("medium", "medium.en", "large-v2", "large-v3-turbo") for bits in ("q5_0", "q8_0")}
    | {"large-v3-q5_0"}
)

# faster-whisper knows these two itself; whisper.cpp is given them too, so that a job means the same on every node.
ALIASES: Mapping[str, str] = {"large": "large-v3", "turbo": "large-v3-turbo"}

NAMES: Mapping[str, frozenset[str]] = {
    "faster-whisper": _COMMON | _DISTILLED,
    "whisper-cpp": _COMMON | _QUANTISED,
}


def is_path(model: str) -> bool:
    """Whether `model` is meant as a place, on this disk or on a hub ("org/name"), rather than as a known name."""
    return "/" in model or "\\" in model or model.startswith("~") or os.path.exists(model)  # noqa: PTH110  that of Path raises for a name too long


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
    advice = f"did you mean {' or '.join(near)}?" if near else "`v2t models` lists those there are"
    return f"unknown model {model!r}: {advice}"
