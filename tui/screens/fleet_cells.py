"""The columns of the tables of nodes, queues and dead letters, and what stands in them."""

from collections.abc import Callable, Mapping
from typing import Final

from tui.state.known import Known
from tui.state.machines import Machine
from tui.widgets.cells import Cell, Piece, age, cell, sparkline
from tui.widgets.look import Look
from tui.widgets.table import Column
from v2t_stream.jobs.dead_letters import Dead
from v2t_stream.monitoring.waiting import unserved
from v2t_stream.topology.queues import Queue
from v2t_stream.units import clock, speed

NODES: Final = (
    Column("node", 10, flexible=True),
    Column("stages", 10, least=60),
    Column("on", 6),
    Column("engine", 14, least=90),
    Column("model", 8, flexible=True, least=90),
    Column("slots", 5, right=True),
    Column("chunks", 6, right=True, least=100),
    Column("speed", 6, right=True),
    Column("last minute", 16, least=70),
    Column("seen", 5, right=True),
)
QUEUES: Final = (
    Column("queue", 18),
    Column("waiting", 7, right=True),
    Column("in progress", 11, right=True, least=60),
    Column("redelivered", 11, right=True, least=72),
    Column("oldest", 7, right=True),
    Column("", 10, flexible=True),
)
DEAD: Final = (
    Column("dead letter", 11),
    Column("stage", 10, least=48),
    Column("job", 12),
    Column("chunk", 5, right=True, least=62),
    Column("age", 4, right=True),
    Column("reason", 10, flexible=True),
)
_NOW: Final = 5.0  # seconds


def node_cell(machine: Machine, column: str, width: int, known: Known, styles: Look) -> Cell:
    """What a dead node last said of itself is dimmed."""
    alive = machine.is_alive
    plain = styles.plain if alive else styles.dim
    if column in _TEXTS:
        return cell(_TEXTS[column](machine), plain)
    match column:
        case "node":
            return cell(machine.node, styles.bold if alive else styles.dim)
        case "stages":
            return cell(machine.stages, styles.warn if machine.trouble else plain)
        case "last minute":
            return (Piece(sparkline(machine.speeds, width), styles.accent if alive else styles.dim),)
    seen = known.seconds_since(machine.seen_at)
    return cell("now" if alive and seen < _NOW else age(seen), styles.dim if alive else styles.bad)


_TEXTS: Final[Mapping[str, Callable[[Machine], str]]] = {
    "on": lambda machine: machine.info.accelerator,
    "engine": lambda machine: machine.info.engine,
    "model": lambda machine: machine.info.model,
    "slots": lambda machine: machine.slots,
    "chunks": lambda machine: str(machine.info.done) if machine.transcribes else "",
    "speed": lambda machine: speed(machine.info.speed),
}


def queue_cell(queue: Queue, column: str, known: Known, styles: Look) -> Cell:
    """A queue that has work and nobody to do it is red; one without work is dimmed."""
    alone = unserved(queue, known.around.nodes)
    plain = styles.plain if queue.waiting or queue.in_work else styles.dim
    match column:
        case "queue":
            return cell(queue.name, styles.bad if alone else plain)
        case "waiting":
            return (Piece(str(queue.waiting), styles.bad if alone else plain),)
        case "in progress":
            return (Piece(str(queue.in_work), plain),)
        case "redelivered":
            return (Piece(str(queue.redelivered), styles.warn if queue.redelivered else plain),)
        case "oldest":
            return cell(clock(known.now - queue.oldest) if queue.oldest else "", plain)
    return (Piece("paused", styles.warn),) if queue.paused else cell(alone, styles.bad)


def dead_cell(dead: Dead, column: str, known: Known, styles: Look) -> Cell:
    match column:
        case "dead letter":
            return cell(str(dead.number), styles.bad)
        case "stage":
            return cell(dead.letter.stage, styles.plain)
        case "job":
            return cell(dead.letter.job, styles.plain)
        case "chunk":
            return cell("" if dead.chunk is None else str(dead.chunk), styles.plain)
        case "age":
            return cell(age(known.now - dead.at), styles.dim)
    return cell(dead.letter.reason, styles.plain)
