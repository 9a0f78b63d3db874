"""Errors as the API tells them: OpenAI's shape, which every client of that API reads, with one sentence."""

import json
import logging
from typing import Any, Final

from aiohttp import web

from v2t_stream.errors import BrokerError, Denied, ObjectMissing, Reject, SettingsError, StoreError, V2TError
from v2t_stream.text import one_line

log = logging.getLogger(__name__)

_BEGUN: Final = web.RequestKey("begun", web.StreamResponse)
_LONGEST: Final = 4000  # characters of a sentence that quotes what strangers sent
_OURS: Final = 500  # statuses from here on are not the client's fault

# The first that matches. Others are the request's fault.
_STATUSES: Final[tuple[tuple[type[V2TError], int], ...]] = (
    (Reject, 400),
    (SettingsError, 400),
    (ObjectMissing, 404),
    (Denied, 403),
    (BrokerError, 503),
    (StoreError, 503),
)


# What aiohttp says itself, in sentences.
_HTTP: Final = {
    404: "nothing is at this path: GET /openapi.json lists what is",
    405: "this path does not know that method: GET /openapi.json lists what it knows",
    413: "the body is larger than the server takes into memory: send less",
}


class Problem(Exception):
    """Ends a request with `status` and a sentence. `param`: the parameter at fault; `code`: for programs."""

    def __init__(
        self, status: int, sentence: str, *, param: str | None = None, code: str | None = None, **headers: str
    ) -> None:
        super().__init__(sentence)
        self.status = status
        self.param = param
        self.code = code
        self.headers = headers


def body(status: int, sentence: str, *, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """The error object (platform.openai.com/docs/guides/error-codes)."""
    kind = "server_error" if status >= _OURS else "invalid_request_error"
    return {"error": {"message": one_line(sentence, _LONGEST), "type": kind, "param": param, "code": code}}


def problem_of(error: Exception) -> Problem:
    """What the client hears of `error`, which may be any."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, web.HTTPException):
        return Problem(error.status, _HTTP.get(error.status, error.reason))
    if isinstance(error, V2TError):
        status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 400)
        return Problem(status, str(error), param=(isinstance(error, Reject) and error.field) or None)
    log.error("a request failed", exc_info=error)
    return Problem(500, f"unexpected {type(error).__name__}: v2t's log has more")


async def note_beginning(request: web.Request, response: web.StreamResponse) -> None:
    """Note that an answer is under way, so that no other can be given."""
    request[_BEGUN] = response


@web.middleware
async def told(request: web.Request, handler: Any) -> web.StreamResponse:
    """Answer with the API's error shape, whatever goes wrong."""
    try:
        response: web.StreamResponse = await handler(request)
    except web.HTTPRedirection:
        raise
    except ConnectionError:  # the client has gone
        return _cut(request)
    except Exception as error:  # noqa: BLE001  # one bad request stops nothing else
        problem = problem_of(error)
    else:
        return response
    if _BEGUN in request:
        log.warning("the answer to %s %s broke off: %s", request.method, request.path, problem)
        return _cut(request)
    text = json.dumps(body(problem.status, str(problem), param=problem.param, code=problem.code))
    return web.Response(status=problem.status, text=text, content_type="application/json", headers=problem.headers)


def _cut(request: web.Request) -> web.StreamResponse:
    """End the connection: nothing else can say any more that the answer is not whole."""
    if request.transport:
        request.transport.abort()
    return request.get(_BEGUN) or web.Response()
