"""From a request to a job."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

from schemas.requests import SubmitRequest
from v2t_stream.errors import Reject
from v2t_stream.host.addresses import is_permitted, networks
from v2t_stream.jobs.state import Job
from v2t_stream.jobs.submission import check, check_fleet, of_fields, submit
from v2t_stream.serve.board import BOARD
from v2t_stream.serve.context import PIPELINE, SETTINGS
from v2t_stream.serve.gate import caller
from v2t_stream.serve.problems import Problem
from v2t_stream.store.protocol import UPLOADED
from v2t_stream.topology.ids import job_of_file

FIELDS: Final = tuple(name for name in SubmitRequest.__struct_fields__ if name != "owner")  # that the server sets


def wish_of(fields: Mapping[str, Any]) -> SubmitRequest:
    """The submission with these fields, whose values may all be text. Raises Problem and Reject."""
    if unknown := [name for name in fields if name not in FIELDS]:
        known = ", ".join(FIELDS)
        raise Problem(400, f"unknown field {unknown[0]!r}: a submission has {known}", param=unknown[0])
    return of_fields({name: value for name, value in fields.items() if value is not None})


def last_of(fields: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The last value of each field of a form."""
    return {name: values[-1] for name, values in fields.items()}


async def submitted(request: web.Request, wish: SubmitRequest) -> str:
    """Submit for the caller; returns the job's id. Raises V2TError."""
    job, _ = await sent(request, await prepared(request, wish))
    return job


async def prepared(request: web.Request, wish: SubmitRequest) -> SubmitRequest:
    """The caller's submission, checked as far as that is possible here. Raises V2TError."""
    wish = msgspec.structs.replace(wish, owner=caller(request).id or None)
    check(wish)
    _check_address(wish.url or "", request.app[SETTINGS].allow_addresses)
    _check_is_theirs(request, wish.media or "")
    await check_fleet(request.app[PIPELINE].connection, wish)
    return wish


async def sent(request: web.Request, wish: SubmitRequest, *, message_id: str = "") -> tuple[str, bool]:
    """Submit what is `prepared`: see jobs.submission.submit. Raises V2TError."""
    return await submit(request.app[PIPELINE].connection, wish, message_id=message_id)


def _check_address(url: str, allowed: str) -> None:
    """Raises Reject for an address that no node may fetch from. Of a name only the node knows where it leads."""
    host = ((urlsplit(url).hostname or "") if url.startswith("http") else "").rstrip(".")
    is_local = host == "localhost" or host.endswith(".localhost")
    numeric = "127.0.0.1" if is_local else host
    if (numeric.replace(".", "").isdigit() or ":" in numeric) and not is_permitted(numeric, networks(allowed)):
        raise Reject(
            f"the url leads to {host}, which is not a public address: to allow it, add it to V2T_ALLOW_ADDRESSES",
            field="url",
        )


def _check_is_theirs(request: web.Request, media: str) -> None:
    """Raises Problem for the media of a job that the caller may not know of. Nobody can guess the name of an upload."""
    if not media or media.startswith(f"{UPLOADED}/"):
        return
    id_ = job_of_file(media)
    if not caller(request).sees(request.app[BOARD].find(id_) or Job(id_)):
        raise Problem(404, f"there is no media {media!r}: upload the file", param="media")
