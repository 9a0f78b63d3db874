"""`GET /openapi.json`: the API as the routes and the types of its messages declare it."""

import inspect
import re
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import msgspec
from aiohttp import hdrs, web

from v2t_stream.fleet.presence import version
from v2t_stream.serve.answers import answered
from v2t_stream.serve.described import Described, described, description_of
from v2t_stream.serve.queries import checked
from v2t_stream.serve.types import ErrorAnswer

routes = web.RouteTableDef()

_OPENAPI: Final = "3.1.0"
_REF: Final = "#/components/schemas/{name}"
_NO_CONTENT: Final = 204


class Operation(NamedTuple):
    """One method of one path."""

    path: str
    method: str  # in lower case
    summary: str
    name: str  # of the handler
    about: Described

    @property
    def types(self) -> list[Any]:
        """All types that it mentions."""
        about = self.about
        said = [*about.query.values(), *about.headers.values(), *about.form.values(), about.body, about.answer]
        return [each for each in said if each is not None]


@routes.get("/openapi.json")
@described(answer=dict[str, Any])
async def openapi(request: web.Request) -> web.Response:
    """Describe this API as OpenAPI."""
    checked(request)
    return answered(document(operations(request.app)))


def operations(app: web.Application) -> Iterator[Operation]:
    """All that the application answers, except HEAD, which is as GET."""
    for route in app.router.routes():
        if route.resource is None or route.method in (hdrs.METH_HEAD, hdrs.METH_ANY):
            continue
        summary, _, _ = (inspect.getdoc(route.handler) or "").partition("\n")
        name = getattr(route.handler, "__name__", "")
        yield Operation(route.resource.canonical, route.method.lower(), summary, name, description_of(route.handler))


def document(known: Iterable[Operation]) -> dict[str, Any]:
    """The OpenAPI document of these operations."""
    listed = list(known)
    types = [ErrorAnswer, *(each for operation in listed for each in operation.types)]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    found = iter(schemas)
    error = next(found)
    paths: dict[str, dict[str, Any]] = {}
    for operation in listed:
        own = [next(found) for _ in operation.types]
        paths.setdefault(operation.path, {})[operation.method] = _described(operation, own, error)
    return {
        "openapi": _OPENAPI,
        "info": {
            "title": "v2t-stream",
            "version": version(),
            "summary": "Transcripts of audio and video: OpenAI's audio API, jobs, events and uploads.",
        },
        "security": [{}, {"bearer": []}, {"cookie": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "cookie": {"type": "apiKey", "in": "cookie", "name": "v2t_key"},
            },
        },
    }


def _described(operation: Operation, schemas: list[dict[str, Any]], error: dict[str, Any]) -> dict[str, Any]:
    """`schemas`: of its `types`."""
    about, left = operation.about, iter(schemas)
    parameters = [_parameter(name, "path", {"type": "string"}) for name in re.findall(r"{(\w+)}", operation.path)]
    parameters += [_parameter(name, "query", next(left)) for name in about.query]
    parameters += [_parameter(name, "header", next(left)) for name in about.headers]
    form = {name: next(left) for name in about.form}
    body = next(left) if about.body is not None else None
    told = {
        "operationId": f"{operation.method}{re.sub(r'[^A-Za-z0-9]+', '_', operation.path).rstrip('_') or '_root'}",
        "summary": operation.summary,
        "parameters": parameters,
        "responses": {
            str(about.status): _response(about, next(left) if about.answer is not None else None),
            "default": {"description": "What went wrong, in one sentence", "content": _json(error)},
        },
    }
    return told | ({"requestBody": _body(about, form, body)} if body is not None or about.has_file else {})


def _parameter(name: str, place: str, schema: dict[str, Any]) -> dict[str, Any]:
    said = {"description": schema["description"]} if "description" in schema else {}
    return {"name": name, "in": place, "required": place == "path", "schema": schema, **said}


def _response(about: Described, schema: dict[str, Any] | None) -> dict[str, Any]:
    content = _json(schema) if schema is not None else {}
    content |= {kind: {"schema": {"type": "string"}} for kind in about.media}
    told: dict[str, Any] = {"description": HTTPStatus(about.status).phrase}
    return told | ({"content": content} if content and about.status != _NO_CONTENT else {})


def _body(about: Described, fields: dict[str, Any], schema: dict[str, Any] | None) -> dict[str, Any]:
    if not about.has_file:
        return {"content": _json(schema or {}), "required": False}
    properties = {about.file: {"type": "string", "format": "binary"}, **fields}
    file = {"type": "object", "properties": properties, "required": [about.file]}
    form = {"multipart/form-data": {"schema": {"allOf": [schema or {}, file]}}}
    return {"content": _json(schema) | form if schema is not None else form, "required": True}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
