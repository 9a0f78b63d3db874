"""Ten short jobs behind a long one: what they wait for, and what it loses by them."""

import asyncio
import itertools
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from schemas.chunks import CHUNK_SECONDS, SAMPLE_RATE
from schemas.requests import SubmitRequest
from tests.benchmarks.queued import until
from tests.benchmarks.report import Row, say
from tests.harness import broker, ended, node, upload
from tests.harness import until as job_is
from tests.simulated import install
from v2t_stream.audio import flac
from v2t_stream.broker.connection import Connection
from v2t_stream.jobs.submission import submit

_SPEEDS = (30, 45, 45, 6)  # times real time: an M2, two M4s, a spare server
_LONG, _SHORT = 180, 1  # minutes
_JOBS = 10
_BEFORE = 40  # chunks of the long job that are done when the short ones come

_titles = itertools.count()  # what is submitted twice with one title is one job


async def run(folder: Path) -> list[Row]:
    """The whole way on four nodes of simulated speed: files are decoded and cut, and only the engines are simulated."""
    settings = install(folder / "simulated")
    async with broker(folder / "turns-nats") as (server, connection):
        with ExitStack() as stack:
            stages = ("intake", "download", "convert", "aggregate")
            stack.enter_context(node(server.url, folder / "turns-hub", *stages, **settings))
            for n, speed in enumerate(_SPEEDS):
                environment = settings | {"V2T_NODE": f"node{n}", "V2T_MODEL": f"x{speed}"}
                stack.enter_context(node(server.url, folder / f"turns{n}", "transcribe", **environment))
            await until(connection, len(_SPEEDS))
            media = {minutes: await _recording(connection, folder, minutes) for minutes in (_LONG, _SHORT)}
            await _all(connection, [media[_SHORT]] * _JOBS)  # so that each has measured itself
            short = await _all(connection, [media[_SHORT]] * _JOBS)
            say(f"{_JOBS} short jobs alone: {short:.1f} s")
            long = await _all(connection, [media[_LONG]])
            say(f"the long job alone: {long:.1f} s")
            begun = time.perf_counter()
            job = await _submit(connection, media[_LONG])
            await job_is(connection, job, lambda job: len(job.chunks) >= _BEFORE)
            behind = await _all(connection, [media[_SHORT]] * _JOBS)
            await ended(connection, job, 600)
            together = time.perf_counter() - begun
    chunk = CHUNK_SECONDS / min(_SPEEDS)  # what the slowest node has in hand when they come
    limit = 1.5 * short + chunk
    bound = long + _JOBS * _SHORT * 60 / sum(_SPEEDS)
    speeds = ", ".join(map(str, _SPEEDS))
    return [
        Row(
            f"{_JOBS} jobs of {_SHORT} min behind one of {_LONG // 60} h on nodes of {speeds} times real time",
            f"1.5 times what they take alone and a chunk of the slowest node ({limit:.1f} s)",
            f"{behind:.1f} s against {short:.1f} alone",
            behind <= limit,
        ),
        Row(
            "the long job meanwhile, against what it takes alone and the work of the short ones",
            "at most 1.03",
            f"{together / bound:.3f} ({together:.1f} s against {bound:.1f})",
            together / bound <= 1.03,
        ),
    ]


async def _recording(connection: Connection, folder: Path, minutes: int) -> str:
    """Silence of that length in the store; its key."""
    path = folder / f"{minutes}min.flac"
    path.write_bytes(flac.encode(np.zeros(minutes * 60 * SAMPLE_RATE, np.int16)))
    return await upload(connection, path)


async def _submit(connection: Connection, media: str) -> str:
    # Without a voice detector all of it is cut into chunks.
    request = SubmitRequest(media=media, title=f"{next(_titles)}", language="en", vad_threshold=0, force=True)
    job, _ = await submit(connection, request)
    return job


async def _all(connection: Connection, media: list[str]) -> float:
    """Do a job of each; the seconds until the last has ended."""
    begun = time.perf_counter()
    jobs = [await _submit(connection, key) for key in media]
    for job in await asyncio.gather(*(ended(connection, job, 600) for job in jobs)):
        if job.state != "completed" or job.gaps:
            raise RuntimeError(f"{job.id} is {job.state}: {job.reason}")
    return time.perf_counter() - begun
