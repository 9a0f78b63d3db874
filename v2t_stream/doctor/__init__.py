"""What `v2t doctor` looks at: each check is one function that tells what it found, and what to do."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Literal

import msgspec

from v2t_stream.errors import Denied, V2TError

Status = Literal["ok", "warn", "fail"]
Check = Callable[[], Awaitable["Finding"]]

_PATIENCE: Final = 60.0  # seconds for one check; the engine's is the longest, on a machine that is busy


class Finding(msgspec.Struct, frozen=True):
    name: str
    status: Status
    found: str
    advice: str = ""  # what to do; with "ok", what could not be looked at


async def examine(checks: Iterable[tuple[str, Check]]) -> list[Finding]:
    """Run all at once, each for a minute at most; what goes wrong in one is its finding."""
    return list(await asyncio.gather(*(_bounded(name, check) for name, check in checks)))


async def _bounded(name: str, check: Check) -> Finding:
    try:
        async with asyncio.timeout(_PATIENCE):
            return await check()
    except TimeoutError:
        return Finding(name, "fail", f"no answer within {_PATIENCE:g} s", "try again when the machine is less busy")
    except Denied as error:
        reason, _, advice = str(error).partition(": ")
        return Finding(name, "warn", f"not looked at: {reason}", advice)
    except V2TError as error:
        return Finding(name, "fail", str(error))
    except Exception as error:  # noqa: BLE001  # one check that breaks must not hide what the others found
        return Finding(name, "fail", f"unexpected {type(error).__name__}: {error}", "report this")


def in_thread(name: str, look: Callable[[], Finding]) -> tuple[str, Check]:
    """A check that blocks."""
    return name, lambda: asyncio.to_thread(look)
