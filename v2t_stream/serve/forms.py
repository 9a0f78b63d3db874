"""Forms with a file, as they arrive: the file goes to disk and to the store, never into memory."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Final, NamedTuple

from aiohttp import BodyPartReader, web

from v2t_stream.host.tasks import end, to_its_end
from v2t_stream.serve.early import EARLY
from v2t_stream.serve.gathering import gathered
from v2t_stream.serve.problems import Problem
from v2t_stream.serve.spool import Spool, Upload
from v2t_stream.units import size

_FIELD_BYTES: Final = 64 << 10  # of one field, and of all of them together
_FIELDS: Final = 200
_BLOCK: Final = 32 << 10  # bytes; so many are held back until it is clear that no boundary is in them
_LEAVING: Final = 5.0  # seconds for saying that no more will come

Fields = Mapping[str, Sequence[str]]
Head = Callable[[bytes], bytes]


class Form(NamedTuple):
    fields: dict[str, list[str]]  # in the order of arrival
    file: Upload | None


@contextlib.asynccontextmanager
async def receiving(
    request: web.Request,
    files: Collection[str] = ("file",),
    *,
    head: Head | None = None,
    early: Callable[[Fields], bool] | None = None,
) -> AsyncGenerator[Form]:
    """A form whose file may still be on its way: a job may name it at once, and its first words come meanwhile.

    `files`, `head`, exceptions: as for `receive`. `early`: whether the job may begin before its file has ended, by the
    fields that came before the file; a field behind the file then fails that job, which has begun without it.

    The block begins when the form has ended, or when the first piece of its file is in the store. In the second case
    the rest is received while the block runs, and given up if the block ends first. If the rest does not come, the
    job fails with a sentence that says so; nothing is raised in the block. A short file never comes early, nor does any
    while a node of the release before runs, or while as many are being read as the fleet has room for.
    """
    reception = _Reception(request, files, head, early)
    task = asyncio.create_task(reception.all())
    try:
        await asyncio.wait({task, reception.begun}, return_when=asyncio.FIRST_COMPLETED)
        yield reception.begun.result() if reception.begun.done() else await task
    finally:
        await end(task)
        if not task.cancelled():
            task.exception()  # the job says it


async def receive(request: web.Request, files: Collection[str] = ("file",), *, head: Head | None = None) -> Form:
    """Read a form, and store its file. Raises Problem and StoreError.

    `files`: the names that its file may have. `head`: what to put before the file, by its first bytes.
    """
    return await _Reception(request, files, head).all()


class _Reception:
    """Reads one form."""

    def __init__(
        self,
        request: web.Request,
        files: Collection[str],
        head: Head | None,
        early: Callable[[Fields], bool] | None = None,
    ) -> None:
        self._request, self._files, self._head, self._early = request, files, head, early
        self._fields: dict[str, list[str]] = {}
        self._left = _FIELD_BYTES
        self.begun: asyncio.Future[Form] = asyncio.get_running_loop().create_future()

    async def all(self) -> Form:
        """The form, when all of it is there."""
        if self._request.content_type != "multipart/form-data":
            raise Problem(415, f"the body is {self._request.content_type}: send multipart/form-data")
        with contextlib.ExitStack() as stack:
            spool: Spool | None = None
            try:
                with _well_formed():
                    async for part in await self._request.multipart():
                        named, name = _named(part)
                        if named.filename is None:
                            await self._field(named, name, spool)
                            continue
                        self._check_file(name, spool)
                        spool = stack.enter_context(Spool(self._request, named.filename))
                        await self._file(named, spool)
                return Form(self._fields, await spool.finish() if spool else None)
            except BaseException as error:
                if spool:
                    await to_its_end(spool.fail(str(error) if isinstance(error, Problem) else ""), _LEAVING)
                raise

    async def _field(self, part: BodyPartReader, name: str, spool: Spool | None) -> None:
        text = await _text(part, self._left)
        self._left -= len(text)
        self._fields.setdefault(name, []).append(text)
        if sum(map(len, self._fields.values())) > _FIELDS:
            raise Problem(413, f"the form has more than {_FIELDS} fields: send fewer")
        if spool and spool.has_begun:
            raise Problem(
                400, f"the field {name} came after the file, whose job has begun without it: send it first", param=name
            )

    def _check_file(self, name: str, before: Spool | None) -> None:
        if name not in self._files:
            names = " or ".join(self._files)
            raise Problem(400, f"the form has a file {name!r}: send it as {names}", param=name)
        if before:
            raise Problem(400, "the form has two files: send one with each request", param=name)

    async def _file(self, part: BodyPartReader, spool: Spool) -> None:
        may_begin = bool(self._early and self._early(self._fields))
        async with aclosing(gathered(lambda: part.read_chunk(_BLOCK))) as pieces:
            async for piece in pieces:
                data = piece.data
                if not spool.received:
                    data = self._head(data) + data if self._head else data
                    if may_begin and not piece.is_last and await self._request.app[EARLY].may_begin(self._request):
                        await spool.begin()
                await spool.take(data)
                if spool.has_begun and not self.begun.done():
                    self.begun.set_result(Form(self._fields, Upload(spool.key, spool.name, "")))
        if not spool.received:
            raise Problem(400, f"{spool.name or 'the file'} is empty (0 bytes): send a recording", param=part.name)


@contextlib.contextmanager
def _well_formed() -> Iterator[None]:
    """Raises Problem where aiohttp finds that the body is no form, or ends within it."""
    try:
        yield
    except ValueError as error:
        raise Problem(
            400, "the body is not a complete form: name its boundary in Content-Type, and send it to its end"
        ) from error


def _named(part: object) -> tuple[BodyPartReader, str]:
    """A part and its name."""
    if not isinstance(part, BodyPartReader) or not part.name:
        raise Problem(400, "a part of the form has no name: send each with name=…")
    return part, part.name


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
