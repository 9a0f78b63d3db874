"""The upload bucket: which of its objects start jobs, what their uploaders ask for, and where the transcripts go."""

import asyncio
import mimetypes
from pathlib import PurePosixPath
from typing import Any, Final

import msgspec

from schemas.message import decode_as
from schemas.notification import Upload
from schemas.requests import SubmitRequest
from schemas.transcript import Transcript
from v2t_stream.errors import ObjectMissing, Reject
from v2t_stream.formats import render_all
from v2t_stream.object_store import OURS, ObjectStore
from v2t_stream.settings import Settings
from v2t_stream.submission import check, of_fields

_SIDECAR: Final = ".json"
_LARGEST: Final = 64 << 10  # bytes of a sidecar, which is read into memory
_NAME: Final = 255 - len(".json")  # bytes that one step of a key has in MinIO
_FOREIGN: Final = (
    *("text/plain", "text/html", "text/csv", "text/x-", "image/", "font/"),
    *("application/pdf", "application/zip", "application/json", "application/x-tar", "application/msword"),
    "application/vnd.openxmlformats",
)
_ASKED: Final = set(SubmitRequest.__struct_fields__) - {"url", "media"}


def is_wanted(settings: Settings, upload: Upload) -> bool:
    """Whether it starts a job, as far as its name tells: folders and sidecars do not."""
    key = upload.key
    if upload.bucket != settings.upload_bucket or not key.startswith(settings.upload_prefix) or key.endswith("/"):
        return False
    suffixes = tuple(suffix.strip().lower() for suffix in settings.upload_suffixes.split(",") if suffix.strip())
    if suffixes and not key.lower().endswith(suffixes):
        return False
    of = PurePosixPath(key.removesuffix(_SIDECAR))
    return not (key.endswith(_SIDECAR) and of.suffix and not is_foreign(of.name))


def is_foreign(name: str) -> bool:
    """Whether it is something else than media, by its suffix; what that does not tell is decided by decoding it."""
    kind = mimetypes.guess_type(f"x{PurePosixPath(name).suffix}")[0] or ""
    return kind.startswith(_FOREIGN)


async def request_of(store: ObjectStore, upload: Upload) -> SubmitRequest | None:
    """What is asked for `upload`; None for what we put beside one ourselves.

    Of the object's metadata, its tags and the object <key>.json beside it the first that names an option counts.
    Raises Reject where it cannot be done, StoreError where the store cannot tell.
    """
    labels = await store.labels(upload.url)
    if OURS in labels:
        return None
    asked = {name.replace("-", "_"): value for name, value in labels.items() if name.replace("-", "_") in _ASKED}
    request = of_fields({**await _sidecar(store, upload), **asked, "url": upload.url})
    check(request)
    return request


async def _sidecar(store: ObjectStore, upload: Upload) -> dict[str, Any]:
    if (await store.size(upload.url + _SIDECAR) or 0) > _LARGEST:
        raise Reject(
            f"{upload.url}{_SIDECAR} is too large for an object with options: correct it and upload both again"
        )
    try:
        return decode_as(dict[str, Any], await store.get(upload.url + _SIDECAR))
    except ObjectMissing:
        return {}
    except msgspec.DecodeError as error:
        raise Reject(
            f"{upload.url}{_SIDECAR} is no JSON object with options ({error}): correct it and upload both again"
        ) from error


async def store_copies(store: ObjectStore, settings: Settings, transcript: Transcript) -> bool:
    """Store the transcript of an upload under the upload's own path too; False for any other source."""
    root = f"s3://{settings.upload_bucket}/"
    if not settings.minio_endpoint or not transcript.source.startswith(root):
        return False
    path = PurePosixPath(transcript.source.removeprefix(root))
    stem = _fitting(f"transcripts/{path.with_suffix('')}")
    if await _source(store, f"{stem}.json") not in (transcript.source, ""):
        stem = _fitting(f"transcripts/{path}")  # talk.mp4 and talk.wav would both be talk.srt
    beside = root + stem.removeprefix("transcripts/")
    for format_, text in render_all(transcript):
        places = [f"{stem}.{format_}"]
        if settings.beside_upload and await _is_free(store, f"{beside}.{format_}"):
            places.append(f"{beside}.{format_}")
        await asyncio.gather(*(store.put(place, text.encode()) for place in places))
    return True


def _fitting(stem: str) -> str:
    """`stem` with a name to which a suffix can be added: the upload's own may be as long as a name can be."""
    folder, _, name = stem.rpartition("/")
    return f"{folder}/{name.encode()[:_NAME].decode(errors='ignore')}"


async def _source(store: ObjectStore, key: str) -> str:
    """Of which source the transcript at `key` is; empty where there is none."""
    try:
        return decode_as(Transcript, await store.get(key)).source
    except (ObjectMissing, msgspec.DecodeError):
        return ""


async def _is_free(store: ObjectStore, key: str) -> bool:
    """Whether we may put something there: what others put beside their upload is theirs."""
    return await store.size(key) is None or OURS in await store.labels(key)
