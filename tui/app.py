"""The monitor: joins a broker, keeps the picture up to date, and shows it on the screen that is open."""

import asyncio
import contextlib
import functools
import gc
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import ClassVar, Final

import click
from textual import work
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen

from tui import feed
from tui.actions import Actions
from tui.feed import Around, Away, Facts, Looked
from tui.screens.base import MonitorScreen
from tui.screens.confirm import Confirm
from tui.screens.fleet import FleetScreen
from tui.screens.help import Help, own_keys
from tui.screens.jobs import JobsScreen
from tui.screens.offer import Offer
from tui.screens.submit import Submit
from tui.state.nodes import Nodes
from tui.state.picture import Picture
from tui.widgets.look import DARK, LIGHT
from v2t_stream.broker.connection import Connection, connect
from v2t_stream.broker.embedded import find_running
from v2t_stream.broker.login import Login
from v2t_stream.errors import BrokerError, SettingsError, StoreChanged, V2TError
from v2t_stream.runtime.session import session
from v2t_stream.settings import Settings
from v2t_stream.text import one_line
from v2t_stream.topology.streams import INBOX

_FRAME: Final = 0.1  # seconds between two pictures
_AGES: Final = 10  # pictures after which all is drawn again, as times go on by themselves
_WHILE_READING: Final = 5  # so many times fewer pictures
_REJOIN: Final = 1.0  # seconds
_PROMPTLY: Final = 3.0  # seconds in which it ends without a word why it takes longer


class Monitor(App[None]):
    """Only reads facts and asks for actions: any number of them can watch one broker, from anywhere."""

    TITLE = "v2t"
    CSS_PATH = Path(__file__).parent / "monitor.tcss"
    MODES = {"jobs": JobsScreen, "fleet": FleetScreen}  # noqa: RUF012  # as App declares it
    DEFAULT_MODE = "jobs"
    COMMAND_PALETTE_BINDING = "ctrl+p"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("1", "mode('jobs')", "jobs", show=False),
        Binding("2", "mode('fleet')", "fleet", show=False),
        Binding("s", "submit", "submit", show=False),
        Binding("question_mark", "help", "help", key_display="?"),
        Binding("T", "toggle_theme", "light or dark", show=False),
        Binding("q", "quit", "quit"),
    ]

    def __init__(self, settings: Settings, *, debug: bool = False) -> None:
        """`debug`: show the traceback of a bug where it ends the monitor."""
        super().__init__()
        self._shows_bugs = debug
        self.settings = settings
        self.picture = Picture()
        self.around = Around()
        self.nodes = Nodes()
        self.away = ""  # why the broker does not answer
        self.seen_at = 0.0  # when it last did, by our own clock
        self.actions: Actions | None = None  # None until a broker was joined
        self.connection: Connection | None = None
        self._changed = asyncio.Event()  # what is around, by something the user did
        self._frames = 0
        self._dirty = False
        for theme in (DARK, LIGHT):
            self.register_theme(theme)
        self.theme = os.environ.get("TEXTUAL_THEME") or DARK.name

    @property
    def failure(self) -> Exception | None:
        """The bug that ended it."""
        return self._exception

    def _fatal_error(self) -> None:
        """Leave it to the command to say in a sentence what happened, as it does of any other bug."""
        if self._shows_bugs:
            super()._fatal_error()
        else:
            self._close_messages_no_wait()

    @property
    def where(self) -> str:
        """The broker's address."""
        if self.connection:
            return self.connection.url
        return "…"

    @property
    def now(self) -> float:
        """Unix seconds by the server's clock, as in all facts."""
        return time.time() + self.around.ahead

    def seconds_since(self, at: float) -> float:
        """`at`: by the monotonic clock."""
        return time.monotonic() - at

    def on_mount(self) -> None:
        self.set_interval(_FRAME, self._draw)
        self.join()

    async def on_unmount(self) -> None:
        """Wait for the workers, which are cancelled by now: one may have stages to stop, and then their broker."""
        ending = [asyncio.create_task(worker.wait()) for worker in self.workers]
        if ending and (await asyncio.wait(ending, timeout=_PROMPTLY))[1] and not (self.is_headless or self.is_web):
            click.echo("the stages here finish what they have in hand, for 20 s at most; Ctrl-C leaves now", err=True)
        await asyncio.gather(*ending, return_exceptions=True)

    def join(self) -> None:
        """Find a broker, or offer one."""
        if self.settings.nats_url or find_running(self.settings.home):
            self.stay_joined(start=False)
        else:
            self.push_screen(Offer(str(self.settings.home)), self._offered)

    def _offered(self, accepted: bool | None) -> None:  # noqa: FBT001  # as a screen gives it
        if accepted:
            self.notify("the broker and the five stages start on this machine, and end with this monitor")
            self.stay_joined(start=True)
        else:
            self.exit()

    # -- workers: they read and post

    @work(exclusive=True, group="join")
    async def stay_joined(self, *, start: bool) -> None:
        """Watch the broker, and join it again whenever it is lost for good."""
        while True:
            try:
                async with self._broker(start=start) as connection:
                    await connection.hold_to(INBOX)
                    self.connection, self.actions = connection, Actions(connection, self.settings)
                    self.picture = Picture()
                    await feed.together(
                        feed.all_jobs(connection, self.post_message),
                        feed.look_around(connection, self.post_message, self._changed),
                        connection.watch_store(),
                    )
            except StoreChanged:
                self.notify("the broker is back with other streams: this is what it knows now", severity="warning")
            except (BrokerError, SettingsError) as error:
                self.post_message(Away(str(error)))
            await asyncio.sleep(_REJOIN)

    @contextlib.asynccontextmanager
    async def _broker(self, *, start: bool) -> AsyncGenerator[Connection]:
        if self.settings.nats_url:
            name = f"v2t tui on {self.settings.node}"
            async with await connect(self.settings.nats_url, name=name, login=Login.of(self.settings)) as connection:
                yield connection
            return
        async with session(self.settings, work=start) as pipeline:
            yield pipeline.connection

    @work(group="count")
    async def _count(self, connection: Connection, jobs: list[str]) -> None:
        """Read the chunks of these jobs."""
        while connection is self.connection:
            try:
                await feed.chunks_of(connection, self.post_message, jobs)
            except BrokerError:
                await asyncio.sleep(_REJOIN)
            else:
                return

    @work(group="actions")
    async def act(self, action: Awaitable[str]) -> None:
        """Do something for the user, and say how it went."""
        try:
            said = await action
        except V2TError as error:
            self.notify(one_line(str(error)), severity="error", timeout=10, markup=False)
        else:
            self.notify(one_line(said), markup=False)
            self._changed.set()

    # -- handlers: they own the state

    def on_facts(self, message: Facts) -> None:
        self.picture.apply(message.stored)
        message.taken.set()
        if None in message.stored:
            gc.collect()
            gc.freeze()  # the history stays: to look through all of it again and again would hold up the keyboard
        self._dirty = True

    def on_looked(self, message: Looked) -> None:
        self.around = message.around
        self.nodes.look(message.around.nodes, time.monotonic())
        self.away = ""
        self.seen_at = time.time()
        self._dirty = True

    def on_away(self, message: Away) -> None:
        self.away = message.reason
        self._dirty = True

    def touch(self) -> None:
        """Have the next picture drawn."""
        self._dirty = True

    def _draw(self) -> None:
        self._frames += 1
        # While the history is read, reading is worth more than showing how far it is.
        every = 1 if self.picture.caught_up else _WHILE_READING
        if (not self._dirty and self._frames % _AGES) or self._frames % every:
            return
        self._dirty = False
        self.picture.refresh()
        if self.picture.caught_up and self.connection and (jobs := self.picture.uncounted()):
            self._count(self.connection, jobs)
        screen = self.screen
        if isinstance(screen, MonitorScreen):
            screen.draw()

    # -- what the keys ask for

    def ready(self) -> Actions | None:
        """The actions; None, and a word to the user, where there is no broker to do them."""
        if self.actions is None:
            self.notify("no broker is joined yet", severity="warning")
        return self.actions

    def confirm(self, question: str, answer: str, action: Callable[[], Awaitable[str]]) -> None:
        """Do what destroys something once the user has said yes."""

        def decided(yes: bool | None) -> None:  # noqa: FBT001  # as a screen gives it
            if yes:
                self.act(action())

        self.push_screen(Confirm(question, answer), decided)

    def retry_by(self, job: str, model: str | None) -> None:
        """Do a job again by another model, where one was named."""
        if model and self.actions:
            self.act(self.actions.retry(job, model=model))

    def action_mode(self, mode: str) -> None:
        self.switch_mode(mode)

    def action_submit(self) -> None:
        if self.ready():
            self.push_screen(Submit(files=not self.is_web))

    def action_help(self) -> None:
        self.push_screen(Help(self.screen))

    def action_toggle_theme(self) -> None:
        self.theme = LIGHT.name if self.current_theme.dark else DARK.name

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        yield SystemCommand("Jobs", "The table of jobs", lambda: self.action_mode("jobs"))
        yield SystemCommand("Fleet", "Nodes, queues and dead letters", lambda: self.action_mode("fleet"))
        yield SystemCommand("Submit", "Send links or files to be transcribed", self.action_submit)
        ours = {binding.description for binding in own_keys(screen)}
        for active in screen.active_bindings.values():
            if active.node is screen and active.enabled and active.binding.description in ours:
                run = functools.partial(self.run_action, active.binding.action, screen)
                yield SystemCommand(active.binding.description.capitalize(), "on this screen", run)
        yield SystemCommand("Light or dark", "The other of the two themes", self.action_toggle_theme)
        yield SystemCommand("Help", "All keys", self.action_help)
        yield SystemCommand("Quit", "The jobs go on without the monitor", self.action_quit)

    @property
    def seen(self) -> str:
        """The time of the picture that is shown, for when the broker is away."""
        return datetime.fromtimestamp(self.seen_at).astimezone().strftime("%H:%M:%S") if self.seen_at else ""
