"""Plays the seconds under the cursor, or shows the command that does."""

import shlex
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from tui.actions import Actions
from tui.player import Excerpt
from v2t_stream.text import one_line, without_secrets
from v2t_stream.units import clock


class Play(ModalScreen[bool]):
    """Returns whether to play it here, which the user decides once."""

    AUTO_FOCUS = "#copy"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", "back"),
        Binding("c", "copy", "copy the command"),
        Binding("p", "play", "play here"),
    ]

    def __init__(self, excerpt: Excerpt, command: str, why_not: str) -> None:
        """`why_not`: why it cannot be played here; empty if it can."""
        super().__init__()
        self._excerpt = excerpt
        self._command = command
        self._why_not = why_not

    def compose(self) -> ComposeResult:
        job, start, end = self._excerpt
        with Vertical(classes="dialog"):
            title = one_line(job.title, 60) or job.id
            yield Static(Content(f"{clock(start)} to {clock(end)} of {title}. {self._why_not or _OFFER}"))
            yield Static(Content(self._command), id="command")
            with Horizontal(classes="buttons"):
                yield Button("Back (esc)", id="no", compact=True)
                yield Button("Copy the command (c)", id="copy", compact=True)
                if not self._why_not:
                    yield Button("Play here (p)", id="yes", variant="primary", compact=True)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002  # Textual's
        return action != "play" or not self._why_not

    def on_button_pressed(self, event: Button.Pressed) -> None:
        match event.button.id:
            case "yes":
                self.action_play()
            case "copy":
                self.action_copy()
            case _:
                self.dismiss()

    def action_copy(self) -> None:
        self.app.copy_to_clipboard(self._command)
        self.notify("copied the command")
        self.dismiss()

    def action_play(self) -> None:
        self.dismiss(True)  # noqa: FBT003  # the answer of the screen


_OFFER = "To play it here, the monitor fetches the media, once for each job; from then on p plays at once."


async def command_of(excerpt: Excerpt, actions: Actions) -> tuple[str, str]:
    """The command that plays it, and why it cannot be played from the store; empty if it can. Raises V2TError."""
    job = excerpt.job
    if await actions.has_media(job):
        media = f"v2t job media {shlex.quote(job.id)}"
        return f"{media} | {excerpt.command('cache:pipe:0')}", ""
    if job.source.startswith(("http://", "https://")):
        url = f'"$(yt-dlp -g -f ba/b {shlex.quote(without_secrets(job.source))})"'
        return excerpt.command(url), "The media is no longer stored, but this plays it from where it came:"
    return "", "The media is no longer stored."
