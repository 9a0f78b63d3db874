"""What the monitor knows of one broker."""

import time
from collections.abc import Sequence
from datetime import datetime

from tui.feed import Around
from tui.state.holds import Hold, hold
from tui.state.nodes import Nodes
from tui.state.picture import Picture
from v2t_stream.broker.connection import Connection
from v2t_stream.broker.requests import Stored
from v2t_stream.jobs.state import Job


class Known:
    """The app keeps it up to date, screens read it."""

    def __init__(self) -> None:
        self.picture = Picture()
        self.around = Around()
        self.nodes = Nodes()
        self.away = ""  # why the broker does not answer; empty while it does
        self.connection: Connection | None = None  # None until the first broker is joined
        self.is_new = False  # whether the screen shows less than this
        self._seen_at = 0.0  # when the broker last answered, in Unix seconds by our own clock

    def join(self, connection: Connection) -> None:
        """Start over with this broker."""
        self.connection = connection
        self.picture = Picture()

    def apply(self, facts: Sequence[Stored | None]) -> None:
        self.picture.apply(facts)
        self.is_new = True

    def look(self, around: Around) -> None:
        self.around = around
        self.nodes.look(around.nodes, time.monotonic())
        self.away = ""
        self._seen_at = time.time()
        self.is_new = True

    def lose(self, reason: str) -> None:
        self.away = reason
        self.is_new = True

    def touch(self) -> None:
        """Have the screen drawn again."""
        self.is_new = True

    def hold(self, job: Job) -> Hold | None:
        """What holds up a job that is not a list; None until the fleet has been seen."""
        return hold(job, self.around, self.picture.ahead(job)) if self._seen_at else None

    @property
    def where(self) -> str:
        """The broker's address."""
        return self.connection.url if self.connection else "…"

    @property
    def now(self) -> float:
        """Unix seconds by the server's clock, which all facts go by."""
        return time.time() + self.around.ahead

    @property
    def seen(self) -> str:
        """The time of the last answer; empty before the first."""
        return datetime.fromtimestamp(self._seen_at).astimezone().strftime("%H:%M:%S") if self._seen_at else ""

    def seconds_since(self, at: float) -> float:
        """`at`: by the monotonic clock."""
        return time.monotonic() - at
