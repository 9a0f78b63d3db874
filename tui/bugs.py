"""What a bug in the monitor does: the one place that uses Textual's private interface.

Textual has no public way to learn which exception ended an app, or to keep its traceback off the terminal. The private
names `_exception`, `_fatal_error` and `_close_messages_no_wait` were read in Textual 8.2.8; pyproject.toml caps the
version.
"""

from textual.app import App


class EndsOnBug(App[None]):
    """Ends on a bug and leaves it to its caller to say so in a sentence; with `debug` it shows Textual's traceback."""

    def __init__(self, *, debug: bool) -> None:
        super().__init__()
        self._shows_bugs = debug

    @property
    def failure(self) -> Exception | None:
        """The bug that ended it."""
        return self._exception

    def _fatal_error(self) -> None:
        if self._shows_bugs:
            super()._fatal_error()
        else:
            self._close_messages_no_wait()
