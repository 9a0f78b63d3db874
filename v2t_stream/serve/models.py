"""`GET /v1/models`, and what the name of a model means."""

from collections.abc import Iterator, Sequence
from typing import Final, Literal, TypedDict

from aiohttp import web
from msgspec.structs import replace

from schemas.options import Options
from v2t_stream.fleet.ability import judged
from v2t_stream.fleet.presence import NodeInfo
from v2t_stream.models import problem
from v2t_stream.serve.described import described
from v2t_stream.serve.looks import LOOKS
from v2t_stream.serve.problems import Problem
from v2t_stream.serve.queries import checked

routes = web.RouteTableDef()


class Model(TypedDict):
    """As OpenAI's API tells it."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class Models(TypedDict):
    object: Literal["list"]
    data: list[Model]


DIARIZING: Final = "gpt-4o-transcribe-diarize"

# OpenAI's models (openai 3.57, types/audio_model.py), by which programs know this API. They mean the model that each
# node uses for jobs without one.
_STANDING_IN: Final = (
    *("whisper-1", "gpt-transcribe", "gpt-4o-transcribe", "gpt-4o-mini-transcribe"),
    *("gpt-4o-mini-transcribe-2025-12-15", DIARIZING),
)


def meant(name: str) -> str | None:
    """The model that a job must name; None for the one of each node."""
    return None if name in ("", *_STANDING_IN) else name


async def check(request: web.Request, options: Options) -> None:
    """Raises Problem if there is no such model, or if no node that is up can do such a job."""
    if options.model and (reason := problem(options.model, options.engine)):
        raise _unknown(reason)
    nodes = await _transcribing(request)
    if reason := judged(nodes, options):
        if options.model and not judged(nodes, replace(options, model=None)):
            raise _unknown(reason)
        raise Problem(400, reason)


def _unknown(reason: str) -> Problem:
    return Problem(404, reason, param="model", code="model_not_found")


async def _transcribing(request: web.Request) -> list[NodeInfo]:
    return [node for node in await request.app[LOOKS].nodes() if node.stage == "transcribe"]


@routes.get("/v1/models")
@described(answer=Models)
async def models(request: web.Request) -> web.Response:
    """List the models that nodes announce, and the names that stand for them."""
    checked(request)
    announced = dict.fromkeys(_announced(await _transcribing(request)))
    names = [*announced, *(name for name in _STANDING_IN if name not in announced)]
    return web.json_response({"object": "list", "data": [_told(name) for name in names]})


@routes.get("/v1/models/{model:.+}")
@described(answer=Model)
async def model(request: web.Request) -> web.Response:
    """Say whether a job may name a model: one that a node announces, or one that a node can fetch."""
    checked(request)
    name = request.match_info["model"]
    await check(request, Options(model=meant(name)))
    return web.json_response(_told(name))


def _announced(nodes: Sequence[NodeInfo]) -> Iterator[str]:
    for node in nodes:
        yield from (offer.model for offer in node.offers if offer.model and not offer.is_service)


def _told(name: str) -> Model:
    # No engine says when its model was made.
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": "v2t" if meant(name) else "v2t: the node's default",
    }
