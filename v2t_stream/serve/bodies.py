"""JSON that clients send."""

from typing import Any, TypeVar

import msgspec
from aiohttp import web

from schemas.message import fault
from v2t_stream.serve.problems import Problem

T = TypeVar("T")


async def read_object(request: web.Request) -> dict[str, Any]:
    """The object in the body. Raises Problem."""
    if request.content_type != "application/json":
        raise Problem(415, f"the body is {request.content_type}: send application/json")
    try:
        return msgspec.json.decode(await request.read(), type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Problem(400, f"the body is not a JSON object: {error}") from None


async def read_as(request: web.Request, kind: type[T]) -> T:
    """The body as a `kind`. Raises Problem, which names the field at fault."""
    fields = await read_object(request)
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        reason, field = fault(error)
        known = ", ".join(getattr(kind, "__struct_fields__", ()))
        raise Problem(400, f"the body is not valid: {reason}; its fields are {known}", param=field or None) from None
