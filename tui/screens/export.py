"""Writes a transcript to a file; in a browser it becomes a download."""

import io
import re
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Button, Input, Label, RadioSet, Static

from tui.actions import Actions
from tui.screens.desk import Desk
from tui.screens.dialog import Dialog
from tui.widgets.ticks import Choice
from v2t_stream.errors import SettingsError
from v2t_stream.jobs.formats import FORMATS
from v2t_stream.jobs.state import Job
from v2t_stream.text import one_line

_UNFIT = re.compile(r"[^\w .,()\[\]+=@-]+")  # for a file's name on some system


class Export(Dialog[None]):
    AUTO_FOCUS = "#file"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss", "back")]

    def __init__(self, desk: Desk, job: Job) -> None:
        super().__init__()
        self._desk = desk
        self._job = job
        self._format = "srt"

    def compose(self) -> ComposeResult:
        title = one_line(self._job.title, 60) or self._job.id
        with Vertical(classes="dialog"):
            yield Static(Content(f"Write the transcript of {title}" + self._so_far()))
            with RadioSet(compact=True):
                for name in FORMATS:
                    yield Choice(name, value=name == self._format, name=name, compact=True)
            with Horizontal(classes="field"):
                yield Label("file")
                yield Input(self._proposal(), id="file", compact=True)
            yield Static(id="wrong")
            with Horizontal(classes="buttons"):
                yield Button("Back (esc)", id="no", compact=True)
                yield Button("Write (enter)", id="yes", variant="primary", compact=True)

    def _so_far(self) -> str:
        return "" if self._job.ended else ", as far as it goes"

    def _proposal(self) -> str:
        stem = _UNFIT.sub("_", Path(one_line(self._job.title)).stem if self._job.submitted else "").strip(" .")[:80]
        return f"{stem or self._job.id}.{self._format}"

    def on_radio_set_changed(self, event: RadioSet.Changed) -> None:
        field = self.query_one("#file", Input)
        self._format = event.pressed.name or self._format
        field.value = str(Path(field.value).with_suffix(f".{self._format}")) if field.value else self._proposal()

    def filled_in(self) -> Path:
        return Path(self.query_one("#file", Input).value.strip()).expanduser()

    def decide(self) -> None:
        path = self.filled_in()
        if not path.name:
            self.say("enter the name of a file")
        elif path.exists() and not self.app.is_web and not self.repeats:
            self.say(f"{path} exists: press enter again to overwrite it")
        else:
            if actions := self._desk.actions:
                self._desk.do(self._written(actions, path))
            self.dismiss()

    async def _written(self, actions: Actions, path: Path) -> str:
        app = self.app  # the dialog is closed by the time the text is here
        text = await actions.transcript(self._job.id, self._format)
        if app.is_web:
            app.deliver_text(io.StringIO(text), save_filename=path.name)
            return f"downloading {path.name}"
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise SettingsError(f"{path} cannot be written ({error.strerror}): choose another file") from error
        return f"wrote {path.resolve()}"
