"""The pipeline: its messages' paths, its broker and store, its command line."""

import sys
from importlib import import_module
from types import ModuleType


class _Later(ModuleType):
    """Stands for a module until its first use; importlib's LazyLoader would load it at the next import."""

    def __getattr__(self, name: str) -> object:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


# nats-py imports it for WebSockets if it is installed: a third of the start time of a command or a stage, and 10 MB in
# each.
sys.modules.setdefault("aiohttp", _Later("aiohttp"))
