"""The pipeline: the ways of its messages, its broker and store, its command line."""

import sys
from importlib import import_module
from types import ModuleType


class _Later(ModuleType):
    """Stands for a module until something of it is used; importlib's LazyLoader loads it when it is imported again."""

    def __getattr__(self, name: str) -> object:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


# nats-py imports it where it is installed, for WebSockets: a third of the time in which a command or a stage starts,
# and 10 MB in each of them.
sys.modules.setdefault("aiohttp", _Later("aiohttp"))
