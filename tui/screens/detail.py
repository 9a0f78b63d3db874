"""One job: its words as they come, who does what of it, and what each stage took."""

import functools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual import work
from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import Input, Static

from tui import feed
from tui.feed import Facts
from tui.screens.ask import Ask
from tui.screens.base import MonitorScreen
from tui.screens.export import Export
from tui.state.entries import Words
from tui.state.timeline import stretches
from tui.widgets.look import look
from tui.widgets.strip import Timeline
from tui.widgets.transcript import Transcript
from v2t_stream.errors import BrokerError
from v2t_stream.fleet.presence import NodeInfo
from v2t_stream.jobs.assembly import assemble
from v2t_stream.jobs.caveats import caveats
from v2t_stream.jobs.progress import describe, shortfalls
from v2t_stream.jobs.state import Job
from v2t_stream.monitoring.waiting import warning
from v2t_stream.text import one_line
from v2t_stream.topology.streams import run_of


class DetailScreen(MonitorScreen):
    """Watches the facts of its job for itself: the table's have no words."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "back"),
        Binding("slash", "search", "search", key_display="/"),
        Binding("n", "next(1)", "next", show=False),
        Binding("N", "next(-1)", "the one before", show=False),
        Binding("g", "gap", "next gap"),
        Binding("y", "copy", "copy the line", show=False),
        Binding("Y", "copy_all", "copy all", show=False),
        Binding("e", "export", "export"),
        Binding("c", "cancel", "cancel"),
        Binding("r", "retry", "retry"),
        Binding("m", "model", "by another model", show=False),
    ]

    def __init__(self, job: str) -> None:
        super().__init__()
        self._job = Job(job)
        self._before: Job | None = None  # which had done the same
        self._words = Words()
        self._can: tuple[bool, ...] = ()
        self._caught_up = False
        self._caveats: list[str] = []  # of what is shown

    @property
    def job(self) -> Job:
        """Whose words are shown: of a job that had nothing to do, those of the one before it."""
        return self._before or self._job

    def body(self) -> Iterator[Widget]:
        yield Static(id="head")
        yield Static(id="caveats")
        yield Timeline(id="timeline")
        yield Input(placeholder="search in the transcript", id="search", compact=True)
        yield Transcript()

    def on_mount(self) -> None:
        self.query_one("#search").display = False
        self.query_one(Transcript).focus()
        self._watch(self._job.id)

    @work
    async def _watch(self, job: str) -> None:
        while not self.monitor.connection:
            return
        try:
            await feed.one_job(self.monitor.connection, self.post_message, job)
        except BrokerError:
            self.set_timer(1.0, lambda: self._watch(job))

    def on_facts(self, message: Facts) -> None:
        job = self._job if message.origin == self._job.id else self._before
        for stored in message.stored:
            if stored is None:
                self._caught_up = True
            elif job:
                job.apply(stored)
        if self._before and self._job.completed:
            self._before.go_back_to(self._job.completed.transcript)
        message.taken.set()
        before = self._job.completed.of if self._job.completed else ""
        if before and self._before is None:
            self._before = Job(before)
            self._watch(before)
        elif not before:
            self._before = None
        self._caveats = self._lacks()
        self.monitor.touch()

    def _lacks(self) -> list[str]:
        """In sentences, once it has completed; in brief where the facts of the job that did it are gone."""
        if self.job.completed and self.job.is_whole:
            return caveats(assemble(self.job))
        return shortfalls(self._job)

    # -- what is drawn

    def draw_body(self) -> None:
        working = _working(self.job, self.monitor.around.nodes)
        found = stretches(self.job, working)
        colours = self._colours(working)
        self.tell("#head", self._head(), layout=True)
        self.tell("#caveats", Text("\n".join(self._caveats), look(self.app).warn), layout=True)
        self.show("#caveats", bool(self._caveats))
        self.show("#timeline", bool(found))
        timeline = self.query_one(Timeline)
        done = Counter(chunk.node for chunk in self.job.chunks.values() if not chunk.error)
        timeline.tell(found, self.job.duration or self.job.decoded, colours, done)
        transcript = self.query_one(Transcript)
        transcript.colours = colours
        if self._caught_up:
            transcript.show(self._words.entries(self.job, found), growing=not self.job.ended)
        self._offer_keys()

    def _colours(self, working: Mapping[int, str]) -> dict[str, Style]:
        """By node, in the order of their first results, which is the same for all who look."""
        palette = look(self.app).nodes
        nodes = [chunk.node for chunk in self.job.chunks.values() if chunk.node]
        names = dict.fromkeys([*nodes, *sorted(working.values())])
        return {name: palette[at % len(palette)] for at, name in enumerate(names)}

    def _head(self) -> Text:
        job, styles = self._job, look(self.app)
        head = Text(no_wrap=True, overflow="ellipsis")
        head.append(f"{job.state}  ", styles.of_state(job.state))
        head.append(one_line(job.title) or job.id, styles.bold)
        head.append(f"\n{job.id}  {one_line(job.source)}", styles.dim)
        head.append("\n" + "  ·  ".join(self._facts()), styles.plain)
        head.append("\n" + ("  ·  ".join(self._timings()) or "nothing is done yet"), styles.dim)
        if job.reason:
            head.append("\n" + one_line(job.reason), styles.bad)
        elif hindrance := warning(job, self.monitor.around.nodes):
            head.append("\n" + one_line(hindrance), styles.warn)
        return head

    def _facts(self) -> Iterator[str]:
        job = self._job
        _, how_far = describe(job)
        if how_far:
            yield one_line(how_far)
        language = (job.completed and job.completed.language) or (job.language and job.language.language)
        yield f"language {language or job.options.language or 'not known yet'}"
        if job.retries:
            yield f"retried {job.retries}x"

    def _timings(self) -> Iterator[str]:
        job = self.job
        if job.downloaded:
            yield f"download {job.downloaded.seconds:.1f} s"
        if job.converted:
            yield f"convert {job.converted.seconds:.1f} s"
        if done := [chunk for chunk in job.chunks.values() if not chunk.error]:
            yield f"engine {sum(chunk.seconds for chunk in done):.1f} s"
            yield one_line(", ".join(dict.fromkeys(f"{chunk.engine} {chunk.model}".strip() for chunk in done)), 80)
        if job.started_at and job.ended_at:
            yield f"in all {job.ended_at - job.started_at:.1f} s"

    # -- keys

    def _offer_keys(self) -> None:
        if (can := self._now()) != self._can:
            self._can = can
            self.refresh_bindings()

    def _now(self) -> tuple[bool, bool, bool]:
        """Whether the job can be cancelled, it or the chunk under the cursor retried, and there are gaps to go to."""
        job = self._job
        current = self.query_one(Transcript).current
        on_gap = bool(current and current.is_missing)
        retriable = job.state == "failed" or (job.ended and bool(job.gaps)) or on_gap
        return not job.ended and bool(job.sequences), retriable, bool(self.job.gaps or self.job.unheard)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if not super().check_action(action, parameters):
            return False
        can_cancel, can_retry, has_gaps = self._now()
        match action:
            case "cancel":
                return can_cancel
            case "retry":
                return can_retry
            case "gap":
                return has_gaps
        return True

    def on_transcript_moved(self) -> None:
        self._offer_keys()

    def action_back(self) -> None:
        field = self.query_one("#search", Input)
        if field.display:
            field.value = ""
            field.display = False
            self.query_one(Transcript).focus()
        else:
            self.app.pop_screen()

    def action_search(self) -> None:
        field = self.query_one("#search", Input)
        field.display = True
        field.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        found = self.query_one(Transcript).search(event.value)
        self.query_one("#search", Input).border_subtitle = f"{found} found" if event.value else ""

    def on_input_submitted(self) -> None:
        self.query_one(Transcript).focus()

    def action_next(self, step: int) -> None:
        self.query_one(Transcript).step(step)

    def action_gap(self) -> None:
        self.query_one(Transcript).step_gap()

    def action_copy(self) -> None:
        if current := self.query_one(Transcript).current:
            self.app.copy_to_clipboard(current.text)
            self.notify("the line is copied")

    def action_copy_all(self) -> None:
        said = [entry.text for entry in self.query_one(Transcript).all_entries if entry.is_said]
        self.app.copy_to_clipboard("\n".join(said))
        self.notify(f"{len(said)} lines are copied")

    def action_export(self) -> None:
        if self.monitor.ready():
            self.app.push_screen(Export(self._job))

    def action_cancel(self) -> None:
        actions = self.monitor.ready()
        if actions:
            self.monitor.confirm(
                f"Cancel {self._job.title or self._job.id}? What is done of it stays to be read, its media is removed.",
                "Cancel the job",
                lambda: actions.cancel(self._job.id),
            )

    def action_retry(self) -> None:
        """The chunk under the cursor where words are missing there; else all that failed."""
        actions = self.monitor.ready()
        current = self.query_one(Transcript).current
        if actions:
            chunk = current.chunk if current and current.is_missing else None
            self.monitor.act(actions.retry(self.job.id, chunk=chunk))

    def action_model(self) -> None:
        if self.monitor.ready():
            self.app.push_screen(
                Ask(f"Do {self._job.title or self._job.id} again by another model. The words there are now are lost."),
                functools.partial(self.monitor.retry_by, self._job.id),
            )


def _working(job: Job, nodes: Iterable[NodeInfo]) -> dict[int, str]:
    """Which chunk of the job is in work where."""
    found = {}
    for info in nodes:
        for subject in info.working:
            match subject.split("."):
                case ["v2t", "chunk", _, job.id, n, *_] if n.isdecimal() and run_of(subject) == job.run:
                    found[int(n)] = info.node
    return found
