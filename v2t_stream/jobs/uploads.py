"""The upload bucket: which objects start jobs, and with which options."""

import asyncio
import mimetypes
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Final, NamedTuple

import msgspec

from schemas.message import decode_as
from schemas.notification import Upload
from schemas.requests import SubmitRequest
from v2t_stream.errors import Forbidden, InvalidKey, ObjectMissing, Reject, VersionGone
from v2t_stream.jobs.submission import check, of_fields
from v2t_stream.settings import Settings
from v2t_stream.store.protocol import OURS, BucketStore, Found

_SIDECAR: Final = ".json"
_LARGEST: Final = 64 << 10  # bytes of a sidecar, which is read into memory
_FOREIGN: Final = (
    *("text/plain", "text/html", "text/csv", "text/x-", "image/", "font/"),
    *("application/pdf", "application/zip", "application/json", "application/x-tar", "application/msword"),
    "application/vnd.openxmlformats",
)
_ASKED: Final = set(SubmitRequest.__struct_fields__) - {"url", "media"}


def is_wanted(settings: Settings, upload: Upload) -> bool:
    """Whether it starts a job, judging by its name: folders and sidecars do not."""
    key = upload.key
    if upload.bucket != settings.upload_bucket or not key.startswith(settings.upload_prefix) or key.endswith("/"):
        return False
    suffixes = tuple(suffix.strip().lower() for suffix in settings.upload_suffixes.split(",") if suffix.strip())
    if suffixes and not key.lower().endswith(suffixes):
        return False
    of = PurePosixPath(key.removesuffix(_SIDECAR))
    return not (key.endswith(_SIDECAR) and of.suffix and not is_foreign(of.name))


def is_foreign(name: str) -> bool:
    """Whether its suffix shows that it is not media; for other suffixes, decoding decides."""
    kind = mimetypes.guess_type(f"x{PurePosixPath(name).suffix}")[0] or ""
    return kind.startswith(_FOREIGN)


class Noted(NamedTuple):
    """What the server knows about an upload."""

    upload: Upload  # with its version, even if the announcement did not say
    is_there: bool  # it exists and was not replaced
    labels: Mapping[str, str]  # its metadata and its tags; metadata wins
    sidecar: bytes  # the object <key>.json beside it

    @property
    def is_ours(self) -> bool:
        """Whether we put it there ourselves."""
        return OURS in self.labels


async def noted(store: BucketStore, upload: Upload) -> Noted:
    """Raises Reject if no object can have its name or we may not read it, StoreError if the store fails."""
    if not upload.key:
        raise Reject("the server announced an upload without a name: upload it again under a name")
    try:
        found, sidecar = await asyncio.gather(_seen(store, upload), _sidecar(store, upload))
        if not found:
            return Noted(upload, is_there=False, labels={}, sidecar=sidecar)
        exact = msgspec.structs.replace(upload, version=found.version.id)
        tags = await store.tags(upload.url, exact.exactly) if found.is_tagged else {}
    except InvalidKey as error:
        raise Reject(f"{error}: upload it under another name") from error
    except Forbidden as error:
        raise Reject(f"{error}; then run v2t job retry, which ignores the options that its uploader set") from error
    return Noted(exact, is_there=True, labels={**tags, **found.labels}, sidecar=sidecar)


def request_of(upload: Noted) -> SubmitRequest:
    """The request for it. An option counts from its labels first, then from its sidecar.

    Raises Reject if it cannot be done.
    """
    labels = {name.replace("-", "_"): text for name, text in upload.labels.items()}
    asked = {name: text for name, text in labels.items() if name in _ASKED}
    request = of_fields({**_fields(upload), **asked, "url": upload.upload.url})
    check(request)
    return request


async def _seen(store: BucketStore, upload: Upload) -> Found | None:
    """That version, and not one that has replaced it."""
    try:
        return await store.look(upload.url, upload.exactly)
    except VersionGone:
        return None


async def _sidecar(store: BucketStore, upload: Upload) -> bytes:
    try:
        return await store.read(upload.url + _SIDECAR, 0, _LARGEST + 1)
    except (ObjectMissing, InvalidKey):  # its name may be too long even if the upload's is not
        return b""


def _fields(upload: Noted) -> dict[str, Any]:
    name = upload.upload.url + _SIDECAR
    if len(upload.sidecar) > _LARGEST:
        raise Reject(f"{name} is too large for a file of options: correct it and upload both again")
    try:
        return decode_as(dict[str, Any], upload.sidecar) if upload.sidecar else {}
    except msgspec.DecodeError as error:
        raise Reject(f"{name} is not a JSON object with options ({error}): correct it and upload both again") from error
