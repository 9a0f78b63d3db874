"""From the blocks of a request's body to pieces for the store."""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final, NamedTuple

from v2t_stream.host.tasks import end

MOST: Final = 4 << 20  # bytes of a piece
WITHIN: Final = 0.5  # seconds that the first byte of a piece waits for others


class Piece(NamedTuple):
    data: bytes
    is_last: bool  # it is known that no more will come; a last piece may also be followed by nothing


async def gathered(
    read: Callable[[], Awaitable[bytes]], *, most: int = MOST, within: float = WITHIN
) -> AsyncGenerator[Piece]:
    """What `read` gives until it gives nothing, in pieces of about `most` bytes; smaller ones if it comes slowly.

    If `read` fails, or this task is cancelled, what has come is still given, and then the error is raised.
    """
    held, due = bytearray(), math.inf
    coming = asyncio.ensure_future(read())
    failure: BaseException | None = None
    try:
        while failure is None:
            try:  # without cancelling the read, which could lose bytes
                await asyncio.wait({coming}, timeout=None if due == math.inf else max(0.0, due - time.monotonic()))
                block = coming.result() if coming.done() else None
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # raised below
                failure = error
                break
            if block == b"":
                break
            if block:
                due = time.monotonic() + within if not held else due
                held += block
                coming = asyncio.ensure_future(read())
            if len(held) >= most or time.monotonic() >= due:
                yield Piece(bytes(held), is_last=False)
                held, due = bytearray(), math.inf
        if held:
            yield Piece(bytes(held), is_last=failure is None)
        if failure:
            raise failure
    finally:
        await end(coming)
        if not coming.cancelled():
            coming.exception()  # what it says is raised already, or nobody asks any more
