"""Who may come in, and what they may see."""

import contextlib
import math
import re
import time
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from aiohttp import BasicAuth, web

from v2t_stream.access.keyring import Keyring
from v2t_stream.jobs.state import Job
from v2t_stream.serve import origins, permits
from v2t_stream.serve.context import SETTINGS
from v2t_stream.serve.problems import Problem
from v2t_stream.serve.rate import Rates
from v2t_stream.serve.wire import Connection, connection_of

COOKIE: Final = "v2t_key"
_SEE_ALL: Final = ("viewer", "operator")
_BEARER: Final = re.compile(r"Bearer +(\S+)", re.IGNORECASE)


class Caller(NamedTuple):
    """Whoever sent a request."""

    id: str = ""  # of the key; empty where no keys are needed
    role: str = "operator"
    name: str = ""
    requests: int = 0  # a minute; 0: any number
    max_bytes: int = 0  # of an upload; 0: what the server takes

    @property
    def sees_only(self) -> str | None:
        """The key whose jobs alone it may know of; None: all jobs."""
        return None if self.role in _SEE_ALL else self.id

    def sees(self, job: Job) -> bool:
        """Whether it may know of the job."""
        if self.sees_only is None:
            return True
        return bool(self.id and job.submitted and job.submitted.owner == self.id)


class Gate:
    """What the server knows of keys, and of the requests that each has open."""

    def __init__(self, *, is_local: bool) -> None:
        """`is_local`: only this machine reaches the server, so it needs no keys until there are some."""
        self._is_local = is_local
        self._open: dict[str, set[Connection]] = {}  # by key
        self.rates = Rates()
        self.keyring: Keyring

    @property
    def needs_keys(self) -> bool:
        return not self._is_local or self.keyring.is_used

    def find(self, text: str) -> Caller | None:
        """Who has this key; None if it is none."""
        key = self.keyring.find(text)
        return Caller(key.id, key.role, key.name, key.requests, key.max_bytes) if key else None

    def close(self, id_: str) -> None:
        """End all that this key has open, because it does not count any more."""
        self.rates.forget(id_)
        for connection in self._open.pop(id_, set()):
            connection.abort()

    @contextlib.contextmanager
    def opened(self, id_: str, connection: Connection) -> Iterator[None]:
        """While the block runs, this key has something open."""
        self._open.setdefault(id_, set()).add(connection)
        try:
            yield
        finally:
            theirs = self._open.get(id_, set())
            theirs.discard(connection)
            if not theirs:
                self._open.pop(id_, None)


GATE: Final = web.AppKey("gate", Gate)
_CALLER: Final = web.RequestKey("caller", Caller)


def caller(request: web.Request) -> Caller:
    """Whoever sent the request."""
    return request[_CALLER]


def most_bytes(request: web.Request) -> float:
    """The bytes that an upload of the caller may have."""
    return min(request.app[SETTINGS].max_bytes, caller(request).max_bytes or math.inf)


@web.middleware
async def admitted(request: web.Request, handler: Any) -> web.StreamResponse:
    """Let in who may come in."""
    if answer := origins.preflight(request):
        return answer
    gate = request.app[GATE]
    request[_CALLER] = _identified(request, gate)
    _check_rate(request, gate)
    connection = connection_of(request)
    with gate.opened(caller(request).id, connection), connection.handling(request, most_bytes(request)):
        response: web.StreamResponse = await handler(request)
        return response


def _identified(request: web.Request, gate: Gate) -> Caller:
    """Who sent it. Raises Problem if they may not."""
    roles = permits.needed(request.method, request.path)
    if not gate.needs_keys:
        origins.check_local(request)
        origins.check_origin(request)
        return Caller()
    sent = _BEARER.fullmatch(request.headers.get("Authorization", ""))
    text = sent[1] if sent else _password(request) or request.cookies.get(COOKIE, "")
    if not sent:
        origins.check_origin(request)  # browsers send the others by themselves
    found = gate.find(text)
    if roles is permits.OPEN:
        return found or Caller(role="")
    if not found:
        fault = "this key is not valid: it was removed, or is not complete" if text else "a key is needed"
        raise Problem(
            401, f"{fault}: send Authorization: Bearer KEY", code="invalid_api_key", **{"WWW-Authenticate": "Bearer"}
        )
    if found.role not in roles:
        raise Problem(
            403,
            f"the key {found.name} has the role {found.role}, which may not {request.method} {request.path}: use a key "
            f"with the role {' or '.join(sorted(roles))}",
            code="insufficient_permissions",
        )
    return found


def _password(request: web.Request) -> str:
    """The key of a program that has no place for one, such as Bazarr: its address may be http://v2t:KEY@HOST:8700."""
    with contextlib.suppress(ValueError):
        password: str = BasicAuth.decode(request.headers.get("Authorization", "")).password
        return password
    return ""


def _check_rate(request: web.Request, gate: Gate) -> None:
    who = caller(request)
    if who.requests and (wait := gate.rates.wait(who.id, who.requests, time.monotonic())):
        raise Problem(
            429,
            f"the key {who.name} may send {who.requests} requests a minute: try again in {math.ceil(wait)} s",
            code="rate_limit_exceeded",
            **{"Retry-After": str(math.ceil(wait))},
        )
