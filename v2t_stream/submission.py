"""A submission: from bytes to a checked request, and from a request to a job.

The command line checks before it sends; intake checks again, because anybody can publish.
"""

import hashlib
from urllib.parse import urlsplit

import msgspec

from schemas.message import encode
from schemas.options import LANGUAGES
from schemas.requests import SubmitRequest
from v2t_stream.errors import Reject
from v2t_stream.jetstream import Connection
from v2t_stream.models import problem
from v2t_stream.topology import SUBMIT_SUBJECT, inbox_epoch, job_id
from v2t_stream.transcriber import engine_names


def parse(data: bytes) -> SubmitRequest:
    """Read plain URL text or JSON; raises Reject with what is wrong in it."""
    text = data.strip()
    if not text:
        raise Reject("the submission is empty: send a URL, or JSON with a url")
    if text.startswith((b"{", b"[", b'"')):
        try:
            return msgspec.json.decode(text, type=SubmitRequest)
        except msgspec.ValidationError as error:
            raise Reject(f"the submission does not fit: {error}") from error
        except msgspec.DecodeError as error:
            raise Reject(f"the submission is not valid JSON: {error}") from error
    try:
        return SubmitRequest(url=text.decode())
    except UnicodeDecodeError:
        raise Reject("the submission is neither JSON nor the text of a URL") from None


def check(request: SubmitRequest) -> None:
    """Raises Reject with one sentence where the request cannot be done anywhere."""
    if (request.url is None) == (request.media is None):
        raise Reject("a submission names either a url or a media key of the object store, and not both")
    if request.url is not None:
        _check_url(request.url)
    if request.media is not None and not request.media.startswith("media/"):
        raise Reject(f"the media key {request.media!r} does not start with media/")
    if request.language is not None and request.language not in LANGUAGES:
        raise Reject(f"unknown language {request.language!r}: use an ISO 639 code such as en, zh or de")
    if request.engine is not None and request.engine not in engine_names():
        raise Reject(f"unknown engine {request.engine!r}: this machine has {', '.join(engine_names())}")
    if request.model is not None and (reason := problem(request.model, request.engine)):
        raise Reject(reason)


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError as error:
        raise Reject(f"{url!r} is not a URL ({error})") from error
    if parts.scheme not in ("http", "https"):
        raise Reject(
            f"{url!r} cannot be fetched: only http and https URLs are; for a file use v2t convert --input FILE"
        )
    if not host or any(character.isspace() or not character.isprintable() for character in url):
        raise Reject(f"{url!r} is not a complete URL")


async def submit(connection: Connection, request: SubmitRequest) -> tuple[str, bool]:
    """Send a checked request; the job's id, and whether the same was sent within the last two minutes."""
    check(request)
    data = encode(request)
    sequence, duplicate = await connection.submit(SUBMIT_SUBJECT, data, hashlib.sha256(data).hexdigest())
    return job_id(await inbox_epoch(connection), sequence), duplicate
