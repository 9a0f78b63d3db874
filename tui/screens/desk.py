"""Where screens hand in what the user asks for."""

import asyncio
import functools
from collections.abc import Awaitable, Callable

from textual.app import App
from textual.worker import Worker

from tui.actions import Actions
from tui.screens.confirm import Confirm
from tui.state.known import Known
from v2t_stream.errors import V2TError
from v2t_stream.text import one_line


class Desk:
    """Does what is asked for, even if the screen is closed meanwhile, and tells the user how it went."""

    def __init__(self, app: App[None], known: Known) -> None:
        self.known = known
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
            self._app.notify(one_line(str(error)), severity="error", timeout=10, markup=False)
        else:
            self._app.notify(one_line(said), markup=False)
            self.acted.set()

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
                f"Cancel {what}{name}? Words that are done can still be read; the media is removed.",
                "Cancel the job",
                lambda: actions.cancel(job),
            )

    def retry_by(self, job: str, model: str | None) -> None:
        """Transcribe a job again with another model, if the user named one."""
        if model and self.actions:
            self.do(self.actions.retry(job, model=model))
