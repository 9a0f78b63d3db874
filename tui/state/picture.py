"""All jobs as the monitor shows them: each is a `Job`, the same fold as everywhere, without its words."""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from tui.state.rows import Row, Tab, row
from v2t_stream.broker.requests import Stored
from v2t_stream.jobs.progress import is_queued
from v2t_stream.jobs.state import Job
from v2t_stream.monitoring.waiting import order
from v2t_stream.topology.ids import place_of
from v2t_stream.topology.subjects import job_of

_Order = tuple[str, tuple[int, str]]


class Picture:
    """Takes facts, keeps the rows they change, and knows whose chunks have to be read.

    Chunks are most of what the stream holds, and they matter only for jobs that are not completed. So the history is
    read without chunks first, then the chunks of those few jobs.
    """

    def __init__(self) -> None:
        self.caught_up = False  # whether the history has been read
        self._jobs: dict[str, Job] = {}
        self._rows: dict[str, dict[str, Row]] = defaultdict(dict)  # by list (empty: no list), then by id
        self._changed: dict[str, Job] = {}
        self._counted: set[str] = set()  # jobs whose chunks are all counted here
        self._uncounted: dict[str, Job] = {}
        self._unfinished: dict[str, _Order] = {}  # by id; entries of lists are not in it
        self._order: list[_Order] = []  # the same in order

    def job(self, id: str) -> Job | None:  # noqa: A002  # as in Job
        parent, place = place_of(id)
        job = self._jobs.get(parent)
        return job.children.get(place) if job and place else job

    def apply(self, facts: Iterable[Stored | None]) -> None:
        """Take facts as they are watched: None marks the end of the history."""
        for fact in facts:
            if fact is None:
                self.caught_up = True
                continue
            id_ = job_of(fact.subject)
            parent, place = place_of(id_)
            top = self._jobs.get(parent)
            if top is None:
                top = self._jobs[parent] = Job(parent, words=False)
            is_new = place not in top.children if place else not top.sequences
            top.apply(fact)
            job = top.children[place] if place else top
            if is_new and self.caught_up:
                self._counted.add(id_)  # all its facts come through here
            self._changed[id_] = job
            if place:
                self._changed[parent] = top

    def refresh(self) -> bool:
        """Make the changed rows anew; returns whether there were any."""
        changed, self._changed = self._changed, {}
        for id_, job in changed.items():
            if job.completed:
                job.forget_chunks()
                self._counted.discard(id_)
                self._uncounted.pop(id_, None)
            elif job.downloaded and id_ not in self._counted:
                self._uncounted[id_] = job
            parent, place = place_of(id_)
            if not place:
                self._note_unfinished(job)
            rows = self._rows[parent if place else ""]
            if job.removed:
                rows.pop(id_, None)
            elif job.sequences or job.children:
                rows[id_] = row(job)
        return bool(changed)

    def _note_unfinished(self, job: Job) -> None:
        self._order.clear()
        if job.ended or job.removed:
            self._unfinished.pop(job.id, None)
        elif job.id not in self._unfinished:
            self._unfinished[job.id] = order(job.id)

    def ahead(self, job: Job) -> int:
        """How many unfinished jobs were submitted before one that is still in the queue, as `waiting.ahead` counts."""
        if not is_queued(job):
            return 0
        if not self._order:
            self._order = sorted(self._unfinished.values())
        epoch, at = order(job.id)
        return bisect_left(self._order, (epoch, at)) - bisect_left(self._order, (epoch, (0, "")))

    def uncounted(self) -> list[str]:
        """The jobs whose chunks have to be read now; names each once."""
        found, self._uncounted = list(self._uncounted), {}
        self._counted.update(found)
        return found

    def rows(self, parent: str = "") -> Iterable[Row]:
        """The rows of all jobs, or of the entries of one list."""
        return self._rows[parent].values() if parent in self._rows else ()

    def row(self, parent: str, id: str) -> Row | None:  # noqa: A002  # as in Job
        return self._rows[parent].get(id) if parent in self._rows else None

    def counts(self, parent: str = "") -> Counter[Tab]:
        counts: Counter[Tab] = Counter(row.tab for row in self.rows(parent))
        counts["all"] = counts.total()
        return counts

    def running(self) -> Iterator[Job]:
        """The jobs that have not ended: entries of lists too, but not lists."""
        for rows in self._rows.values():
            for each in rows.values():
                if each.tab in ("queued", "running") and not each.length and (job := self.job(each.id)):
                    yield job
