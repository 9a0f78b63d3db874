"""Remembers what was transcribed: media, known by its site's id or its bytes, with its settings."""

import hashlib
import logging
from pathlib import Path
from typing import Final

import msgspec

from schemas.events import Done, Downloaded
from schemas.message import decode_as
from schemas.options import Options
from v2t_stream.broker.connection import Connection
from v2t_stream.errors import SettingsError
from v2t_stream.jobs.assembly import last_correction
from v2t_stream.jobs.lists import history
from v2t_stream.jobs.state import fold
from v2t_stream.store.protocol import UPLOADED, ObjectStore
from v2t_stream.topology.streams import DONE
from v2t_stream.topology.subjects import but_chunks

log = logging.getLogger(__name__)

# Options that do not change the words: where the work runs, and who pays. All others do. None means the node's default,
# whatever that is: two jobs that name no model count as the same, even if the default has changed.
_BESIDE: Final = frozenset({"accelerator", "remote"})
_SETTINGS: Final = frozenset(Options.__struct_fields__) - _BESIDE
# Goes up with each release that gives better words for the same settings, so that what an older release did is done
# again. 2: no words are lost at the end of windows.
_WORDS: Final = 2


def is_repeatable(options: Options) -> bool:
    """Whether the same media always gives the same transcript; the library of voices has other people every day."""
    return not options.voices


def of_content(sha256: str) -> str:
    """The origin of media known only by its bytes; `sha256` in hexadecimal."""
    return f"sha256:{sha256}"


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal. Raises SettingsError if the file cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SettingsError(f"{path} cannot be read ({error.strerror}): check its permissions") from error


async def origin_of(store: ObjectStore, media: Downloaded) -> str:
    """The origin of a job's media; that of a file which was still arriving when its job began is known at its end."""
    arrived = not media.origin and not media.run and media.media.startswith(f"{UPLOADED}/")
    known = await store.sha256(media.media) if arrived else None
    return of_content(known) if known else media.origin


def key(origin: str, options: Options) -> str:
    """The key for the media `origin` with `options`: one token of a subject."""
    # Without defaults, so that a later release can add an option without changing keys.
    settings = {name: value for name, value in msgspec.to_builtins(options).items() if name in _SETTINGS}
    return hashlib.sha256(msgspec.json.encode([_WORDS, origin, settings], order="sorted")).hexdigest()


async def latest(connection: Connection, filed: str) -> Done | None:
    """The latest record under a `key`; None if it cannot be read. Raises BrokerError."""
    done = await connection.last(DONE, Done.subject_of(key=filed))
    if done is None:
        return None
    try:
        return decode_as(Done, done.data)
    except msgspec.DecodeError as error:  # from a newer release, or damaged: do the work again
        log.warning("the record of earlier work under %s cannot be read: %s", filed, error)
        return None


async def find(connection: Connection, store: ObjectStore, origin: str, options: Options) -> Done | None:
    """The job that did the same work, if its transcript still exists.

    If somebody corrected its transcript, it is the corrected one. That job may have a different transcript by now: a
    retry with another model makes a new one and leaves this one as it is. It counts even if the job's facts have
    expired.
    """
    done = await latest(connection, key(origin, options)) if is_repeatable(options) else None
    if done is None:
        return None
    job = fold(done.job, await history(connection, but_chunks(done.job)))
    job.go_back_to(done.transcript)
    ended = [run.completed.transcript for run in job.runs.values() if run.completed]
    if job.sequences and done.transcript not in ended:
        return None
    counts = job.transcript if job.sequences else await last_correction(store, done.transcript)
    done = msgspec.structs.replace(done, transcript=counts)
    return done if await store.size(f"{done.transcript}.json") is not None else None
