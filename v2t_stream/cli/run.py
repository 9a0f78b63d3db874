"""Runs a command in a session of its own."""

from collections.abc import Awaitable, Callable

from v2t_stream.cli.broker import mention
from v2t_stream.cli.loop import in_loop
from v2t_stream.runtime.session import Session, session
from v2t_stream.settings import Settings


def in_session(run: Callable[[Session], Awaitable[None]], *, work: bool = False) -> None:
    """Run it with the broker of the environment's settings; `work`: see `session`. Raises V2TError."""

    async def inner() -> None:
        settings = Settings.from_environment()
        mention(settings)
        async with session(settings, work=work) as pipeline:
            await run(pipeline)

    in_loop(inner())
