"""Who may come in, and what they may see."""

from typing import Any, Final, NamedTuple

from aiohttp import web

from v2t_stream.jobs.state import Job


class Caller(NamedTuple):
    """Whoever sent a request."""

    id: str = ""  # of the key; empty where no keys are needed
    role: str = "operator"
    name: str = ""

    def sees(self, job: Job) -> bool:  # noqa: ARG002  # until keys exist
        """Whether it may know of the job."""
        return True


_CALLER: Final = web.RequestKey("caller", Caller)


def caller(request: web.Request) -> Caller:
    """Whoever sent the request."""
    return request[_CALLER]


@web.middleware
async def admitted(request: web.Request, handler: Any) -> web.StreamResponse:
    """Let in who may come in."""
    request[_CALLER] = Caller()
    response: web.StreamResponse = await handler(request)
    return response
