"""Forms with a file, as they arrive: the file goes to disk and from there to the store, never into memory."""

import contextlib
import hashlib
import secrets
import tempfile
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from aiohttp import BodyPartReader, web

from v2t_stream.host.scratch import scratch
from v2t_stream.host.threads import in_thread
from v2t_stream.serve.context import PIPELINE, SETTINGS
from v2t_stream.serve.problems import Problem
from v2t_stream.store.protocol import UPLOADED
from v2t_stream.text import path_text
from v2t_stream.units import size

_FIELD_BYTES: Final = 64 << 10  # of one field, and of all of them together
_FIELDS: Final = 200
_BLOCK: Final = 256 << 10  # bytes


Fields = Mapping[str, Sequence[str]]


class Upload(NamedTuple):
    """A file that came with a form, in the store."""

    key: str
    name: str
    sha256: str  # empty while it is still on its way


class Form(NamedTuple):
    fields: dict[str, list[str]]  # in the order of arrival
    file: Upload | None


@contextlib.asynccontextmanager
async def receiving(
    request: web.Request,
    files: Collection[str] = ("file",),
    *,
    head: Callable[[bytes], bytes] | None = None,
    early: Callable[[Fields], bool] | None = None,  # noqa: ARG001  # until media can grow
) -> AsyncGenerator[Form]:
    """A form whose file may still be on its way: a job may name it at once, and its first words come meanwhile.

    `files`, `head`, exceptions: as for `receive`. `early`: whether the job may begin before its file has ended, by the
    fields that came before the file; fields behind the file are then refused, as its job has begun without them.

    The block begins when the file has ended, or when its first piece is in the store. In the second case the rest is
    received while the block runs, and given up if the block ends first. If the upload fails, so does the job that reads
    it, with a sentence that says so; nothing is raised in the block. Short files, and those that a node of the release
    before may read, never come early.
    """
    yield await receive(request, files, head=head)


async def receive(
    request: web.Request, files: Collection[str] = ("file",), *, head: Callable[[bytes], bytes] | None = None
) -> Form:
    """Read a form, and store its file. Raises Problem and StoreError.

    `files`: the names that its file may have. `head`: what to put before the file, by its first bytes.
    """
    if request.content_type != "multipart/form-data":
        raise Problem(415, f"the body is {request.content_type}: send multipart/form-data")
    fields: dict[str, list[str]] = {}
    held: Upload | None = None
    left = _FIELD_BYTES
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader) or not part.name:
            raise Problem(400, "a part of the form has no name: send each with name=…")
        if part.name in files and part.filename is not None:
            if held:
                raise Problem(400, "the form has two files: send one with each request", param=part.name)
            held = await _stored(request, part, head)
            continue
        if part.filename is not None:
            raise Problem(400, f"the form has a file {part.name!r}: send it as {' or '.join(files)}", param=part.name)
        text = await _text(part, left)
        left -= len(text)
        fields.setdefault(part.name, []).append(text)
        if sum(map(len, fields.values())) > _FIELDS:
            raise Problem(413, f"the form has more than {_FIELDS} fields: send fewer")
    return Form(fields, held)


async def _text(part: BodyPartReader, most: int) -> str:
    data = bytearray()
    while chunk := await part.read_chunk(_BLOCK):
        data += chunk
        if len(data) > most:
            raise Problem(
                413, f"the fields of the form have more than {size(_FIELD_BYTES)}: send less", param=part.name
            )
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Problem(400, f"the field {part.name} is not UTF-8 text: send text", param=part.name) from None


async def _stored(request: web.Request, part: BodyPartReader, head: Callable[[bytes], bytes] | None) -> Upload:
    settings, store = request.app[SETTINGS], request.app[PIPELINE].store
    name = path_text(Path(part.filename or "").name)
    folder = scratch(settings.home, "serve")
    digest, received = hashlib.sha256(), 0
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        while block := await part.read_chunk(_BLOCK):
            if head and not received:
                block = head(block) + block
            received += len(block)
            if received > settings.max_bytes:
                raise Problem(413, f"{name} is larger than the allowed {size(settings.max_bytes)}: raise V2T_MAX_BYTES")
            digest.update(block)
            await in_thread(lambda block=block: file.write(block))  # type: ignore[misc]
        if not received:
            raise Problem(400, f"{name or 'the file'} is empty (0 bytes): send a recording", param=part.name)
        await in_thread(file.flush)
        key = f"{UPLOADED}/{secrets.token_hex(12)}/source{path_text(Path(name).suffix)}"
        await store.put_file(key, Path(file.name), sha256=digest.hexdigest())
    return Upload(key, name, digest.hexdigest())
