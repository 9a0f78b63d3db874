"""Nodes, queues and dead letters, and what can be done about the latter two."""

from collections.abc import Iterator
from typing import ClassVar, Final

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from tui.actions import Actions
from tui.screens.base import MonitorScreen
from tui.screens.detail import DetailScreen
from tui.screens.jobs import age
from tui.state.machines import Machine, machines
from tui.widgets.cells import Cell, Piece, cell, sparkline
from tui.widgets.look import look
from tui.widgets.table import Column, Table
from v2t_stream.jobs.dead_letters import Dead
from v2t_stream.jobs.progress import clock, speed
from v2t_stream.monitoring.waiting import unserved
from v2t_stream.text import one_line
from v2t_stream.topology.queues import Queue

_NODES: Final = (
    Column("node", 10, flexible=True),
    Column("stages", 10),
    Column("by", 6),
    Column("engine", 14, least=90),
    Column("model", 8, flexible=True, least=90),
    Column("slots", 5, right=True),
    Column("chunks", 6, right=True, least=100),
    Column("speed", 6, right=True),
    Column("last minute", 16),
    Column("seen", 5, right=True),
)
_QUEUES: Final = (
    Column("queue", 18),
    Column("waiting", 7, right=True),
    Column("in flight", 9, right=True),
    Column("redelivered", 11, right=True),
    Column("oldest", 7, right=True),
    Column("", 10, flexible=True),
)
_DEAD: Final = (
    Column("dead letter", 11),
    Column("stage", 10),
    Column("job", 12),
    Column("chunk", 5, right=True),
    Column("age", 4, right=True),
    Column("reason", 10, flexible=True),
)
_LEAST: Final = 4  # lines of a table that has more rows than there is room


class FleetScreen(MonitorScreen):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "app.focus_next", "next table"),
        Binding("p", "pause", "pause or resume"),
        Binding("r", "redrive", "redrive"),
        Binding("R", "redrive_all", "redrive all", show=False),
        Binding("x", "remove", "throw away"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._machines: dict[str, Machine] = {}
        self._queues: dict[str, Queue] = {}
        self._dead: dict[str, Dead] = {}
        self._can: tuple[bool, ...] = ()

    def body(self) -> Iterator[Widget]:
        yield Table(_NODES, self._node_cell, opens=False, id="nodes")
        yield Table(_QUEUES, self._queue_cell, opens=False, id="queues")
        yield Table(_DEAD, self._dead_cell, id="dead")
        yield Static(id="note")

    def on_mount(self) -> None:
        self.query_one("#nodes").focus()

    def draw_body(self) -> None:
        around = self.monitor.around
        self._machines = {machine.key: machine for machine in machines(self.monitor.nodes.all())}
        self._queues = {queue.name: queue for queue in around.queues}
        self._dead = {str(letter.number): letter for letter in reversed(around.dead)}
        tables = [self.query_one(f"#{name}", Table) for name in ("nodes", "queues", "dead")]
        rows = [list(self._machines), list(self._queues), list(self._dead)]
        for table, keys in zip(tables, rows, strict=True):
            table.show(keys)
        self._share_room(tables, [len(keys) for keys in rows])
        self.tell("#note", Content(self._note()))
        self._offer_keys()

    def _share_room(self, tables: list[Table], rows: list[int]) -> None:
        """Each table as high as its rows, as far as there is room; the largest give way."""
        room = self.size.height - 5
        wanted = [count + 1 for count in rows]
        while sum(wanted) > room and max(wanted) > _LEAST:
            wanted[wanted.index(max(wanted))] -= 1
        for table, height in zip(tables, wanted, strict=True):
            if table.styles.height is None or table.styles.height.value != height:
                table.styles.height = height

    def _note(self) -> str:
        """More about the row with the cursor."""
        focused = self.focused.id if self.focused else ""
        key = self.query_one(f"#{focused}", Table).selected if isinstance(self.focused, Table) else None
        if focused == "nodes" and key:
            return self._machines[key].note
        if focused == "queues" and key:
            queue = self._queues[key]
            held = "paused: nothing is taken from it" if queue.paused else ""
            return held or unserved(queue, self.monitor.around.nodes) or f"{queue.pulling} ask for the next message"
        if focused == "dead" and key:
            letter = self._dead[key].letter
            times = "once" if letter.deliveries == 1 else f"{letter.deliveries} times"
            return one_line(f"tried {times}, the last time by {letter.node}: {letter.reason}", 300)
        return "" if self._dead or focused != "dead" else "no dead letters: nothing was given up"

    # -- cells

    def _node_cell(self, key: str, column: str, width: int) -> Cell:
        machine, styles = self._machines[key], look(self.app)
        plain = styles.plain if machine.is_alive else styles.dim
        match column:
            case "node":
                return cell(machine.node, styles.bold if machine.is_alive else styles.dim)
            case "stages":
                return cell(machine.stages, styles.warn if machine.trouble else plain)
            case "by":
                return cell(machine.info.accelerator, plain)
            case "engine":
                return cell(machine.info.engine, plain)
            case "model":
                return cell(machine.info.model, plain)
            case "slots":
                return (Piece(machine.slots, plain),)
            case "chunks":
                return (Piece(str(machine.info.done) if machine.transcribes else "", plain),)
            case "speed":
                return cell(speed(machine.info.speed), plain)
            case "last minute":
                return (Piece(sparkline(machine.speeds, width), styles.accent if machine.is_alive else styles.dim),)
        seen = self.monitor.seconds_since(machine.seen_at)
        return cell(
            "now" if machine.is_alive and seen < 5 else age(seen), styles.dim if machine.is_alive else styles.bad
        )

    def _queue_cell(self, key: str, column: str, width: int) -> Cell:  # noqa: ARG002  # Table's signature
        queue, styles = self._queues[key], look(self.app)
        alone = unserved(queue, self.monitor.around.nodes)
        idle = not (queue.waiting or queue.in_work)
        plain = styles.dim if idle else styles.plain
        match column:
            case "queue":
                return cell(queue.name, styles.bad if alone else plain)
            case "waiting":
                return (Piece(str(queue.waiting), styles.bad if alone else plain),)
            case "in flight":
                return (Piece(str(queue.in_work), plain),)
            case "redelivered":
                return (Piece(str(queue.redelivered), styles.warn if queue.redelivered else plain),)
            case "oldest":
                return cell(clock(self.monitor.now - queue.oldest) if queue.oldest else "", plain)
        if queue.paused:
            return (Piece("paused", styles.warn),)
        return cell(alone, styles.bad)

    def _dead_cell(self, key: str, column: str, width: int) -> Cell:  # noqa: ARG002  # Table's signature
        dead, styles = self._dead[key], look(self.app)
        match column:
            case "dead letter":
                return cell(key, styles.bad)
            case "stage":
                return cell(dead.letter.stage, styles.plain)
            case "job":
                return cell(dead.letter.job, styles.plain)
            case "chunk":
                return cell("" if dead.chunk is None else str(dead.chunk), styles.plain)
            case "age":
                return cell(age(self.monitor.now - dead.at), styles.dim)
        return cell(dead.letter.reason, styles.plain)

    # -- keys

    @property
    def _queue(self) -> Queue | None:
        key = self.query_one("#queues", Table).selected
        return self._queues.get(key) if key and self.focused and self.focused.id == "queues" else None

    @property
    def _letter(self) -> Dead | None:
        key = self.query_one("#dead", Table).selected
        return self._dead.get(key) if key and self.focused and self.focused.id == "dead" else None

    def _offer_keys(self) -> None:
        if (can := self._now()) != self._can:
            self._can = can
            self.refresh_bindings()

    def _now(self) -> tuple[bool, bool]:
        """Whether the cursor is on a queue, or on a dead letter."""
        return self._queue is not None, self._letter is not None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if not super().check_action(action, parameters):
            return False
        on_queue, on_letter = self._now()
        match action:
            case "pause":
                return on_queue
            case "redrive" | "redrive_all" | "remove":
                return on_letter
        return True

    def on_table_moved(self) -> None:
        self.draw()

    def on_descendant_focus(self) -> None:
        self.draw()

    def on_table_opened(self, message: Table.Opened) -> None:
        if message.table.id == "dead":
            self.app.push_screen(DetailScreen(self._dead[message.key].letter.job))

    def action_pause(self) -> None:
        queue, actions = self._queue, self.monitor.ready()
        if queue and actions:
            self.monitor.act(actions.pause_or_resume(queue))

    def action_redrive(self) -> None:
        letter, actions = self._letter, self.monitor.ready()
        if letter and actions:
            self.monitor.act(actions.redrive(letter))

    def action_redrive_all(self) -> None:
        letters, actions = list(self._dead.values()), self.monitor.ready()
        if letters and actions:
            self.monitor.confirm(
                f"Try all {len(letters)} dead letters again?", "Redrive", lambda: _all(actions, letters)
            )

    def action_remove(self) -> None:
        letter, actions = self._letter, self.monitor.ready()
        if letter and actions:
            self.monitor.confirm(
                f"Throw dead letter {letter.number} away? What it is about is not done, and cannot be redriven then.",
                "Throw it away",
                lambda: actions.remove(letter),
            )


async def _all(actions: Actions, letters: list[Dead]) -> str:
    for letter in letters:
        await actions.redrive(letter)
    return f"{len(letters)} dead letters are tried again"
