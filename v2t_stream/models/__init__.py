"""The names and sources of each engine's models, from the engines' descriptors.

folder.py keeps models on this machine, shared.py keeps them in the object store for the fleet, hub.py fetches them from
the Hugging Face Hub, and fetching.py decides between these.
"""

import os
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Final, NamedTuple

from schemas.options import DEMO_MODEL
from v2t_stream.engines import registry
from v2t_stream.engines.descriptor import ALIASES
from v2t_stream.text import quoted

# The hub's owner and name; neither can lead out of a folder.
_REPOSITORY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*/[A-Za-z0-9][A-Za-z0-9._-]*")


class Origin(NamedTuple):
    """A model that can be fetched."""

    engine: str
    name: str  # never an alias, so that nothing is fetched twice
    repository: str  # on the hub
    file: str  # the largest of its files
    beside: tuple[str, ...] = ()  # patterns of the other files
    is_folder: bool = False  # whether the engine takes the folder instead of the file
    kept_by: str = ""  # a program that may have it already

    @property
    def key(self) -> str:
        """Its place below the folder or the bucket of models."""
        return f"{self.engine}/{self.name.replace('/', '--')}"

    def path(self, folder: Path) -> Path:
        """The path for the engine, if the files are in `folder`."""
        return folder if self.is_folder else folder / self.file


def names() -> dict[str, frozenset[str]]:
    """The models that can be fetched, by engine."""
    return {name: each.weights.names for name, each in registry.engines().items() if each.weights}


def origin(model: str, engine: str) -> Origin | None:
    """The source of `model` for `engine`; None for a path, the demo model, and unknown names."""
    weights = registry.engine(engine).weights
    if weights is None:
        return None
    name = ALIASES.get(model, model)
    repository = weights.repositories.get(name, "")
    if not repository and weights.any_repository and _is_repository(model) and not Path(model).exists():
        repository = model
    if not repository:
        return None
    file = weights.file.format(name=name)
    return Origin(engine, name, repository, file, weights.beside, weights.is_folder, weights.kept_by)


def is_path(model: str) -> bool:
    """Whether `model` is a path or a name on a hub ("org/name") instead of a known name."""
    if "/" in model or "\\" in model or model.startswith("~"):
        return True
    return os.path.exists(model)  # noqa: PTH110  # Path raises if a name is too long


def problem(model: str, engine: str | None) -> str | None:
    """A sentence for the user if `engine` (None: any) cannot load `model`; None if all is well.

    Paths pass, because they may exist only on the worker; so does every name for an engine that is not ours.
    """
    known = names()
    if model == DEMO_MODEL or is_path(model) or (engine is not None and engine not in known):
        return None
    mine = frozenset().union(*known.values()) if engine is None else known[engine]
    if model in mine:
        return None
    if others := [other for other, theirs in known.items() if model in theirs]:
        return f"{engine} has no model {model!r}, but {' and '.join(others)} has"
    near = get_close_matches(model, sorted(mine | {DEMO_MODEL}), n=3)
    advice = f"did you mean {' or '.join(near)}?" if near else "`v2t models list` shows the known ones"
    return f"unknown model {quoted(model)}: {advice}"


def _is_repository(model: str) -> bool:
    return _REPOSITORY.fullmatch(model) is not None and ".." not in model and "--" not in model
