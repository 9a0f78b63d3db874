"""The library of voices in the object store, and the names that jobs take from it.

voices/<person>/<voice>.json     one KnownVoice; a person has one for each job and speaker that was added

Both steps are hashes, because a name may hold anything, and who may list keys need not be one who may read voices.
"""

import asyncio
import hashlib
import logging
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from schemas.events import Named
from schemas.message import decode_as, encode
from schemas.transcript import Speaker, Transcript
from schemas.voices import KnownVoice
from v2t_stream.broker.connection import Connection
from v2t_stream.errors import Denied, ObjectMissing, Retry, StoreAway, StoreError
from v2t_stream.store.protocol import ObjectStore
from v2t_stream.topology.streams import JOBS

log = logging.getLogger(__name__)

_TOP: Final = "voices/"


async def add(store: ObjectStore, voice: KnownVoice) -> None:
    """Keep it; the same speaker of the same job again changes nothing. Raises StoreError."""
    await store.put(f"{_folder(voice.name)}{_hashed(f'{voice.job}/{voice.speaker}')}.json", encode(voice))


async def remove(store: ObjectStore, name: str) -> int:
    """Remove a person; returns how many voices there were. Raises StoreError."""
    return await store.delete_prefix(_folder(name))


async def library(store: ObjectStore) -> list[KnownVoice]:
    """All voices, by name. Raises StoreError."""
    found = await asyncio.gather(*(_read(store, key) for key in await store.keys(_TOP)))
    return sorted(filter(None, found), key=lambda voice: (voice.name, voice.job, voice.speaker))


async def known(store: ObjectStore, speakers: Sequence[Speaker]) -> tuple[Speaker, ...]:
    """Those of the speakers whom the library knows, with their names.

    If this node can never read the library, nobody is named: a transcript without names is better than none.
    """
    # With numpy, which most processes that read jobs do without.
    from v2t_stream.speakers.naming import recognized  # noqa: PLC0415  as above

    try:
        voices = await library(store)
    except StoreAway:
        raise
    except (StoreError, Denied) as error:
        log.warning("nobody is named by their voice: %s", error)
        return ()
    return tuple(each for each in recognized(speakers, voices) if each.name)


async def named(connection: Connection, transcript: Transcript) -> Transcript:
    """The transcript with the names that stand for its job. Raises Retry, BrokerError and msgspec.DecodeError."""
    from v2t_stream.speakers.naming import named as by_voice  # noqa: PLC0415  as above

    stands = await connection.last(JOBS, Named.subject_of(job=transcript.job))
    if stands is None:
        raise Retry("the names of the speakers cannot be read yet", delay=1)  # or the job has just been removed
    return replace(transcript, speakers=by_voice(transcript.speakers, decode_as(Named, stands.data).people))


async def _read(store: ObjectStore, key: str) -> KnownVoice | None:
    try:
        return decode_as(KnownVoice, await store.get(key))
    except ObjectMissing:  # removed a moment ago
        return None
    except msgspec.DecodeError as error:  # from a newer release, or damaged
        log.warning("the voice %s cannot be read: %s", key, error)
        return None


def _folder(name: str) -> str:
    return f"{_TOP}{_hashed(name)}/"


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
