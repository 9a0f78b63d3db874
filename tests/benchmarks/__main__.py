"""`python -m tests.benchmarks [NAME…]`: measure what the README promises, and print it as a table."""

import tempfile
import time
from importlib import import_module
from pathlib import Path

import click
import uvloop

from tests.benchmarks.report import Row, load, machine, say, table

# One module each, with `async def run(folder: Path) -> list[Row]`.
_BENCHMARKS = (
    "real_words",
    "real_speed",
    "words",
    "speed",
    "real_size",
    "first_segment",
    "start",
    "memory",
    "overhead",
    "observing",
    "idle",
    "celery",
    "assembly",
    "scheduling",
    "many_nodes",
    "turns",
    "store",
    "uploads",
    "search",
    "http",
    "growing",
    "page",
    "monitor",
    "serve_load",
    "soak",
)


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1, type=click.Choice(_BENCHMARKS))
def main(names: tuple[str, ...]) -> None:
    """Measure; all, or those that are named."""
    begun = time.monotonic()
    at_first = load()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="v2t-benchmarks-") as folder:
        for name in names or _BENCHMARKS:
            say(f"{name} …")
            rows += uvloop.run(import_module(f"tests.benchmarks.{name}").run(Path(folder)))
    click.echo(f"{machine()}; {at_first} at the start, {load()} at the end\n\n{table(rows)}\n")
    click.echo(f"It took {(time.monotonic() - begun) / 60:.1f} minutes.")


if __name__ == "__main__":
    main()
