"""The keys of the HTTP API, on the broker: made, listed, replaced and removed.

A key is `v2t_<id>_<secret>`. Only the SHA-256 of the whole is kept. A slow hash, as for passwords, would gain nothing:
the secret has 256 random bits, so nobody can try them all, however fast; and each request has to be checked.
"""

import hashlib
import hmac
import re
import secrets
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from schemas.keys import Key, KeyRole
from schemas.message import decode_as, encode
from v2t_stream.broker import error_codes
from v2t_stream.broker.connection import Connection
from v2t_stream.broker.requests import Stored
from v2t_stream.errors import SettingsError, V2TError
from v2t_stream.topology.streams import KEYS
from v2t_stream.topology.subjects import ALL_KEYS

_ID_BYTES: Final = 5
_SECRET_BYTES: Final = 32
_FORM: Final = re.compile(rf"v2t_([0-9a-f]{{{_ID_BYTES * 2}}})_[0-9a-f]{{{_SECRET_BYTES * 2}}}")
_NAME: Final = re.compile(r"[\w.@+-]{1,64}")


class Kept(NamedTuple):
    """A key as the broker keeps it."""

    key: Key
    sequence: int
    at: float  # Unix seconds at which it was added or replaced


async def add(
    connection: Connection, name: str, role: KeyRole, *, requests: int = 0, max_bytes: int = 0, by: str = ""
) -> str:
    """Make a key and keep its hash; returns the key, which nobody can find out again.

    `requests`: that it may send in a minute. `max_bytes`: of one upload. 0: any number. Raises SettingsError if the
    name is taken or cannot be one, and BrokerError.
    """
    if not _NAME.fullmatch(name):
        raise SettingsError(f"invalid key name {name!r}: use up to 64 letters, digits and . _ @ + -")
    if any(each.key.name == name for each in await listed(connection)):
        raise SettingsError(f"there is a key {name} already: choose another name, or v2t keys renew {name}")
    id_ = secrets.token_hex(_ID_BYTES)
    text, digest = _secret(id_)
    key = Key(id=id_, name=name, role=role, digest=digest, requests=requests, max_bytes=max_bytes, by=by)
    await _put(connection, key, 0)
    return text


async def renew(connection: Connection, name: str, *, by: str = "") -> str:
    """Replace the secret of a key, whose jobs stay its own; returns the new key. Raises SettingsError, BrokerError."""
    kept = (await _named(connection, name))[0]
    text, digest = _secret(kept.key.id)
    await _put(connection, replace(kept.key, digest=digest, by=by), kept.sequence)
    return text


async def remove(connection: Connection, name: str) -> None:
    """Remove the key with this name. Raises SettingsError if there is none, and BrokerError."""
    for kept in await _named(connection, name):
        await _put(connection, replace(kept.key, digest=""), kept.sequence)


async def listed(connection: Connection) -> list[Kept]:
    """All keys, by name. Raises BrokerError."""
    found = [kept_of(stored) async for stored in connection.watch(KEYS, ALL_KEYS, live=False) if stored]
    return sorted((each for each in found if each and not each.key.is_removed), key=lambda each: each.key.name)


def kept_of(stored: Stored) -> Kept | None:
    """The key in a message of the stream; None if this release cannot read it, so that it opens nothing."""
    try:
        key = decode_as(Key, stored.data)
    except msgspec.DecodeError:
        return None
    return Kept(key, stored.sequence, stored.at) if key.subject == stored.subject else None


def id_of(text: str) -> str:
    """The public part of a key that somebody sent; empty if it has not the form of one."""
    found = _FORM.fullmatch(text)
    return found[1] if found else ""


def fits(key: Key, text: str) -> bool:
    """Whether `text` is this key, in a time that says nothing about the hash."""
    return hmac.compare_digest(_digest(text), key.digest)


async def _named(connection: Connection, name: str) -> list[Kept]:
    """The keys with this name: two if somebody else added one at the same moment. Raises SettingsError if none."""
    if not (found := [each for each in await listed(connection) if each.key.name == name]):
        raise SettingsError(f"there is no key {name}: v2t keys list shows all")
    return found


async def _put(connection: Connection, key: Key, replaces: int) -> None:
    headers = {"Nats-Msg-Id": secrets.token_urlsafe(9), "Nats-Expected-Last-Subject-Sequence": str(replaces)}
    answer = await connection.store(key.subject, encode(key), headers)
    if error := answer.get("error"):
        if error.get("err_code") == error_codes.WRONG_SEQUENCE:
            raise V2TError(f"somebody else has just changed the key {key.name}: look at v2t keys list, then try again")
        raise connection.refusal(key.subject, error)


def _secret(id_: str) -> tuple[str, str]:
    text = f"v2t_{id_}_{secrets.token_hex(_SECRET_BYTES)}"
    return text, _digest(text)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
