"""Gets a model: from this machine, or else from the fleet, or else from the hub."""

import asyncio
import contextlib
import errno
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from schemas.options import DEMO_MODEL
from v2t_stream.errors import Reject, Retry
from v2t_stream.host.threads import in_thread
from v2t_stream.models import Origin, hub, origin, shared
from v2t_stream.models.folder import Manifest, ModelFolder
from v2t_stream.models.hub import HubModel
from v2t_stream.models.shared import SharedModel
from v2t_stream.models.source import SourceFailed, gather
from v2t_stream.settings import Settings
from v2t_stream.store.protocol import ObjectStore

_log = logging.getLogger(__name__)

_LOOK_EVERY: Final = 0.2  # seconds between checks that another process has fetched it
_LATELY: Final = 5.0  # seconds over which a speed is measured
_AGAIN: Final = 60.0  # seconds until a failed source is tried again


class Transfer(NamedTuple):
    """The progress of a model's transfer."""

    model: str
    way: str  # "from the fleet", "from the hub" or "to the fleet"
    here: int  # bytes
    size: int  # bytes


class Pace:
    """Says how far a transfer is, and how fast it has been lately."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: deque[tuple[float, int]] = deque()  # when how many bytes were here, over the latest seconds

    def described(self, transfer: Transfer) -> str:
        """Such as "120 of 484 MB (25 %), 11.2 MB/s"."""
        now = self._clock()
        if self._seen and transfer.here < self._seen[-1][1]:
            self._seen.clear()  # another model
        self._seen.append((now, transfer.here))
        while len(self._seen) > 2 and now - self._seen[0][0] > _LATELY:
            self._seen.popleft()
        begun, before = self._seen[0]
        text = (
            f"{transfer.here / 1e6:.0f} of {transfer.size / 1e6:.0f} MB ({transfer.here / max(1, transfer.size):.0%})"
        )
        speed = (transfer.here - before) / (now - begun) if now > begun else 0.0
        return f"{text}, {speed / 1e6:.1f} MB/s" if speed else text


class Held(NamedTuple):
    """A model for an engine; its files stay until this is closed or its process ends."""

    model: str
    lock: BinaryIO | None = None  # None if the model is not ours to remove

    def close(self) -> None:
        if self.lock:
            self.lock.close()


def _silent(_: Transfer | None) -> None:
    """Report to nobody."""


class Models:
    """Fetches models to this machine. `store`: the fleet's, if there is one.

    `report` gets the progress of a transfer, from any thread, and None at its end.
    """

    def __init__(
        self,
        settings: Settings,
        store: ObjectStore | None = None,
        report: Callable[[Transfer | None], None] = _silent,
    ) -> None:
        self.folder = ModelFolder(settings.home / "models")
        self._limit = settings.models_bytes
        self._store = store
        self._report = report
        self.lacking: dict[str, str] = {}  # why `hold` failed last, by engine/model

    async def hold(self, engine: str, model: str) -> Held:
        """The path of `model` for `engine`; fetch it first if it is not on this machine.

        One process of this machine fetches, and the others wait for it. A cancelled fetch resumes next time. An unknown
        name goes to the engine unchanged. Raises Reject if the model does not exist, and Retry if it is not available
        now.
        """
        wanted = origin(model, engine)
        if wanted is None:
            return Held(model)
        try:
            held = await self._hold(wanted)
        except OSError as error:
            what = "its disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror or str(error)
            raise Retry(
                f"the model {wanted.name!r} cannot be written to {self.folder.place(wanted.key)}: {what}", _AGAIN
            ) from error
        except (Reject, Retry) as error:
            self.lacking[f"{engine}/{model}"] = str(error)
            raise
        self.lacking.pop(f"{engine}/{model}", None)
        return held

    async def check(self, engine: str, model: str) -> None:
        """Raises Reject or Retry if `model` is not on this machine, which has no fleet, and cannot be fetched now."""
        wanted = origin(model, engine)
        if wanted is None or self.folder.manifest(wanted.key) is not None:
            return
        if await in_thread(lambda: hub.cached(wanted)):
            return
        failed = ""
        try:
            if self._store and await shared.find(self._store, wanted.key):
                return
        except SourceFailed as error:
            failed = str(error)
        with self._blaming_hub(wanted, failed, alone=True):
            await HubModel.find(wanted)

    async def _hold(self, wanted: Origin) -> Held:
        key = wanted.key
        while True:
            if self.folder.manifest(key):
                # Check again under the lock: it may have been removed a moment ago.
                if lock := self.folder.lock(key, shared=True):
                    if self.folder.manifest(key):
                        self.folder.touch(key)
                        return Held(str(wanted.path(self.folder.place(key))), lock)
                    lock.close()
            elif elsewhere := await in_thread(lambda: hub.cached(wanted)):
                return Held(str(wanted.path(elsewhere)))
            elif lock := self.folder.lock(key):
                with lock:
                    if not self.folder.manifest(key):
                        await self._fetch(wanted)
                continue
            await asyncio.sleep(_LOOK_EVERY)

    async def repair(self, wanted: Origin) -> list[str]:
        """Check all bytes of a model; remove it if it is damaged, and return its damaged files. Raises Retry."""
        manifest = self.folder.manifest(wanted.key)
        if not manifest or not (damaged := await in_thread(lambda: self.folder.damaged(wanted.key, manifest))):
            return []
        lock = self.folder.lock(wanted.key)
        if not lock:
            raise Retry(f"the model {wanted.name!r} is damaged and in use: stop its users, then pull it again")
        with lock:
            self.folder.remove(wanted.key)
        return damaged

    async def _fetch(self, wanted: Origin) -> None:
        """Fetch it. The caller holds its exclusive lock."""
        failed = ""  # why we do not know whether the fleet has the model
        try:
            try:
                if await self._from_fleet(wanted):
                    return
            except SourceFailed as error:
                failed = str(error)
                _log.warning("cannot fetch the model %s from the fleet: %s", wanted.name, failed)
            await self._from_hub(wanted, failed)
        finally:
            self._report(None)

    async def _from_fleet(self, wanted: Origin) -> bool:
        """Take it from the fleet; False if the fleet does not have it. Raises SourceFailed."""
        model = await shared.find(self._store, wanted.key) if self._store else None
        if model:
            await self._take(wanted, model, "from the fleet")
        return model is not None

    async def _from_hub(self, wanted: Origin, failed: str) -> None:
        """Raises Retry or Reject."""
        with self._blaming_hub(wanted, failed):
            await self._take(wanted, await HubModel.find(wanted), "from the hub")

    @contextlib.contextmanager
    def _blaming_hub(self, wanted: Origin, failed: str, *, alone: bool = False) -> Iterator[None]:
        """Say why the hub does not give a model, and what to do. `failed`: why the fleet did not, if there is one."""
        try:
            yield
        except Reject as error:
            if failed:
                raise Retry(f"{error}; the fleet did not answer either ({failed})", _AGAIN) from error
            raise
        except SourceFailed as error:
            which = f"{wanted.name} --engine {wanted.engine}"
            others = " or ".join(f"--model {name}" for name in here(self, wanted.engine))
            instead = f"or use a model that needs no download: {others}"
            if alone or not self._store:
                raise Retry(
                    f"cannot fetch the model {wanted.name!r} from the hub ({error}): check the network and run v2t "
                    f"models pull {which}, {instead}",
                    _AGAIN,
                ) from error
            raise Retry(
                f"cannot fetch the model {wanted.name!r} from the fleet ({failed or 'it is not shared there'}) or from "
                f"the hub ({error}): on a machine with internet run v2t models pull {which}, then v2t models "
                f"share {which}, {instead}",
                _AGAIN,
            ) from error

    async def _take(self, wanted: Origin, model: SharedModel | HubModel, way: str) -> None:
        size = sum(file.size for file in model.files)
        staging = self.folder.staging(wanted.key)
        here = sum(path.stat().st_size for path in staging.glob("*"))
        await in_thread(lambda: self.folder.make_room(wanted.key, max(0, size - here), self._limit))
        _log.info("fetching the model %s %s: %.1f MB", wanted.name, way, size / 1e6)
        report = self._report
        files = await gather(model, staging, lambda arrived: report(Transfer(wanted.name, way, arrived, size)))
        manifest = Manifest(
            engine=wanted.engine, name=wanted.name, files=files, source=model.source, revision=model.revision
        )
        await in_thread(lambda: self.folder.adopt(wanted.key, manifest))


def here(models: Models, engine: str) -> list[str]:
    """The names of the models of `engine` that are on this machine; the demo model, which always is, comes last."""
    kept = [each.name for each in models.folder.kept() if each.whole and each.key.startswith(f"{engine}/")]
    return [*reversed(kept), DEMO_MODEL]


async def found(models: Models, wanted: Origin) -> tuple[Path, Manifest] | None:
    """The folder of a model on this machine, ours or another program's (whose files it reads), and its manifest."""
    if manifest := models.folder.manifest(wanted.key):
        return models.folder.place(wanted.key), manifest
    if folder := await in_thread(lambda: hub.cached(wanted)):
        return folder, await in_thread(lambda: hub.describe(wanted, folder))
    return None
