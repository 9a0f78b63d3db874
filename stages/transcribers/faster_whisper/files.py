"""The files of a model in CTranslate2's format."""

import json
import os
from pathlib import Path
from typing import Final

from schemas.options import DEMO_MODEL
from v2t_stream.errors import Reject
from v2t_stream.models import is_path

_WORKERS: Final = 4  # with more cores each gets faster instead, so that a few chunks are also done soon


def find(model: str) -> Path:
    """The folder of `model`. Raises Reject if there is none."""
    if model == DEMO_MODEL:
        from v2t_stream.demo import model_path  # noqa: PLC0415  needed by the demonstration alone

        return Path(model_path("faster-whisper"))
    folder = Path(model).expanduser()
    if folder.is_dir():
        if not (folder / "model.bin").is_file():
            raise Reject(f"{folder} is not a model of faster-whisper: it holds no model.bin")
        return folder
    if folder.exists():
        raise Reject(f"{folder} is a file: faster-whisper takes a folder with a model.bin in CTranslate2's format")
    what = "path" if is_path(model) else "model"
    raise Reject(f"there is no {what} {model!r} on this machine: `v2t models list` shows the known names")


def workers_for(threads: int, folder: Path) -> int:
    """How many calls compute side by side on a processor, which share its threads.

    Each holds the attention of its chunks, about half the size of the model's file; together they may take half the
    machine's memory.
    """
    each = (folder / "model.bin").stat().st_size // 2
    room = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    return max(1, min(threads, _WORKERS, room // each if each else 1))


def has_alignment(folder: Path) -> bool:
    """Whether the model says which of its attention heads follow the speech."""
    try:
        return bool(json.loads((folder / "config.json").read_text(encoding="utf-8")).get("alignment_heads"))
    except (OSError, ValueError):
        return False
