"""Runs stages as child processes of this machine, restarts those that die, and tells the fleet about it."""

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from v2t_stream.broker.connect import connect
from v2t_stream.broker.connection import Connection
from v2t_stream.broker.login import Login
from v2t_stream.errors import BrokerError
from v2t_stream.fleet.presence import ANNOUNCE_EVERY, NodeInfo, fleet, forget, key, tell, version
from v2t_stream.host.tasks import end
from v2t_stream.logs import resolved
from v2t_stream.runtime.child_output import output_to
from v2t_stream.settings import Settings
from v2t_stream.topology.streams import LAYOUT

log = logging.getLogger(__name__)

_BACKOFF: Final = (0.5, 2.0, 5.0, 15.0, 30.0)  # seconds until the next start, by failures in a row
_STEADY: Final = 30.0  # seconds after which a start counts as successful
_DRAIN: Final = 25.0  # seconds that a stage may take to finish, a little more than its worker allows itself
_STDERR: Final = 2


@contextlib.asynccontextmanager
async def supervised(
    stages: Sequence[str],
    settings: Settings,
    *,
    arguments: Mapping[str, Sequence[str]] | None = None,
    log_folder: Path | None = None,
    backoff: Sequence[float] = _BACKOFF,
) -> AsyncGenerator[None]:
    """Keep `stages` running while the block runs; then ask them to finish, and wait.

    They get exactly `settings`, which name the broker, also when one starts again after config.toml was changed.
    `arguments`: for each stage's command line. Logs go to `log_folder`/<stage>.log, or to our standard error.
    `backoff`: seconds until the next start, by failures in a row.
    """
    supervisor = _Supervisor(settings, arguments=arguments or {}, log_folder=log_folder, backoff=backoff)
    children = [asyncio.create_task(supervisor.keep(stage)) for stage in stages]
    telling = asyncio.create_task(supervisor.tell_of_the_dead())
    try:
        yield
    finally:
        for child in children:
            child.cancel()
        await asyncio.gather(*children, return_exceptions=True)
        await end(telling)


class _Death(NamedTuple):
    """The end of one life of a stage, and when the next begins."""

    stage: str
    pid: int  # 0: it could not even be started
    reason: str
    failures: int  # in a row
    until: float  # by the monotonic clock

    @property
    def left(self) -> float:
        """Seconds until the next life."""
        return self.until - time.monotonic()

    def info(self, node: str) -> NodeInfo:
        """What we report to the fleet until the next life reports for itself."""
        restarting = f"restarting in {self.left:.0f} s" if self.left > 0 else "restarting"
        return NodeInfo(
            node=node,
            stage=self.stage,
            pid=os.getpid(),
            version=version(),
            layout=LAYOUT,
            state=f"{restarting}, {self.failures} failure{'s' * (self.failures > 1)} in a row",
            last_error=self.reason,
        )


class _Supervisor:
    def __init__(
        self,
        settings: Settings,
        *,
        arguments: Mapping[str, Sequence[str]],
        log_folder: Path | None,
        backoff: Sequence[float],
    ) -> None:
        self._url, self._login, self._node = settings.nats_url, Login.of(settings), settings.node
        self._log_folder = log_folder
        self._arguments, self._backoff = arguments, backoff
        if not log_folder and settings.log_format == "auto":
            settings = msgspec.structs.replace(settings, log_format=resolved("auto"))  # their logs go where ours go
        self._environment = {**os.environ, **settings.environment}
        self._dead: dict[str, _Death] = {}  # by stage, until its next life reports for itself
        self._died = asyncio.Event()

    async def keep(self, stage: str) -> None:
        """Keep the stage running until cancelled."""
        failures = 0
        while True:
            started = time.monotonic()
            pid = 0
            try:
                pid, reason = await self._live(stage)
            except OSError as error:  # no memory, no disk, no more files
                reason = f"could not be started ({error})"
            failures = 1 if time.monotonic() - started > _STEADY else failures + 1
            delay = self._backoff[min(failures, len(self._backoff)) - 1]
            log.error("the stage %s %s (%d in a row); starting it again in %g s", stage, reason, failures, delay)
            self._dead[stage] = _Death(stage, pid, reason, failures, time.monotonic() + delay)
            self._died.set()
            await asyncio.sleep(delay)

    async def _live(self, stage: str) -> tuple[int, str]:
        """One life of a stage: its process id, and how it ended, with its last line.

        If we are cancelled, ask it to finish, and kill it if it does not.
        """
        with contextlib.ExitStack() as stack:
            to = _STDERR
            if self._log_folder:
                self._log_folder.mkdir(parents=True, exist_ok=True)
                to = stack.enter_context((self._log_folder / f"{stage}.log").open("a")).fileno()
            output, sink = stack.enter_context(output_to(to))
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "v2t_stream",
                "stage",
                stage,
                "--with-parent",
                *self._arguments.get(stage, ()),
                env=self._environment,
                stdin=asyncio.subprocess.PIPE,  # it ends when this closes, so it never outlives us
                stdout=sink,
                stderr=sink,
                start_new_session=True,  # Ctrl-C in the terminal reaches only us, and we end the stages
            )
            try:
                code = await process.wait()
            finally:
                if process.returncode is None:
                    process.terminate()
                    try:
                        await asyncio.wait_for(process.wait(), _DRAIN)
                    except TimeoutError:
                        process.kill()
                        await process.wait()
            said = output.last_line.removeprefix("v2t: ")
            return process.pid, f"ended with code {code}" + (f": {said}" if said else "")

    async def tell_of_the_dead(self) -> None:
        """Report stages that are down to the fleet, until cancelled. This connects only after the first death."""
        await self._died.wait()
        while True:
            with contextlib.suppress(BrokerError):  # the broker is away, so nobody can look either
                async with await connect(
                    self._url, name=f"v2t supervisor on {self._node}", login=self._login
                ) as connection:
                    while not connection.client.is_closed:
                        self._died.clear()
                        for death in list(self._dead.values()):
                            await forget(connection, key(self._node, death.stage, death.pid))
                            await tell(connection, death.info(self._node))
                        await self._leave_the_living(connection)
                        with contextlib.suppress(TimeoutError):
                            async with asyncio.timeout(ANNOUNCE_EVERY if self._dead else None):
                                await self._died.wait()
            await asyncio.sleep(ANNOUNCE_EVERY)

    async def _leave_the_living(self, connection: Connection) -> None:
        """Stop reporting stages that report for themselves again. Raises BrokerError."""
        started = [death for death in self._dead.values() if death.left <= 0]
        if not started:
            return
        alive = {info.stage for info in await fleet(connection) if info.node == self._node and info.is_alive}
        for death in started:
            if death.stage in alive and self._dead[death.stage] is death:
                del self._dead[death.stage]
                await forget(connection, key(self._node, death.stage, os.getpid()))
