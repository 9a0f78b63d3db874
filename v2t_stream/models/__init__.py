"""The names of the models that each engine knows and where they come from, as the engines' descriptors say.

folder.py keeps them on this machine, shared.py in the object store for the fleet, hub.py fetches from the Hugging Face
Hub, and fetching.py decides between them.
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
    kept_by: str = ""  # a program that may have it already

    @property
    def key(self) -> str:
        """Where it lies, below the folder or the bucket of models."""
        return f"{self.engine}/{self.name.replace('/', '--')}"

    def path(self, folder: Path) -> Path:
        """What the engine is given, where the files lie in `folder`."""
        return folder if self.is_folder else folder / self.file


def names() -> dict[str, frozenset[str]]:
    """The models that can be fetched, by the engine they are for."""
    return {name: each.weights.names for name, each in registry.engines().items() if each.weights}


def origin(model: str, engine: str) -> Origin | None:
    """Where `model` comes from for `engine`; None for a path, the demo model, and whatever is unknown."""
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
    """Whether `model` is meant as a place, on this disk or on a hub ("org/name"), rather than as a known name."""
    if "/" in model or "\\" in model or model.startswith("~"):
        return True
    return os.path.exists(model)  # noqa: PTH110  # Path raises where a name is too long


def problem(model: str, engine: str | None) -> str | None:
    """What is wrong with asking `engine` (None: any) for `model`, as a sentence for the user; None where all is well.

    Paths pass, for they may exist on the worker alone; so does every name for an engine that is not one of ours.
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
