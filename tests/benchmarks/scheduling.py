"""How well unlike machines share work: against the lower bound, total work over total speed."""

from contextlib import ExitStack
from pathlib import Path

from tests.benchmarks.queued import Queue, until
from tests.benchmarks.report import Row
from tests.harness import broker, node
from tests.simulated import install

_SPEEDS = (30, 45, 45, 6)  # times real time: an M2, two M4s, a spare server
_CHUNK = 27.0  # seconds of media: what packing leaves of 30 on average
_FILE = 3 * 3600  # seconds
_MIXED = tuple(60 * minutes for minutes in (1, 2, 3, 5, 8, 10, 12, 15, 20, 30) * 2)  # seconds of 20 jobs


async def run(folder: Path) -> list[Row]:
    """One long file, then many of mixed length, on four nodes of simulated speed."""
    settings = install(folder / "simulated")
    async with broker(folder / "scheduling-nats") as (server, connection):
        with ExitStack() as stack:
            stack.enter_context(node(server.url, folder / "hub", "aggregate", **settings))
            for n, speed in enumerate(_SPEEDS):
                environment = settings | {"V2T_NODE": f"node{n}", "V2T_MODEL": f"x{speed}"}
                stack.enter_context(node(server.url, folder / f"node{n}", "transcribe", **environment))
            queue = Queue(connection, _CHUNK)
            await queue.prepare()
            await until(connection, len(_SPEEDS))
            await queue.run({f"warm{n}": 8 for n in range(2)})  # so that each has measured itself
            chunks = round(_FILE / _CHUNK)
            one, _ = await queue.run({"long": chunks})
            mixed = {f"mixed{n}": max(1, round(seconds / _CHUNK)) for n, seconds in enumerate(_MIXED)}
            many, _ = await queue.run(mixed)
    bound = chunks * _CHUNK / sum(_SPEEDS)
    alone = chunks * _CHUNK / max(_SPEEDS)
    bound_many = sum(mixed.values()) * _CHUNK / sum(_SPEEDS)
    speeds = ", ".join(map(str, _SPEEDS))
    return [
        Row(
            f"a 3-hour file on nodes of {speeds} times real time, against total work over total speed",
            "at most 1.10",
            f"{one / bound:.3f} ({one:.1f} s against {bound:.1f})",
            one / bound <= 1.10,
        ),
        Row(
            "the same, against the whole file on the fastest node",
            "at most 0.40",
            f"{one / alone:.2f}",
            one / alone <= 0.40,
        ),
        Row(
            f"{len(_MIXED)} jobs of 1 to 30 minutes on the same nodes, against total work over total speed",
            "at most 1.08",
            f"{many / bound_many:.3f} ({many:.1f} s against {bound_many:.1f})",
            many / bound_many <= 1.08,
        ),
    ]
