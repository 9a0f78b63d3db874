"""The checks of `v2t doctor`: each is one function that says what it found and what to do."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Literal

import msgspec

from v2t_stream.errors import Denied, V2TError

Status = Literal["ok", "warn", "fail"]
Check = Callable[[], Awaitable["Finding"]]

_PATIENCE: Final = 60.0  # seconds for one check; on a busy machine the engine's takes the longest


class Finding(msgspec.Struct, frozen=True):
    name: str
    status: Status
    found: str
    advice: str = ""  # what to do; with "ok", how to check what we cannot


async def examine(checks: Iterable[tuple[str, Check]], *, patience: float = _PATIENCE) -> list[Finding]:
    """Run all checks at once, each for at most `patience` seconds; an error in a check becomes its finding."""
    return list(await asyncio.gather(*(_bounded(name, check, patience) for name, check in checks)))


async def _bounded(name: str, check: Check, patience: float) -> Finding:
    try:
        async with asyncio.timeout(patience):
            return await check()
    except TimeoutError:
        return Finding(name, "fail", f"no answer within {patience:g} s", "try again when the machine is less busy")
    except Denied as error:
        reason, _, advice = str(error).partition(": ")
        return Finding(name, "warn", f"not checked: {reason}", advice)
    except V2TError as error:
        return Finding(name, "fail", str(error))
    except Exception as error:  # noqa: BLE001  # one check that breaks must not hide what the others found
        return Finding(name, "fail", f"unexpected {type(error).__name__}: {error}", "report this")


def in_thread(name: str, look: Callable[[], Finding]) -> tuple[str, Check]:
    """A check that blocks."""
    return name, lambda: asyncio.to_thread(look)
