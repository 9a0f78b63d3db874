"""One job: its words as they come, which node does what, and how long each stage took."""

import functools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import ClassVar

from rich.style import Style
from textual import work
from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import Input, Static

from tui import feed
from tui.feed import Facts
from tui.player import Excerpt
from tui.screens.ask import Ask
from tui.screens.base import MonitorScreen
from tui.screens.desk import Desk
from tui.screens.export import Export
from tui.screens.head import Spoken, head, remarks
from tui.state.entries import Words
from tui.state.speakers import Speakers
from tui.state.timeline import marks, stretches
from tui.widgets.look import look
from tui.widgets.search import SearchLine
from tui.widgets.strip import Timeline
from tui.widgets.transcript import Transcript
from v2t_stream.errors import BrokerError
from v2t_stream.fleet.presence import NodeInfo
from v2t_stream.jobs.assembly import assemble
from v2t_stream.jobs.caveats import caveats
from v2t_stream.jobs.progress import shortfalls
from v2t_stream.jobs.state import Job
from v2t_stream.topology.subjects import run_of


class DetailScreen(MonitorScreen):
    """Watches the facts of its job itself: those of the table come without words."""

    AUTO_FOCUS = "Transcript"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "back"),
        Binding("slash", "search", "search", key_display="/"),
        Binding("n", "next(1)", "next", show=False),
        Binding("N", "next(-1)", "previous", show=False),
        Binding("g", "gap", "next gap"),
        Binding("y", "copy", "copy the line", show=False),
        Binding("Y", "copy_all", "copy all", show=False),
        Binding("e", "export", "export"),
        Binding("p", "play", "play"),
        Binding("c", "cancel", "cancel"),
        Binding("r", "retry", "retry"),
        Binding("m", "model", "redo with another model", show=False),
    ]

    def __init__(self, desk: Desk, job: str) -> None:
        super().__init__(desk)
        self._job = Job(job)
        self._before: Job | None = None  # an earlier job that had already done the same
        self._words = Words()
        self._speakers = Speakers()
        self._caught_up = False
        self._caveats: list[str] = []  # of what is shown

    @property
    def job(self) -> Job:
        """The job whose words are shown: if an earlier job had done the same, that one."""
        return self._before or self._job

    def body(self) -> Iterator[Widget]:
        yield Static(id="head")
        yield Static(id="remarks")
        yield Timeline(id="timeline")
        yield SearchLine("search the transcript", id="search")
        yield Transcript()

    def on_mount(self) -> None:
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
            return caveats(assemble(self.job, who=False))
        return shortfalls(self._job)

    # -- what is drawn

    def draw_body(self) -> None:
        working = _working(self.job, self.known.around.nodes)
        found = stretches(self.job, working)
        colours = self._colours(working)
        styles = look(self.app)
        names = self._names()
        voices = _by_name(names.values(), styles.speakers)
        said_by = self._speakers.said
        spoken = [Spoken(name, said_by.seconds[label], voices[name]) for label, name in names.items()]
        self.put("#head", head(self._job, self.job, spoken, styles), layout=True)
        said = remarks(self._job, None if self._job.ended else self.known.hold(self._job), self._caveats, styles)
        self.put("#remarks", said, layout=True)
        self.show("#remarks", bool(said))
        self.show("#timeline", bool(found))
        timeline = self.query_one(Timeline)
        done = Counter(chunk.node for chunk in self.job.chunks.values() if not chunk.error)
        declared = self.job.truncated.declared if self.job.truncated else 0.0
        duration = max(declared, self.job.duration or self.job.decoded)
        timeline.show([*found, *marks(self.job)], duration, colours, done)
        transcript = self.query_one(Transcript)
        transcript.colours, transcript.voices = colours, voices
        if self._caught_up:
            entries = self._words.entries(self.job, found, said_by, names)
            transcript.show(entries, growing=not self.job.ended)
            self._tell_matches()
            if self._speakers.is_due(self.job):
                self._match()

    def _names(self) -> Mapping[str, str]:
        """Of the speakers, by label."""
        known = self._job.named or self.job.named
        return self._speakers.names(known.people if known else ())

    @work
    async def _match(self) -> None:
        await self._speakers.match(self.job)
        self.known.touch()

    def _colours(self, working: Mapping[int, str]) -> dict[str, Style]:
        """By node, in the order of their first results, so that every monitor shows the same colours."""
        nodes = [chunk.node for chunk in self.job.chunks.values() if chunk.node]
        return _by_name([*nodes, *sorted(working.values())], look(self.app).nodes)

    # -- what the keys do

    def offers(self) -> Mapping[str, bool]:
        job = self._job
        return {
            "cancel": not job.ended and bool(job.sequences),
            "retry": job.state == "failed" or (job.ended and bool(job.gaps)) or self._missing is not None,
            "gap": bool(self.job.gaps or self.job.unheard),
            "play": self._with_media is not None and self.query_one(Transcript).current is not None,
            **dict.fromkeys(("export", "copy", "copy_all", "search", "next"), self._has_words),
        }

    @property
    def _with_media(self) -> Job | None:
        return next((job for job in (self._job, self.job) if job.downloaded), None)

    @property
    def _has_words(self) -> bool:
        return any(chunk.segments for chunk in self.job.chunks.values())

    @property
    def _missing(self) -> int | None:
        """The chunk under the cursor, if words are missing there."""
        current = self.query_one(Transcript).current
        return current.chunk if current and current.is_missing else None

    def on_transcript_moved(self) -> None:
        self.offer_keys()
        self._tell_matches()

    def action_back(self) -> None:
        if self.query_one(SearchLine).close():
            self.query_one(Transcript).focus()
        else:
            self.app.pop_screen()

    def action_search(self) -> None:
        self.query_one(SearchLine).open()

    def on_input_changed(self, event: Input.Changed) -> None:
        self.query_one(Transcript).search(event.value)
        self._tell_matches()

    def _tell_matches(self) -> None:
        at, found = self.query_one(Transcript).matches
        self.query_one(SearchLine).tell(f"{at} of {found}" if at else f"{found} found", any_=bool(found))

    def on_input_submitted(self) -> None:
        self.query_one(SearchLine).leave()
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

    def action_play(self) -> None:
        job, current = self._with_media, self.query_one(Transcript).current
        if job and current:
            self.desk.hear(Excerpt(job, current.start, current.end))

    def action_cancel(self) -> None:
        self.desk.cancel(self._job.id, self._job.title or self._job.id)

    def action_retry(self) -> None:
        """Retry the chunk under the cursor if words are missing there, otherwise all that failed."""
        if actions := self.desk.ready():
            self.desk.do(actions.retry(self.job.id, chunk=self._missing))

    async def action_model(self) -> None:
        job = self._job
        if self.desk.ready():
            await self.app.push_screen(Ask(job.title or job.id), functools.partial(self.desk.retry_by, job.id))


def _by_name(names: Iterable[str], palette: Sequence[Style]) -> dict[str, Style]:
    """A style for each name, in the order in which they first come."""
    return {name: palette[at % len(palette)] for at, name in enumerate(dict.fromkeys(names))}


def _working(job: Job, nodes: Iterable[NodeInfo]) -> dict[int, str]:
    """Which chunks of the job are in progress, and on which node."""
    found = {}
    for info in nodes:
        for subject in info.working:
            match subject.split("."):
                case ["v2t", "chunk", _, job.id, n, *_] if n.isdecimal() and run_of(subject) == job.run:
                    found[int(n)] = info.node
    return found
