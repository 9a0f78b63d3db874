"""How long the commands take to start."""

import asyncio
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from tests.benchmarks.report import Row, spread

TIMES = 5
_HEAVY = ("faster_whisper", "ctranslate2", "pywhispercpp", "_pywhispercpp", "onnxruntime", "av", "yt_dlp", "numpy")
_IMPORTED = """
import sys
from v2t_stream.cli import cli
cli(["--help"], standalone_mode=False)
print(*(name for name in sys.argv[1:] if name in sys.modules), file=sys.stderr)
"""


async def run(folder: Path) -> list[Row]:
    return await asyncio.to_thread(_rows, folder)


def _rows(folder: Path) -> list[Row]:
    first, whole = zip(*(_demo(folder / f"demo-{n}") for n in range(TIMES)), strict=True)
    python, help_ = [], []
    for _ in range(2 * TIMES):
        python.append(_wall("-c", "pass"))
        help_.append(_wall("-m", "v2t_stream", "--help"))
    command = [sys.executable, "-c", _IMPORTED, *_HEAVY]
    imported = subprocess.run(command, check=True, capture_output=True, text=True).stderr.strip()
    return [
        Row("`v2t demo`: first segment", "at most 8 s", spread(first), statistics.median(first) <= 8),
        Row("`v2t demo`: until it ends", "", spread(whole)),
        Row(
            "`v2t --help`",
            "under 0.5 s",
            f"{spread(help_, '.2f')}, {statistics.median(python):.2f} s of it Python itself",
            statistics.median(help_) < 0.5,
        ),
        Row("heavy modules that it imports", "none", imported or "none", not imported),
    ]


def _demo(home: Path) -> tuple[float, float]:
    """Seconds until the first segment is printed, and until the command ends, on an empty data directory."""
    first = 0.0
    begun = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "v2t_stream", "demo"],
        env={**os.environ, "V2T_DATA_DIR": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout
        for line in process.stdout:
            if line.startswith("[") and not first:
                first = time.perf_counter() - begun
    if process.returncode or not first:
        raise RuntimeError(f"v2t demo ended with code {process.returncode}")
    return first, time.perf_counter() - begun


def _wall(*arguments: str) -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun
