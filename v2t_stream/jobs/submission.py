"""Submissions: from bytes to a checked request, and from a request to a job.

The command line checks before it sends; intake checks again, because anyone can publish.
"""

import asyncio
import contextlib
import re
import secrets
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from schemas.events import Submitted
from schemas.message import decode_as, encode, fault
from schemas.options import LANGUAGES, Options
from schemas.requests import SUBMIT_SUBJECT, SubmitRequest
from v2t_stream.broker.connection import Connection
from v2t_stream.engines import registry
from v2t_stream.errors import Denied, Reject, SettingsError, StoreError
from v2t_stream.fleet.ability import refused
from v2t_stream.host.threads import in_thread
from v2t_stream.jobs import previous
from v2t_stream.jobs.options import OPTIONS
from v2t_stream.models import problem
from v2t_stream.store.protocol import UPLOADED, ObjectStore
from v2t_stream.text import HARMFUL, TITLE, one_line, path_text, quoted, without_secrets
from v2t_stream.topology.ids import inbox_epoch, job_id
from v2t_stream.topology.streams import EPOCH_HEADER

_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
_TRACK: Final = re.compile(r"[1-9][0-9]{0,2}|[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")  # a number, or a language as in BCP 47
_FRESH: Final = 1.0  # seconds; check a file that was just written again after this long
_LONGEST: Final = 4096  # characters of a URL or a title; longer ones would not fit into messages and on screens


def parse(data: bytes) -> SubmitRequest:
    """Read plain URL text or JSON. Raises Reject, which says what is wrong."""
    try:
        text = data.decode().strip()
    except UnicodeDecodeError:
        raise Reject("the submission is not UTF-8 text: send a URL, or JSON with a url") from None
    if not text:
        raise Reject("the submission is empty: send a URL, or JSON with a url")
    if not text.startswith(("{", "[", '"')):
        return SubmitRequest(url=text)
    try:
        return decode_as(SubmitRequest, text.encode())
    except msgspec.ValidationError as error:
        raise _misfit(error) from error
    except msgspec.DecodeError as error:
        raise Reject(f"the submission is not valid JSON ({error}): send a URL, or JSON with a url") from error


def of_fields(fields: dict[str, Any]) -> SubmitRequest:
    """The request with these fields, whose values may all be text. Raises Reject, which says what is wrong."""
    try:
        return msgspec.convert(fields, SubmitRequest, strict=False)
    except msgspec.ValidationError as error:
        raise _misfit(error) from error


def _misfit(error: msgspec.ValidationError) -> Reject:
    """What is wrong in the JSON, and what would be right."""
    reason, name = fault(error)
    reason = one_line(reason)
    if not name:
        return Reject(
            f"the submission is not valid: {reason}; its fields are {', '.join(SubmitRequest.__struct_fields__)}"
        )
    limits = f"; it must be {OPTIONS[name].limits}" if name in OPTIONS else ""
    return Reject(f"the submission's {name} is not valid: {reason}{limits}", field=name)


def check(request: SubmitRequest) -> None:
    """Raises Reject with one sentence if no node can ever do the request."""
    if (request.url is None) == (request.media is None):
        raise Reject("a submission must name either a url or a media key of the object store, and not both")
    for name in ("url", "media", "title", "model", "owner", "callback_url"):
        text = getattr(request, name)
        if text is not None and len(text) > _LONGEST:
            begin = without_secrets(text)[:40]
            raise Reject(
                f"the submission's {name} has {len(text)} characters ({begin!r}…): at most {_LONGEST} are allowed",
                field=name,
            )
    if request.url is not None:
        _check_url(request.url)
    if request.callback_url is not None:
        _check_callback(request.callback_url)
    if request.media is not None and not (request.media.startswith("media/") and _is_key(request.media)):
        raise Reject(
            f"invalid media key {quoted(request.media)}: it must start with media/ and must not contain ..",
            field="media",
        )
    _check_options(request)
    if request.language is not None and request.language not in LANGUAGES:
        raise Reject(
            f"unknown language {quoted(request.language)}: use an ISO 639 code such as en, zh or de", field="language"
        )
    _check_engine(request)


def _check_engine(request: SubmitRequest) -> None:
    """Raises Reject if there is no such engine, or no such model for it."""
    if request.engine is not None and request.engine not in registry.names():
        ours = registry.engines()
        services = ", ".join(name for name in registry.names() if name not in ours)
        known = f"this machine has {', '.join(ours)}; providers can be {services}"
        raise Reject(f"unknown engine {quoted(request.engine)}: {known}", field="engine")
    if request.accelerator == "remote" and not request.remote:
        raise Reject(
            "the accelerator remote needs a job that allows remote providers: add --remote, or remote: true",
            field="accelerator",
        )
    if request.model is not None and (reason := problem(request.model, request.engine)):
        raise Reject(reason, field="model")


async def check_fleet(connection: Connection, request: SubmitRequest) -> None:
    """Raises Reject with one sentence if no running node can do it; and BrokerError."""
    if reason := await refused(connection, request):
        raise Reject(reason)


def _check_options(request: SubmitRequest) -> None:
    """Raises Reject for values beyond the declared limits, as reading a request does."""
    try:
        msgspec.convert(msgspec.to_builtins(request), SubmitRequest)
    except msgspec.ValidationError as error:
        raise _misfit(error) from error
    for name in ("prompt", "hotwords", "audio_track"):
        text: str | None = getattr(request, name)
        if text is None:
            continue
        if not text.strip(" ,"):
            raise Reject(f"the submission's {name} is empty: leave it out", field=name)
        if HARMFUL.search(text):
            raise Reject(
                f"the submission's {name} {quoted(text)} has a line end or a control character: remove it", field=name
            )
    if request.voices and not request.speakers:
        raise Reject(
            "voices names the speakers that a job looks for: add --speakers, or speakers: auto", field="voices"
        )
    if request.audio_track is not None and not _TRACK.fullmatch(request.audio_track):
        raise Reject(
            f"unknown audio track {quoted(request.audio_track)}: give its number, from 1, or its language, such as de",
            field="audio_track",
        )


def _is_key(key: str) -> bool:
    """Whether it can name an object: HTTP clients resolve steps such as .., and then it names a different one."""
    return "\0" not in key and not {".", ".."} & set(key.split("/"))


def _check_url(url: str) -> None:
    shown = quoted(without_secrets(url))
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port, (host or "").encode("idna")  # both are only checked when read
    except ValueError as error:
        why = "" if "@" in url else f" ({error})"  # the error quotes the supposed port, which may be a password
        raise Reject(f"{shown} is not a URL{why}: check it", field="url") from error
    if parts.scheme == "s3":
        bucket, _, key = url[len("s3://") :].partition("/")
        if not _BUCKET.fullmatch(bucket) or not key or key.endswith("/") or not _is_key(key):
            raise Reject(f"{shown} is not a complete URL: use s3://BUCKET/KEY", field="url")
        return
    if parts.scheme not in ("http", "https"):
        raise Reject(
            f"{shown} cannot be fetched: use a URL that begins with http://, https:// or s3://; for a file use "
            "v2t convert FILE",
            field="url",
        )
    if not host or any(character.isspace() or not character.isprintable() for character in url):
        raise Reject(f"{shown} is not a complete URL: check it", field="url")


def _check_callback(url: str) -> None:
    _check_url(url)
    if not url.startswith(("http://", "https://")):
        raise Reject(f"the callback_url {quoted(without_secrets(url))} is no web address: use http:// or https://")


async def store_file(store: ObjectStore, path: Path, *, sha256: str = "") -> str:
    """Upload a file of this machine; returns the key that a request names as its `media`.

    `sha256`: if it is already known. Raises V2TError, also for a file that is still being written.
    """
    key = f"{UPLOADED}/{secrets.token_hex(12)}/source{path_text(path.suffix)}"
    before, begun = _written(path), time.monotonic()
    sha256 = sha256 or await in_thread(lambda: previous.sha256(path))
    try:
        await store.put_file(key, path, sha256=sha256)
        if time.time() - before[1] / 1e9 < _FRESH:
            await asyncio.sleep(begun + _FRESH - time.monotonic())
        if _written(path) == before:
            return key
    except asyncio.CancelledError:
        await _discard(store, key)
        raise
    await _discard(store, key)
    raise SettingsError(f"{path_text(path)} is still being written: send it again when it is complete")


async def _discard(store: ObjectStore, key: str) -> None:
    with contextlib.suppress(StoreError, Denied):  # a submitter may not delete; the file expires
        await store.delete(key)


def _written(path: Path) -> tuple[int, int]:
    """The size of a file in bytes, and when it was last written, in nanoseconds; zeros if it cannot be read."""
    try:
        found = path.stat()
    except OSError:  # sending it reports the problem
        return 0, 0
    return found.st_size, found.st_mtime_ns


async def submit(connection: Connection, request: SubmitRequest, *, message_id: str = "") -> tuple[str, bool]:
    """Send a checked request; the job's id, and whether a message with this id was sent within the last two minutes.

    `message_id`: one of once.message_ids; without it, the request is always sent.
    """
    check(request)
    epoch = await inbox_epoch(connection)
    # After an epoch change, the broker's number of the earlier message would give the id of a job that does not exist.
    dedupe = f"{message_id or secrets.token_urlsafe()}-{epoch}"
    sequence, duplicate = await connection.submit(SUBMIT_SUBJECT, encode(request), dedupe, {EPOCH_HEADER: epoch})
    return job_id(epoch, sequence), duplicate


def submitted(job: str, request: SubmitRequest, link: str = "") -> Submitted:
    """The first fact of a job. `link`: see Submitted."""
    return Submitted(
        job=job,
        title=one_line(without_secrets(request.title or request.url or request.media or ""), TITLE),
        is_titled=bool(request.title),
        url=request.url,
        link=link,
        media=request.media,
        limit=request.limit,
        force=request.force,
        owner=request.owner or "",
        options=Options(**{name: getattr(request, name) for name in Options.__struct_fields__}),
    )
