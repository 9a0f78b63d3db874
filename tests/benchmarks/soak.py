"""A day's worth of short jobs: what processes and streams hold must not grow with what they have done."""

import asyncio
import contextlib
import re
import secrets
import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from schemas.requests import SubmitRequest
from tests.benchmarks.processes import memory, running
from tests.benchmarks.report import Row, say
from tests.harness import DATA, broker, free_ports, node
from tests.prometheus import fetch
from v2t_stream.broker.connection import Connection
from v2t_stream.jobs.submission import submit
from v2t_stream.runtime.set_up import set_up
from v2t_stream.settings import Settings
from v2t_stream.store.jetstream_store import JetStreamStore
from v2t_stream.topology.streams import JOBS
from v2t_stream.topology.subjects import job_of

_JOBS: Final = 5000
_AT_ONCE: Final = 12
_EVERY: Final = 250  # jobs between two looks
_KEPT: Final = 60  # seconds that media, facts and transcripts are kept: far longer than a job takes
_GROWTH: Final = 0.10  # that counts as flat, of the last looks against those after the first fifth
_SLACK: Final = 8  # MB, by which a small process may differ from itself
_DAYS: Final = _KEPT / 86_400
_MB: Final = 1_000_000


@dataclass
class _Looks:
    """What was held, look by look: MB by process, messages by stream."""

    processes: dict[str, list[float]] = field(default_factory=dict)
    streams: dict[str, list[float]] = field(default_factory=dict)

    async def take(self, connection: Connection, profile: str) -> None:
        for name, pid in running().items():
            with contextlib.suppress(OSError, LookupError):  # it has just ended
                self.processes.setdefault(name, []).append(memory(pid, "VmRSS") / _MB)
        heap = self.processes.setdefault("nats-server, what its heap holds", [])
        heap.append(await asyncio.to_thread(_live_heap, profile) / _MB)
        answer = await connection.api("STREAM.LIST")
        for stream in answer["streams"]:
            self.streams.setdefault(stream["config"]["name"], []).append(stream["state"]["messages"])


async def run(folder: Path) -> list[Row]:
    """Jobs of 5 s through all stages with the demo model, twelve at a time; all is kept for a minute."""
    settings = Settings(facts_days=_DAYS, dead_days=_DAYS, transcript_days=_DAYS, media_hours=_KEPT / 3600)
    port = free_ports()
    profile = f"http://127.0.0.1:{port}/debug/pprof/heap?gc=1&debug=1"
    async with broker(folder / "soak" / "nats", f"prof_port: {port}") as (server, connection):
        await set_up(connection, settings, told=True)
        with node(server.url, folder / "soak" / "home", V2T_WARM="true", V2T_MODEL="demo"):
            looks, took, failed = await _work(connection, profile)
    rows = [
        Row(
            f"{_JOBS} jobs of 5 s through all stages, {_AT_ONCE} at a time",
            "all completed",
            f"{_JOBS - failed} completed, in {took / 60:.1f} min",
            failed == 0,
        )
    ]
    for name, values in sorted(looks.processes.items()):
        early, late = _early_and_late(values)
        rows.append(
            Row(
                f"memory of {name} meanwhile",
                "flat",
                f"{early:.0f} MB after a fifth, {late:.0f} MB at the end",
                late <= max(early * (1 + _GROWTH), early + _SLACK),
            )
        )
    held = {name: _early_and_late(values) for name, values in looks.streams.items() if max(values) > _JOBS / 50}
    for name, (early, late) in sorted(held.items()):
        rows.append(
            Row(
                f"messages in {name} meanwhile, kept for {_KEPT} s",
                "no more at the end",
                f"{early:.0f} after a fifth, {late:.0f} at the end",
                late <= early * 1.5,  # they follow the pace of the jobs, which is not the same throughout
            )
        )
    return rows


async def _work(connection: Connection, profile: str) -> tuple[_Looks, float, int]:
    """Do the jobs; what was held, the seconds it took, and how many failed."""
    looks, ends = _Looks(), 0
    failed: set[str] = set()
    places = asyncio.Semaphore(_AT_ONCE)
    begun = time.perf_counter()

    async def submit_all() -> None:
        store = JetStreamStore(connection)
        for n in range(_JOBS):
            await places.acquire()
            media = f"media/uploads/{secrets.token_hex(12)}/source.flac"
            await store.put_file(media, DATA / "5s.flac")
            await submit(connection, SubmitRequest(media=media, title=f"{n}", language="en", force=True))

    submitting = asyncio.create_task(submit_all())
    async with contextlib.aclosing(_ends(connection)) as jobs:
        async for job, is_failed in jobs:
            places.release()
            ends += 1
            if is_failed:
                failed.add(job)
            if ends % _EVERY == 0:
                await looks.take(connection, profile)
                say(f"  {ends} jobs after {time.perf_counter() - begun:.0f} s")
            if ends == _JOBS or (submitting.done() and submitting.exception()):
                break
    await submitting
    return looks, time.perf_counter() - begun, len(failed)


async def _ends(connection: Connection) -> AsyncIterator[tuple[str, bool]]:
    """Each job as it ends, and whether it failed."""
    seen = set()
    async for stored in connection.watch(JOBS, "v2t.job.*.completed", "v2t.job.*.failed"):
        if stored and stored.subject not in seen:
            seen.add(stored.subject)
            yield job_of(stored.subject), stored.subject.endswith(".failed")


def _live_heap(profile: str) -> float:
    """Bytes that are in use in a Go process after a collection, which asking for the profile makes."""
    _, text = fetch(profile)
    (allocated,) = re.findall(r"^# Alloc = (\d+)$", text, re.MULTILINE)
    return float(allocated)


def _early_and_late(values: list[float]) -> tuple[float, float]:
    """The median of three looks behind the first fifth, and of the last three."""
    start = len(values) // 5
    return statistics.median(values[start : start + 3]), statistics.median(values[-3:])
