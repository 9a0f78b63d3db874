"""One POST to a receiver, which may be anywhere but where links may not lead."""

import asyncio
import socket
import time
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from v2t_stream.errors import Reject, Retry
from v2t_stream.host.addresses import Network, is_permitted, networks
from v2t_stream.serve.hooks import signing
from v2t_stream.serve.hooks.notice import Notice
from v2t_stream.text import without_secrets

_PATIENCE: Final = 10.0  # seconds for all of it
_EACH: Final = 4  # requests to one receiver at a time, so that a slow one keeps nobody waiting
_GONE: Final = 410  # a receiver that wants no more of it
_LATER: Final = (429, 503)  # with a Retry-After
_LONGEST: Final = 3600.0  # seconds that a Retry-After counts


class _Guarded(AbstractResolver):
    """Names lead only to addresses that are permitted; the connection is made to exactly these."""

    def __init__(self, allowed: tuple[Network, ...]) -> None:
        self._allowed = allowed
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        check = [each for each in found if is_permitted(each["host"], self._allowed)]
        if found and not check:
            raise Reject(_forbidden(host, found[0]["host"]))
        return check

    async def close(self) -> None:
        await self._resolver.close()


class Sender:
    """Sends notices. `allow_addresses`, `secret`: as in the settings."""

    def __init__(self, allow_addresses: str, secret: str, *, patience: float = _PATIENCE) -> None:
        self._allowed = networks(allow_addresses)
        self._secret = secret
        self._patience = aiohttp.ClientTimeout(patience)
        self._session: aiohttp.ClientSession | None = None

    async def send(self, url: str, notice: Notice) -> None:
        """Raises Reject if the receiver must not be asked again, and Retry if it did not take the notice."""
        shown, host = without_secrets(url), urlsplit(url).hostname or ""
        if _is_address(host) and not is_permitted(host, self._allowed):  # a resolver is not asked for those
            raise Reject(_forbidden(shown, host))
        if self._session is None:
            connector = aiohttp.TCPConnector(resolver=_Guarded(self._allowed), limit=0, limit_per_host=_EACH)
            self._session = aiohttp.ClientSession(connector=connector, timeout=self._patience)
        headers = signing.headers(notice.id, int(time.time()), notice.body, self._secret)
        try:
            async with self._session.post(url, data=notice.body, headers=headers, allow_redirects=False) as answer:
                _check(shown, answer)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            why = "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
            raise Retry(f"the webhook {shown} did not take the notice ({why})") from error

    async def close(self) -> None:
        if self._session:
            await self._session.close()
            await asyncio.sleep(0)  # its connections end in the next step of the loop


def _check(shown: str, answer: aiohttp.ClientResponse) -> None:
    if 200 <= answer.status < 300:
        return  # a redirect is not followed: it could lead anywhere
    if answer.status == _GONE:
        raise Reject(f"the webhook {shown} wants no more notices (status {_GONE})")
    delay: float | None = None
    after: Any = answer.headers.get("Retry-After", "")
    if answer.status in _LATER and after.isascii() and after.isdecimal():
        delay = min(float(after), _LONGEST)
    raise Retry(f"the webhook {shown} answered with status {answer.status}", delay)


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()


def _forbidden(shown: str, host: str) -> str:
    return (
        f"the webhook {shown} leads to {host}, which is not a public address: to allow it, add it to "
        "V2T_ALLOW_ADDRESSES"
    )
