"""One POST to a receiver, which may be anywhere but where links may not lead."""

import asyncio
import socket
import time
from typing import Any, Final
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

import aiohttp

from v2t_stream.errors import Full, Reject, Retry
from v2t_stream.host.addresses import is_permitted, networks
from v2t_stream.serve.hooks import signing
from v2t_stream.serve.hooks.notice import Notice
from v2t_stream.text import without_secrets

_PATIENCE: Final = 10.0  # seconds for all of it
_EACH: Final = 4  # requests to one receiver at a time
_TURN: Final = 1.0  # seconds that a notice waits for one of these, so that a slow receiver keeps no others waiting
_GONE: Final = 410  # a receiver that wants no more of it
_LATER: Final = (429, 503)  # with a Retry-After
_LONGEST: Final = 3600.0  # seconds that a Retry-After counts


class _Forbidden(Exception):
    """No OSError, after which the client would try another way."""


class Sender:
    """Sends notices. `allow_addresses`, `secret`: as in the settings. `patience`, `turn`: in seconds."""

    def __init__(self, allow_addresses: str, secret: str, *, patience: float = _PATIENCE, turn: float = _TURN) -> None:
        self._allowed = networks(allow_addresses)
        self._secret = secret
        self._patience = aiohttp.ClientTimeout(patience)
        self._turn = turn
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._session: aiohttp.ClientSession | None = None

    async def send(self, url: str, notice: Notice) -> None:
        """Raises Reject if the receiver must not be asked again, and Retry if it did not take the notice."""
        shown = without_secrets(url)
        try:
            receiver = urlsplit(url).netloc.rpartition("@")[2].lower()
        except ValueError as error:
            raise Reject(f"the webhook {shown} is not a URL: check it") from error
        turns = self._turns.setdefault(receiver, asyncio.Semaphore(_EACH))
        try:
            async with asyncio.timeout(self._turn):
                await turns.acquire()
        except TimeoutError:
            raise Full(f"the webhook {shown} is still busy with other notices") from None
        try:
            await self._post(url, shown, notice)
        except _Forbidden as error:
            raise Reject(
                f"the webhook {shown} leads to {error}, which is not a public address: to allow it, add it to "
                "V2T_ALLOW_ADDRESSES"
            ) from None
        finally:
            turns.release()

    async def _post(self, url: str, shown: str, notice: Notice) -> None:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                socket_factory=self._socket,
                happy_eyeballs_delay=None,  # its race would swallow what the socket factory raises
                limit=0,
            )
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=self._patience, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
            )
        headers = signing.headers(notice.id, int(time.time()), notice.body, self._secret)
        try:
            async with self._session.post(url, data=notice.body, headers=headers, allow_redirects=False) as answer:
                _check(shown, answer)
        except aiohttp.InvalidURL:
            raise Reject(f"the webhook {shown} is not a URL that can be reached: check it") from None
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            why = "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
            raise Retry(f"the webhook {shown} did not take the notice ({why})") from error

    def _socket(self, info: tuple[Any, ...]) -> socket.socket:
        """A socket for the very address that it will connect to: a URL can write one in more ways than we know."""
        family, kind, protocol, _, address = info
        if not is_permitted(address[0], self._allowed):
            raise _Forbidden(address[0])
        return socket.socket(family, kind, protocol)

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
