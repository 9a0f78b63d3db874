"""What was transcribed before: the same media, by its site's own id or its bytes, with the same settings."""

import hashlib
import logging
from pathlib import Path
from typing import Final

import msgspec

from schemas.events import Done
from schemas.message import decode_as
from schemas.options import Options
from v2t_stream.broker.connection import Connection
from v2t_stream.errors import SettingsError
from v2t_stream.jobs.lists import history
from v2t_stream.jobs.state import fold
from v2t_stream.store.protocol import ObjectStore
from v2t_stream.topology.streams import DONE
from v2t_stream.topology.subjects import but_chunks

log = logging.getLogger(__name__)

# What does not decide about the words: where it is done, and who pays. Every other option does. None means the node's
# default, whatever that is: two jobs that name no model count as the same, also where the default has changed since.
_BESIDE: Final = frozenset({"accelerator", "remote"})
_SETTINGS: Final = frozenset(Options.__struct_fields__) - _BESIDE
# One more with each release whose words are better with the same settings: what was done before by an older release is
# done again. 2: no words are lost at the end of windows.
_WORDS: Final = 2


def of_content(sha256: str) -> str:
    """The origin of media known by its bytes alone; `sha256` in hexadecimal."""
    return f"sha256:{sha256}"


def sha256(path: Path) -> str:
    """Of a file's bytes, in hexadecimal. Raises SettingsError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SettingsError(f"{path} cannot be read ({error.strerror}): check its permissions") from error


def key(origin: str, options: Options) -> str:
    """What the media `origin` with `options` is filed under: one token of a subject."""
    # Defaults are left out, so that an option that a later release adds changes no key.
    settings = {name: value for name, value in msgspec.to_builtins(options).items() if name in _SETTINGS}
    return hashlib.sha256(msgspec.json.encode([_WORDS, origin, settings], order="sorted")).hexdigest()


async def latest(connection: Connection, filed: str) -> Done | None:
    """What was filed last under a `key`; None where that cannot be read. Raises BrokerError."""
    done = await connection.last(DONE, Done.subject_of(key=filed))
    if done is None:
        return None
    try:
        return decode_as(Done, done.data)
    except msgspec.DecodeError as error:  # of a newer release, or damaged: it is done again
        log.warning("the record of earlier work under %s cannot be read: %s", filed, error)
        return None


async def find(connection: Connection, store: ObjectStore, origin: str, options: Options) -> Done | None:
    """The job that did the same, if its transcript is there.

    It need not be what that job gives today: a later retry of it by another model has a transcript of its own, and
    leaves this one as it is. Facts that have expired say nothing against it.
    """
    done = await latest(connection, key(origin, options))
    if done is None:
        return None
    job = fold(done.job, await history(connection, but_chunks(done.job)))
    ended = [run.completed.transcript for run in job.runs.values() if run.completed]
    if job.sequences and done.transcript not in ended:
        return None
    return done if await store.size(f"{done.transcript}.json") is not None else None
