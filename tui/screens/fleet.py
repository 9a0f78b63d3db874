"""Nodes, queues and dead letters, and what can be done about the latter two."""

from collections.abc import Iterator, Mapping
from typing import ClassVar, Final

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from tui.actions import Actions
from tui.screens import fleet_cells
from tui.screens.base import MonitorScreen
from tui.screens.desk import Desk
from tui.screens.detail import DetailScreen
from tui.screens.fleet_cells import dead_cell, node_cell, queue_cell
from tui.state.machines import Machine, machines
from tui.widgets.look import look
from tui.widgets.table import Table
from v2t_stream.jobs.dead_letters import Dead
from v2t_stream.monitoring.waiting import unserved
from v2t_stream.text import one_line
from v2t_stream.topology.queues import Queue

_LEAST: Final = 4  # lines that a table keeps, however little room there is


class FleetScreen(MonitorScreen):
    AUTO_FOCUS = "#nodes"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "app.focus_next", "next table"),
        Binding("p", "pause", "pause or resume"),
        Binding("r", "redrive", "retry"),
        Binding("R", "redrive_all", "retry all", show=False),
        Binding("x", "remove", "discard"),
    ]

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self._machines: dict[str, Machine] = {}
        self._queues: dict[str, Queue] = {}
        self._dead: dict[str, Dead] = {}

    def body(self) -> Iterator[Widget]:
        yield Table(
            fleet_cells.NODES,
            lambda key, column, width: node_cell(self._machines[key], column, width, self.known, look(self.app)),
            opens=False,
            id="nodes",
        )
        yield Table(
            fleet_cells.QUEUES,
            lambda key, column, _: queue_cell(self._queues[key], column, self.known, look(self.app)),
            opens=False,
            id="queues",
        )
        yield Table(
            fleet_cells.DEAD,
            lambda key, column, _: dead_cell(self._dead[key], column, self.known, look(self.app)),
            id="dead",
        )
        yield Static(id="note")

    def draw_body(self) -> None:
        around = self.known.around
        self._machines = {machine.key: machine for machine in machines(self.known.nodes.all())}
        self._queues = {queue.name: queue for queue in around.queues}
        self._dead = {str(letter.number): letter for letter in reversed(around.dead)}
        tables = [self.query_one(f"#{name}", Table) for name in ("nodes", "queues", "dead")]
        rows = [list(self._machines), list(self._queues), list(self._dead)]
        for table, keys in zip(tables, rows, strict=True):
            table.show(keys)
        self._share_room(tables, [len(keys) for keys in rows])
        self.put("#note", Content(self._note()))

    def _share_room(self, tables: list[Table], rows: list[int]) -> None:
        """Make each table as high as its rows; if there is too little room, the highest shrink."""
        room = self.size.height - 5
        wanted = [count + 1 for count in rows]
        while sum(wanted) > room and max(wanted) > _LEAST:
            wanted[wanted.index(max(wanted))] -= 1
        for table, height in zip(tables, wanted, strict=True):
            if table.styles.height is None or table.styles.height.value != height:
                table.styles.height = height

    def _note(self) -> str:
        """More about the row with the cursor."""
        table = self._focused_table
        key = table.selected if table else None
        if not table or key is None:
            return "no dead letters: nothing has been given up" if table and table.id == "dead" else ""
        match table.id:
            case "nodes":
                return self._machines[key].note
            case "queues":
                return _about_queue(self._queues[key], unserved(self._queues[key], self.known.around.nodes))
        return _about_letter(self._dead[key])

    # -- what the keys do

    @property
    def _focused_table(self) -> Table | None:
        return self.focused if isinstance(self.focused, Table) else None

    def _selected_in(self, id_: str) -> str:
        """The key of the row with the cursor; empty if the cursor is in another table."""
        table = self._focused_table
        return (table.selected or "") if table and table.id == id_ else ""

    @property
    def _queue(self) -> Queue | None:
        return self._queues.get(self._selected_in("queues"))

    @property
    def _letter(self) -> Dead | None:
        return self._dead.get(self._selected_in("dead"))

    def offers(self) -> Mapping[str, bool]:
        on_letter = self._letter is not None
        return {
            "pause": self._queue is not None,
            "redrive": on_letter,
            "redrive_all": on_letter,
            "remove": on_letter,
        }

    def on_table_moved(self) -> None:
        self.draw()

    def on_descendant_focus(self) -> None:
        self.draw()

    def on_table_opened(self, message: Table.Opened) -> None:
        if message.table.id == "dead":
            self.app.push_screen(DetailScreen(self.desk, self._dead[message.key].letter.job))

    def action_pause(self) -> None:
        queue, actions = self._queue, self.desk.ready()
        if queue and actions:
            self.desk.do(actions.pause_or_resume(queue))

    def action_redrive(self) -> None:
        letter, actions = self._letter, self.desk.ready()
        if letter and actions:
            self.desk.do(actions.redrive(letter))

    def action_redrive_all(self) -> None:
        letters, actions = list(self._dead.values()), self.desk.ready()
        if letters and actions:
            self.desk.confirm(f"Retry all {len(letters)} dead letters?", "Retry all", lambda: _all(actions, letters))

    def action_remove(self) -> None:
        letter, actions = self._letter, self.desk.ready()
        if letter and actions:
            self.desk.confirm(
                f"Discard dead letter {letter.number}? Its work stays undone, and it can no longer be retried.",
                "Discard it",
                lambda: actions.remove(letter),
            )


def _about_queue(queue: Queue, unserved_for: str) -> str:
    if queue.paused:
        return "paused: nobody takes anything from it"
    return unserved_for or f"{queue.pulling} pulls waiting for a message"


def _about_letter(dead: Dead) -> str:
    letter = dead.letter
    times = "once" if letter.deliveries == 1 else f"{letter.deliveries} times"
    return one_line(f"tried {times}, last on {letter.node}: {letter.reason}", 300)


async def _all(actions: Actions, letters: list[Dead]) -> str:
    for letter in letters:
        await actions.redrive(letter)
    return f"retrying {len(letters)} dead letters"
