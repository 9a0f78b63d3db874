"""What the processes of the pipeline take, read from /proc."""

import os
from collections.abc import Iterator
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


def running() -> dict[str, int]:
    """The pipeline's processes below this one: the number of each, by stage; `engine` and `nats-server` beside them."""
    found: dict[str, int] = {}
    for pid in below(os.getpid()):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8").split("\0")
        except OSError:
            continue  # it has just ended
        if "v2t_stream" in words and "stage" in words:
            found[words[words.index("stage") + 1]] = pid
        elif "v2t_stream.transcription.engine_child" in words:
            found["engine"] = pid
        elif words[0].endswith("nats-server"):
            found["nats-server"] = pid
    return found


def processor_seconds(pids: dict[str, int]) -> dict[str, float]:
    """The processor time that each has taken so far."""
    taken = {}
    for name, pid in pids.items():
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        taken[name] = (int(fields[11]) + int(fields[12])) / _TICK
    return taken


def memory(pid: int, field: str) -> int:
    """Bytes: `field` is VmRSS, what a process holds now, or VmHWM, the most it ever held."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


def below(pid: int) -> Iterator[int]:
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, children.read_text(encoding="utf-8").split()):
            yield child
            yield from below(child)
