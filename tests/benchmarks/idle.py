"""What a node with nothing to do costs: `v2t node` and all below it, and beside it what its broker spends on it."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from schemas.requests import SubmitRequest
from tests.benchmarks.processes import below, processor_seconds
from tests.benchmarks.report import Row, say
from tests.harness import DATA, alive, broker, transcribe, upload

_SECONDS = 60.0
_TARGET = 0.01  # of a core
_SETTLE = 5.0  # seconds after the last word of work


async def run(folder: Path) -> list[Row]:
    async with broker(folder / "idle-nats") as (server, connection):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("V2T_")} | {
            "NATS_URL": server.url,
            "V2T_DATA_DIR": str(folder / "idle"),
            "V2T_MODEL": "demo",
        }
        with (
            (folder / "idle.log").open("wb") as log,
            subprocess.Popen(
                [sys.executable, "-m", "v2t_stream", "node"], env=environment, stdout=log, stderr=log
            ) as node,
        ):
            try:
                await alive(connection)
                # It has worked, so that it knows its speed and is ready to help others out, as nodes are most days.
                media = await upload(connection, DATA / "5s.flac")
                await transcribe(connection, SubmitRequest(media=media))
                await asyncio.sleep(_SETTLE)
                ours = dict(_named(node.pid))
                theirs = {name: pid for name, pid in _named(os.getpid()) if name == "nats-server"}
                before = processor_seconds(ours | theirs)
                written = _written([*ours.values()])
                await asyncio.sleep(_SECONDS)
                after = processor_seconds(ours | theirs)
                written = _written([*ours.values()]) - written
            finally:
                node.terminate()
    share = {name: (after[name] - before[name]) / _SECONDS for name in after}
    for name, part in share.items():
        say(f"{name}: {part:.2%}")
    total = sum(part for name, part in share.items() if name in ours)
    return [
        Row(
            f"a node with nothing to do, over {_SECONDS:.0f} s: its processes, of one core",
            f"under {_TARGET:.0%}",
            f"{total:.2%}, and {share['nats-server']:.2%} of the broker; {written} bytes written",
            total < _TARGET and not written,
        )
    ]


def _named(root: int) -> Iterator[tuple[str, int]]:
    """The process and all below it, each with a name of its own."""
    for pid in (root, *below(root)):
        words = Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8").split("\0")
        name = words[words.index("stage") + 1] if "stage" in words else Path(words[0]).name
        yield (name if name == "nats-server" or "stage" in words else f"{name} {pid}"), pid


def _written(pids: list[int]) -> int:
    """Bytes these have had written to a disk."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/io").read_text(encoding="utf-8").splitlines():
            if line.startswith("write_bytes:"):
                total += int(line.split()[1])
    return total
