"""The engines and services that are installed, by the names of their entry points."""

import logging
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from v2t_stream.engines.descriptor import Descriptor, EngineDescriptor
from v2t_stream.errors import Reject

_GROUP: Final = "v2t.engines"  # descriptors
_CLASSES: Final = "v2t.transcribers"  # engines made for release 0.1, which have no descriptor; until release 0.3

_log = logging.getLogger(__name__)


@cache
def _points() -> Mapping[str, EntryPoint]:
    found = [*entry_points(group=_CLASSES), *entry_points(group=_GROUP)]
    return {point.name: point for point in sorted(found, key=lambda point: point.name)}


def names() -> list[str]:
    """The engines and services, as a job names them; nothing is imported."""
    return list(_points())


@cache
def descriptor(name: str) -> Descriptor | None:
    """What `name` says about itself; None if it is not installed here or its module cannot be imported."""
    point = _points().get(name)
    if point is None:
        return None
    if point.group == _CLASSES:
        return EngineDescriptor(transcriber=point.value)
    try:
        found = point.load()
    except Exception as error:  # noqa: BLE001  whatever a third party's module raises, the others still work
        _log.warning("the engine %s cannot be used: %s does not load: %s", name, point.value, error)
        return None
    return found if isinstance(found, Descriptor) else None


def engines() -> dict[str, EngineDescriptor]:
    """The engines that compute on this machine."""
    found = {name: descriptor(name) for name in names()}
    return {name: each for name, each in found.items() if isinstance(each, EngineDescriptor)}


def engine(name: str) -> EngineDescriptor:
    """The descriptor of an engine; a default one if `name` is not installed here."""
    found = descriptor(name)
    return found if isinstance(found, EngineDescriptor) else EngineDescriptor(transcriber="")


def load_engine(name: str) -> type[Any]:
    """Import the class of the engine called `name`, a Transcriber; raises Reject if it is not installed."""
    if path := engine(name).transcriber:
        found: type[Any] = EntryPoint(name, path, _GROUP).load()
        return found
    raise Reject(f"unknown engine {name!r}: this machine has {', '.join(engines())}")
