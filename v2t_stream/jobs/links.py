"""Passwords and keys in submitted links, kept in the object store beside the media of their job.

Viewers can read facts and dead letters, but only workers can read the job's media, and these are deleted with it.
"""

import contextlib

import msgspec

from schemas.events import Submitted
from v2t_stream.errors import ObjectMissing, Reject, StoreError
from v2t_stream.store.protocol import ObjectStore
from v2t_stream.text import without_secrets


async def keep(store: ObjectStore, job: str, url: str) -> tuple[str, str]:
    """The link for everybody, and the key of the complete one; no key if they are the same. Raises StoreError."""
    return await _kept(store, url, f"media/{job}/link")


async def keep_callback(store: ObjectStore, job: str, url: str) -> tuple[str, str]:
    """As `keep`, for the link to tell of the job's end. Raises StoreError."""
    return await _kept(store, url, _callback(job))


async def remove_callback(store: ObjectStore, job: str) -> None:
    """Forget what `keep_callback` kept. Raises StoreError."""
    await store.delete(_callback(job))


def _callback(job: str) -> str:
    return f"media/callbacks/{job}"  # not among the media of the job, because it outlives them if the job is cancelled


async def _kept(store: ObjectStore, url: str, key: str) -> tuple[str, str]:
    shown = without_secrets(url)
    if shown == url:
        return url, ""
    await store.put(key, url.encode())
    return shown, key


async def whole(store: ObjectStore, job: Submitted) -> str:
    """The link to fetch. Raises StoreError, and Reject if it has expired."""
    return await _complete(store, job.url or "", job.link)


async def callback(store: ObjectStore, job: Submitted) -> str:
    """The link to tell of the job's end; empty without one. Raises StoreError, and Reject if it has expired."""
    return await _complete(store, job.callback, job.callback_link)


async def _complete(store: ObjectStore, shown: str, key: str) -> str:
    if not key:
        return shown
    try:
        return (await store.get(key)).decode()
    except ObjectMissing:
        raise Reject(
            f"the link {shown} was sent with a password or a key, which has expired: submit it again"
        ) from None


async def keep_submission(store: ObjectStore, job: str, data: bytes) -> tuple[bytes, str]:
    """The submission for everybody, and the key of the complete one; no key if it is the same or cannot be kept."""
    text = data.decode(errors="replace").replace("\\/", "/")
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = msgspec.json.encode(msgspec.json.decode(data)).decode()  # JSON can write a letter in several ways
    shown = without_secrets(text)
    if shown == text:
        return data, ""  # as it was sent
    key = f"media/{job}/submission"
    try:
        await store.put(key, data)
    except StoreError:
        key = ""
    return shown.encode(), key
