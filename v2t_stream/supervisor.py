"""Runs stages as child processes of this machine and starts again those that die."""

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

_BACKOFF: Final = (0.5, 2.0, 5.0, 15.0, 30.0)  # seconds until the next start, by starts that failed in a row
_STEADY: Final = 30.0  # seconds after which a start counts as good
_DRAIN: Final = 25.0  # seconds a stage may take to finish, a little more than its worker gives itself


@contextlib.asynccontextmanager
async def supervised(
    stages: Sequence[str], environment: Mapping[str, str], log_folder: Path | None = None
) -> AsyncGenerator[None]:
    """Keep `stages` running while the block runs; then ask them to finish, and wait.

    `environment` is set on top of this process's own. Their logs go to `log_folder`/<stage>.log, or where ours go.
    """
    children = [asyncio.create_task(_keep(stage, environment, log_folder)) for stage in stages]
    try:
        yield
    finally:
        for child in children:
            child.cancel()
        await asyncio.gather(*children, return_exceptions=True)


async def _keep(stage: str, environment: Mapping[str, str], log_folder: Path | None) -> None:
    failures = 0
    while True:
        started = time.monotonic()
        try:
            end = f"ended with code {await _run(stage, environment, log_folder)}"
        except OSError as error:  # no memory, no disk, no more files
            end = f"could not be started ({error})"
        failures = 1 if time.monotonic() - started > _STEADY else failures + 1
        delay = _BACKOFF[min(failures, len(_BACKOFF)) - 1]
        log.error("the stage %s %s (%d in a row); starting it again in %g s", stage, end, failures, delay)
        await asyncio.sleep(delay)


async def _run(stage: str, environment: Mapping[str, str], log_folder: Path | None) -> int:
    """One life of a stage. Where we are cancelled, it is asked to finish, and killed if it does not."""
    with contextlib.ExitStack() as stack:
        output = None
        if log_folder:
            log_folder.mkdir(parents=True, exist_ok=True)
            output = stack.enter_context((log_folder / f"{stage}.log").open("a"))
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "v2t_stream",
            "stage",
            stage,
            "--with-parent",
            env={**os.environ, **environment},
            stdin=asyncio.subprocess.PIPE,  # it ends when this closes, so it never outlives us
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C in the terminal is for us, and we end the stages in order
        )
        try:
            return await process.wait()
        finally:
            if process.returncode is None:
                process.terminate()
                try:
                    await asyncio.wait_for(process.wait(), _DRAIN)
                except TimeoutError:
                    process.kill()
                    await process.wait()
