"""The monitor: joins a broker, keeps what it knows up to date, and has the open screen show it."""

import asyncio
import contextlib
import functools
import gc
import os
from collections.abc import AsyncGenerator, Iterable
from pathlib import Path
from typing import ClassVar, Final

import click
from textual import events, work
from textual.app import SystemCommand
from textual.binding import Binding, BindingType
from textual.color import Color
from textual.screen import Screen
from textual.theme import Theme
from textual.widgets import Input, TextArea

from tui import feed
from tui.actions import Actions
from tui.bugs import EndsOnBug
from tui.feed import Away, Facts, Looked
from tui.player import Player
from tui.screens.base import MonitorScreen
from tui.screens.confirm import Offer
from tui.screens.desk import Desk
from tui.screens.fleet import FleetScreen
from tui.screens.help import Help, own_keys
from tui.screens.jobs import JobsScreen
from tui.screens.submit import Submit
from tui.state.known import Known
from tui.widgets.look import DARK, LIGHT
from v2t_stream.broker.connect import connect
from v2t_stream.broker.connection import Connection
from v2t_stream.broker.embedded import find_running
from v2t_stream.broker.login import Login
from v2t_stream.errors import BrokerError, SettingsError, StoreChanged
from v2t_stream.runtime.session import session
from v2t_stream.settings import Settings
from v2t_stream.topology.streams import INBOX

_FRAME: Final = 0.1  # seconds between two pictures
_AGES: Final = 10  # pictures after which all is drawn again even if nothing came: ages grow by themselves
_WHILE_READING: Final = 5  # while the history is read, one picture in so many is drawn
_REJOIN: Final = 1.0  # seconds
_PROMPTLY: Final = 3.0  # seconds that ending may take without an explanation


class Monitor(EndsOnBug):
    """Only reads facts and asks for actions, so any number of monitors can watch one broker, from anywhere."""

    TITLE = "v2t"
    CSS_PATH = Path(__file__).parent / "monitor.tcss"
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

    def __init__(self, settings: Settings, *, known: Known | None = None, debug: bool = False) -> None:
        """`debug`: end on a bug with its traceback."""
        super().__init__(debug=debug)
        self.settings = settings
        self.known = known or Known()
        self.desk = Desk(self, self.known, Player(settings.home))
        self._frames = 0
        self.add_mode("jobs", lambda: JobsScreen(self.desk))
        self.add_mode("fleet", lambda: FleetScreen(self.desk))
        for theme in (DARK, LIGHT):
            self.register_theme(theme)
        self.theme = os.environ.get("TEXTUAL_THEME") or DARK.name

    def on_mount(self) -> None:
        self.set_interval(_FRAME, self._draw)
        self.join()
        self.theme_changed_signal.subscribe(self, self._paint_page, immediate=True)
        self._paint_page(self.current_theme)

    def on_key(self, event: events.Key) -> None:
        """Give a field that has just opened what was typed ahead: those keys were on their way to what was below it."""
        if not event.is_printable or event.character is None:
            return
        match self.focused:
            case Input() as field:
                field.insert_text_at_cursor(event.character)
            case TextArea() as area:
                area.insert(event.character)
            case _:
                return
        event.prevent_default()

    def on_app_blur(self, event: events.AppBlur) -> None:
        """A page is never without the keyboard; Textual takes it away at the start, until the first key or click."""
        if self.is_web:
            event.prevent_default()

    def _paint_page(self, _: Theme) -> None:
        """Give the page around the terminal the colours of the theme: page.js reads them from the link."""
        if self.is_web:
            colours = (Color.parse(self.theme_variables[name]).hex6[1:] for name in ("background", "foreground"))
            self.open_url(f"#theme={','.join(colours).lower()}", new_tab=False)

    async def on_unmount(self) -> None:
        """Wait for the workers, which are cancelled by now: one may have to stop the stages here, then their broker."""
        ending = [asyncio.create_task(worker.wait()) for worker in self.workers]
        if ending and (await asyncio.wait(ending, timeout=_PROMPTLY))[1] and not (self.is_headless or self.is_web):
            click.echo("the stages here finish their current work, within 20 s; press Ctrl-C to leave now", err=True)
        await asyncio.gather(*ending, return_exceptions=True)
        self.desk.player.end()

    def join(self) -> None:
        """Find a broker, or offer one."""
        if self.settings.nats_url or find_running(self.settings.home):
            self.stay_joined(start=False)
        else:
            self.push_screen(Offer(str(self.settings.home)), self._offered)

    def _offered(self, accepted: bool | None) -> None:  # noqa: FBT001  # as a screen gives it
        if accepted:
            self.notify("starting a broker and all stages on this machine; they stop when this monitor ends")
            self.stay_joined(start=True)
        else:
            self.exit()

    # -- workers: they read and post

    @work(exclusive=True, group="join")
    async def stay_joined(self, *, start: bool) -> None:
        """Watch the broker, and join it again whenever the connection is lost for good."""
        while True:
            try:
                async with self._broker(start=start) as connection:
                    await connection.hold_to(INBOX)
                    self.known.join(connection)
                    self.desk.actions = Actions(connection, self.settings)
                    await feed.together(
                        feed.all_jobs(connection, self.post_message),
                        feed.look_around(connection, self.post_message, self.desk.acted),
                        connection.watch_store(),
                    )
            except StoreChanged:
                self.notify("the broker came back with other data, which is what you see now", severity="warning")
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
        async with session(self.settings, work=start, hand_over=True) as pipeline:
            yield pipeline.connection

    @work(group="count")
    async def _count(self, connection: Connection, jobs: list[str]) -> None:
        """Read the chunks of these jobs."""
        while connection is self.known.connection:
            try:
                await feed.chunks_of(connection, self.post_message, jobs)
            except BrokerError:
                await asyncio.sleep(_REJOIN)
            else:
                return

    # -- handlers: only they change what is known

    def on_facts(self, message: Facts) -> None:
        self.known.apply(message.stored)
        message.taken.set()
        if None in message.stored:
            gc.collect()
            gc.freeze()  # the history stays: searching all of it again and again would hold up the keyboard

    def on_looked(self, message: Looked) -> None:
        self.known.look(message.around)

    def on_away(self, message: Away) -> None:
        self.known.lose(message.reason)

    def _draw(self) -> None:
        self._frames += 1
        picture = self.known.picture
        # While the history is read, reading it matters more than showing how far it is.
        every = 1 if picture.caught_up else _WHILE_READING
        if (not self.known.is_new and self._frames % _AGES) or self._frames % every:
            return
        self.known.is_new = False
        picture.refresh()
        if picture.caught_up and self.known.connection and (jobs := picture.uncounted()):
            self._count(self.known.connection, jobs)
        screen = self.screen
        if isinstance(screen, MonitorScreen):
            screen.draw()

    # -- what the keys do

    def action_mode(self, mode: str) -> None:
        self.switch_mode(mode)

    async def action_submit(self) -> None:
        if self.desk.ready():
            await self.push_screen(Submit(self.desk, files=not self.is_web))

    def action_help(self) -> None:
        self.push_screen(Help(self.screen))

    def action_toggle_theme(self) -> None:
        self.theme = LIGHT.name if self.current_theme.dark else DARK.name

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        yield SystemCommand("Jobs", "The table of jobs", lambda: self.action_mode("jobs"))
        yield SystemCommand("Fleet", "Nodes, queues and dead letters", lambda: self.action_mode("fleet"))
        yield SystemCommand("Submit", "Send links or files to be transcribed", self.action_submit)
        ours = {binding.description for binding in own_keys(type(screen))}
        for active in screen.active_bindings.values():
            if active.node is screen and active.enabled and active.binding.description in ours:
                run = functools.partial(self.run_action, active.binding.action, screen)
                yield SystemCommand(active.binding.description.capitalize(), "On this screen", run)
        yield SystemCommand("Light or dark", "Switch to the other theme", self.action_toggle_theme)
        yield SystemCommand("Help", "All keys", self.action_help)
        yield SystemCommand("Quit", "Jobs go on without the monitor", self.action_quit)
