"""One job: its words as they come, which node does what, and how long each stage took."""

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
from tui.screens.desk import Desk
from tui.screens.export import Export
from tui.state.entries import Words
from tui.state.timeline import stretches
from tui.widgets.look import look
from tui.widgets.search import SearchLine
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
from v2t_stream.topology.subjects import run_of


class DetailScreen(MonitorScreen):
    """Watches the facts of its job itself: those of the table come without words."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "back"),
        Binding("slash", "search", "search", key_display="/"),
        Binding("n", "next(1)", "next", show=False),
        Binding("N", "next(-1)", "previous", show=False),
        Binding("g", "gap", "next gap"),
        Binding("y", "copy", "copy the line", show=False),
        Binding("Y", "copy_all", "copy all", show=False),
        Binding("e", "export", "export"),
        Binding("c", "cancel", "cancel"),
        Binding("r", "retry", "retry"),
        Binding("m", "model", "redo with another model", show=False),
    ]

    def __init__(self, desk: Desk, job: str) -> None:
        super().__init__(desk)
        self._job = Job(job)
        self._before: Job | None = None  # an earlier job that had already done the same
        self._words = Words()
        self._caught_up = False
        self._caveats: list[str] = []  # of what is shown

    @property
    def job(self) -> Job:
        """The job whose words are shown: if an earlier job had done the same, that one."""
        return self._before or self._job

    def body(self) -> Iterator[Widget]:
        yield Static(id="head")
        yield Static(id="caveats")
        yield Timeline(id="timeline")
        yield SearchLine("search the transcript", id="search")
        yield Transcript()

    def on_mount(self) -> None:
        self.query_one(Transcript).focus()
        self._watch(self._job.id)

    @work
    async def _watch(self, job: str) -> None:
        if not self.known.connection:
            return
        try:
            await feed.one_job(self.known.connection, self.post_message, job)
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
        self.known.touch()

    def _lacks(self) -> list[str]:
        """What the transcript lacks, in sentences; in brief if the facts of the job that made it are gone."""
        if self.job.completed and self.job.is_whole:
            return caveats(assemble(self.job))
        return shortfalls(self._job)

    # -- what is drawn

    def draw_body(self) -> None:
        working = _working(self.job, self.known.around.nodes)
        found = stretches(self.job, working)
        colours = self._colours(working)
        self.put("#head", self._head(), layout=True)
        self.put("#caveats", Text("\n".join(self._caveats), look(self.app).warn), layout=True)
        self.show("#caveats", bool(self._caveats))
        self.show("#timeline", bool(found))
        timeline = self.query_one(Timeline)
        done = Counter(chunk.node for chunk in self.job.chunks.values() if not chunk.error)
        timeline.show(found, self.job.duration or self.job.decoded, colours, done)
        transcript = self.query_one(Transcript)
        transcript.colours = colours
        if self._caught_up:
            transcript.show(self._words.entries(self.job, found), growing=not self.job.ended)

    def _colours(self, working: Mapping[int, str]) -> dict[str, Style]:
        """By node, in the order of their first results, so that every monitor shows the same colours."""
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
        head.append("\n" + ("  ·  ".join(self._timings()) or "nothing done yet"), styles.dim)
        if job.reason:
            head.append("\n" + one_line(job.reason), styles.bad)
        elif hindrance := warning(job, self.known.around.nodes):
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
            yield f"total {job.ended_at - job.started_at:.1f} s"

    # -- what the keys do

    def offers(self) -> Mapping[str, bool]:
        job = self._job
        return {
            "cancel": not job.ended and bool(job.sequences),
            "retry": job.state == "failed" or (job.ended and bool(job.gaps)) or self._missing is not None,
            "gap": bool(self.job.gaps or self.job.unheard),
        }

    @property
    def _missing(self) -> int | None:
        """The chunk under the cursor, if words are missing there."""
        current = self.query_one(Transcript).current
        return current.chunk if current and current.is_missing else None

    def on_transcript_moved(self) -> None:
        self.offer_keys()

    def action_back(self) -> None:
        if self.query_one(SearchLine).close():
            self.query_one(Transcript).focus()
        else:
            self.app.pop_screen()

    def action_search(self) -> None:
        self.query_one(SearchLine).open()

    def on_input_changed(self, event: Input.Changed) -> None:
        found = self.query_one(Transcript).search(event.value)
        event.input.border_subtitle = f"{found} found" if event.value else ""

    def on_input_submitted(self) -> None:
        self.query_one(Transcript).focus()

    def action_next(self, step: int) -> None:
        self.query_one(Transcript).step(step)

    def action_gap(self) -> None:
        self.query_one(Transcript).step_gap()

    def action_copy(self) -> None:
        if current := self.query_one(Transcript).current:
            self.app.copy_to_clipboard(current.text)
            self.notify("copied the line")

    def action_copy_all(self) -> None:
        said = [entry.text for entry in self.query_one(Transcript).all_entries if entry.is_said]
        self.app.copy_to_clipboard("\n".join(said))
        self.notify(f"copied {len(said)} lines")

    def action_export(self) -> None:
        if self.desk.ready():
            self.app.push_screen(Export(self.desk, self._job))

    def action_cancel(self) -> None:
        self.desk.cancel(self._job.id, self._job.title or self._job.id)

    def action_retry(self) -> None:
        """Retry the chunk under the cursor if words are missing there, otherwise all that failed."""
        if actions := self.desk.ready():
            self.desk.do(actions.retry(self.job.id, chunk=self._missing))

    def action_model(self) -> None:
        job = self._job
        if self.desk.ready():
            self.app.push_screen(Ask(job.title or job.id), functools.partial(self.desk.retry_by, job.id))


def _working(job: Job, nodes: Iterable[NodeInfo]) -> dict[int, str]:
    """Which chunks of the job are in progress, and on which node."""
    found = {}
    for info in nodes:
        for subject in info.working:
            match subject.split("."):
                case ["v2t", "chunk", _, job.id, n, *_] if n.isdecimal() and run_of(subject) == job.run:
                    found[int(n)] = info.node
    return found
