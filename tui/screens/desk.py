"""Where screens hand in what the user asks for."""

import asyncio
import functools
from collections.abc import Awaitable, Callable

from textual.app import App
from textual.worker import Worker

from tui.actions import Actions
from tui.player import Excerpt, Player
from tui.screens.confirm import Confirm
from tui.screens.sound import Play, command_of
from tui.state.known import Known
from v2t_stream.errors import V2TError
from v2t_stream.text import one_line
from v2t_stream.units import clock


class Desk:
    """Does what is asked for, even if the screen is closed meanwhile, and tells the user how it went."""

    def __init__(self, app: App[None], known: Known, player: Player) -> None:
        self.known = known
        self.player = player
        self._plays = False  # whether the user wants to hear things here
        self.actions: Actions | None = None  # None until a broker is joined
        self.acted = asyncio.Event()  # set when an action has changed something on the broker
        self._app = app

    def ready(self) -> Actions | None:
        """The actions; without a broker None, and the user is told."""
        if self.actions is None:
            self._app.notify("not connected to a broker yet", severity="warning")
        return self.actions

    def do(self, action: Awaitable[str]) -> None:
        _: Worker[None] = self._app.run_worker(functools.partial(self._done, action), group="actions")

    async def _done(self, action: Awaitable[str]) -> None:
        try:
            said = await action
        except V2TError as error:
            self._complain(error)
        else:
            self._app.notify(one_line(said), markup=False)
            self.acted.set()

    def _complain(self, error: Exception) -> None:
        self._app.notify(one_line(str(error)), severity="error", timeout=10, markup=False)

    def confirm(self, question: str, answer: str, action: Callable[[], Awaitable[str]]) -> None:
        """Do something destructive once the user has said yes."""

        def decided(yes: bool | None) -> None:  # noqa: FBT001  # as a screen gives it
            if yes:
                self.do(action())

        self._app.push_screen(Confirm(question, answer), decided)

    def cancel(self, job: str, name: str, entries: int = 0) -> None:
        """Cancel a job, after a question; `entries`: how many a list has."""
        if actions := self.ready():
            what = f"all {entries} entries of " if entries else ""
            self.confirm(
                f"Cancel {what}{one_line(name, 60)}? Words that are done can still be read; the media is removed.",
                "Cancel the job",
                lambda: actions.cancel(job),
            )

    def retry_by(self, job: str, model: str | None) -> None:
        """Transcribe a job again with another model, if the user named one."""
        if model and self.actions:
            self.do(self.actions.retry(job, model=model))

    def hear(self, excerpt: Excerpt) -> None:
        """Play it, if the user wants that; or show the command that does."""
        if actions := self.ready():
            hearing = functools.partial(self._hear, excerpt, actions)
            _: Worker[None] = self._app.run_worker(hearing, group="sound", exclusive=True)

    async def _hear(self, excerpt: Excerpt, actions: Actions) -> None:
        try:
            if not self._plays and not await self._agreed(excerpt, actions):
                return
            self._plays = True
            self._app.notify(f"playing {clock(excerpt.start)} to {clock(excerpt.end)}")
            await self.player.play(excerpt, functools.partial(actions.media, excerpt.job))
        except (V2TError, OSError) as error:
            self._complain(error)

    async def _agreed(self, excerpt: Excerpt, actions: Actions) -> bool:
        command, why_not = await command_of(excerpt, actions)
        if not command:
            self._app.notify(why_not, severity="warning")
            return False
        agreed: bool = await self._app.push_screen_wait(Play(excerpt, command, why_not or self._why_silent))
        return agreed

    @property
    def _why_silent(self) -> str:
        """Why nothing can be heard here; empty if it can."""
        if self._app.is_web:
            return "The machine that serves this page would play it, not yours. This plays it where v2t is set up:"
        if not self.player.is_here:
            return "This machine has no ffplay, which comes with FFmpeg. This plays it elsewhere:"
        return ""
