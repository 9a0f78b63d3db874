"""One form POST to a service. It raises the errors that the chain expects, and none of them shows the key."""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import urllib3

from v2t_stream.errors import Reject, Retry, Unusable

_LONGEST_WAIT: Final = 86_400.0  # seconds
_LARGEST: Final = 8 << 20  # bytes of an answer; a usual one has a few thousand
_SHOWN: Final = 200  # characters of the service's own words in an error
_BUSY: Final = frozenset({408, 409, 425, 429})

Fields = Sequence[tuple[str, str | tuple[str, bytes, str]]]


class Caller:
    """Posts to one service in a provider's name. Blocking; threads may share it."""

    def __init__(
        self, name: str, *, key_variable: str, timeout: float, connections: int, withdrawn: Callable[[str], str]
    ) -> None:
        """`withdrawn`: says that the service withdraws a model; empty for all others."""
        self._name = name
        self._withdrawn = withdrawn
        self._key_variable = key_variable
        self._timeout = timeout
        self._pool = urllib3.PoolManager(maxsize=connections or 16, retries=False)

    def post(self, url: str, fields: Fields, headers: Mapping[str, str], secret: str, *, model: str = "") -> Any:
        """The JSON of the answer. Raises Reject, Retry or Unusable, in which `secret` is masked.

        `model`: the requested one, so that a refusal can say that it was withdrawn.
        """
        try:
            status, heads, body = self._exchange(url, fields, headers)
        except urllib3.exceptions.NewConnectionError:  # before the next, which is its base class
            raise Retry(f"{self._at(url)} cannot be reached: check the address, and that the service runs") from None
        except (urllib3.exceptions.TimeoutError, TimeoutError):
            raise Retry(f"{self._at(url)} gave no answer within {self._timeout:g} s") from None
        except urllib3.exceptions.HTTPError as error:
            # Its text contains the whole URL, and its causes the whole request.
            raise Retry(f"{self._at(url)} cannot be reached ({type(error).__name__}): check the address") from None
        if not 200 <= status < 300:
            raise self._failure(status, heads, _words(body, secret), url, model)
        try:
            return msgspec.json.decode(body)
        except msgspec.DecodeError:
            raise Retry(f"{self._at(url)} answered with something that is not JSON") from None

    def _exchange(self, url: str, fields: Fields, headers: Mapping[str, str]) -> tuple[int, Mapping[str, str], bytes]:
        until = time.monotonic() + self._timeout
        response = self._pool.request(
            "POST",
            url,
            fields=fields,
            headers=headers,
            timeout=self._timeout,
            redirect=False,  # the key must not go to another host
            preload_content=False,
        )
        with contextlib.closing(response):
            body = bytearray()
            while piece := response.read1(1 << 16):
                body += piece
                if len(body) > _LARGEST:
                    raise Retry(f"{self._at(url)} answered with more than {_LARGEST >> 20} MiB")
                if time.monotonic() > until:  # the library limits only each read
                    raise TimeoutError
            response.release_conn()  # read to its end, so the connection can be used again
            return response.status, response.headers, bytes(body)

    def _failure(self, status: int, headers: Mapping[str, str], words: str, url: str, model: str) -> Reject | Retry:
        at = f"{self._at(url)} answered {status}"
        if status in (401, 403):
            # Without the service's own words: some quote the key.
            advice = f"check the key in {self._key_variable}" if self._key_variable else "key_env names its key"
            return Unusable(f"{at}, access denied: {advice}")
        if status in _BUSY or status >= 500:
            return Retry(f"{at}{words}", _retry_after(headers))
        about_model = status in (404, 410) or (status == 400 and model in words)
        if about_model and (withdrawn := self._withdrawn(model)):
            return Unusable(f"{at}{words}: {withdrawn}")
        if status in (402, 404, 405, 410) or status < 400:
            return Unusable(f"{at}{words}: check the provider's address, model and account")
        return Reject(f"{at}{words}")

    def _at(self, url: str) -> str:
        return f"{self._name} ({urlsplit(url).hostname})"


def _words(body: bytes, secret: str) -> str:
    """The service's own words about its refusal, if they are in one of the usual places."""
    try:
        said: Any = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return ""
    for name in ("error", "detail", "message"):
        if isinstance(said, dict) and name in said:
            said = said[name]
    text = " ".join(said.split()) if isinstance(said, str) else ""
    if secret:
        text = text.replace(secret, "…")
    return f": {text[:_SHOWN]}" if text else ""


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds of the header, which may be a date; None if it makes no sense.

    A date counts from the service's own clock if it sends the time, as this machine's clock may be wrong.
    """
    text = headers.get("Retry-After", "").strip()
    with contextlib.suppress(ValueError):
        if text.isdigit():
            return min(float(text), _LONGEST_WAIT)
        if text:
            now = _moment(headers["Date"]) if "Date" in headers else time.time()
            return max(0.0, min(_moment(text) - now, _LONGEST_WAIT))
    return None


def _moment(date: str) -> float:
    return parsedate_to_datetime(date).timestamp()
