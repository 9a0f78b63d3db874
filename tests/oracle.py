"""Checks jobs after faults by their facts and files: each must be as if nothing had happened."""

import re
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from schemas.events import ChunkDone, Done
from schemas.message import decode_as
from schemas.options import Options
from schemas.transcript import Gap, Transcript
from v2t_stream.broker.connection import Connection
from v2t_stream.jobs import previous
from v2t_stream.jobs.facts import Run
from v2t_stream.jobs.formats import FORMATS, render_all
from v2t_stream.jobs.lists import history
from v2t_stream.jobs.state import Job, fold_all
from v2t_stream.store.jetstream_store import JetStreamStore
from v2t_stream.topology.ids import folder
from v2t_stream.topology.streams import DONE, JOBS
from v2t_stream.topology.subjects import message_type

GIVEN_UP: Final = "crashed 3 times"
_MODEL: Final = re.compile(r"\bx\d+-signed\b")  # as the simulated engine says it in each sentence


class Recording(NamedTuple):
    """What people submit repeatedly: an uploaded file, or a link to it."""

    title: str
    path: Path
    is_link: bool = False


class Undisturbed(NamedTuple):
    """A recording's result with a model if nothing goes wrong."""

    transcript: Transcript
    chunks: dict[int, ChunkDone]


class Oracle:
    """Knows the right result for each of the `recordings` and each model, once it has learned it."""

    def __init__(self, connection: Connection, recordings: Iterable[Recording]) -> None:
        self._connection = connection
        self._store = JetStreamStore(connection)
        self._origins = {one.title: previous.of_content(previous.sha256(one.path)) for one in recordings}
        self._known: dict[tuple[str, str], Undisturbed] = {}
        self.compared = 0  # transcripts, in the latest look
        self.gaps = 0  # in those

    async def learn(self, job: Job) -> None:
        """Take the result of `job` as the right one for its recording and model."""
        assert job.state == "completed", job.reason
        assert job.options.model
        written = await self._written(f"transcripts/{job.id}/transcript")
        transcript = msgspec.json.decode(written["json"], type=Transcript)
        self._known[_title(job), job.options.model] = Undisturbed(transcript, job.chunks)
        assert {name: text.decode() for name, text in written.items()} == dict(render_all(transcript))

    async def jobs(self) -> dict[str, Job]:
        return fold_all(await history(self._connection, ["v2t.job.>"]))

    async def problems(self) -> list[str]:
        """All that is wrong, in sentences."""
        self.compared = self.gaps = 0
        jobs = await self.jobs()
        found = [f"{fact} was stored {count} times" async for fact, count in self._stored_again()]
        for job in jobs.values():
            found += [f"job {job.id} ({_title(job)}): {problem}" for problem in _wrong_facts(job)]
            if job.completed and job.state == "completed":
                found += [f"job {job.id} ({_title(job)}): {problem}" async for problem in self._wrong_end(job, jobs)]
        found += [problem async for problem in self._wrong_memory(jobs)]
        found += [problem async for problem in self._wrong_files(jobs)]
        return found

    async def _stored_again(self) -> AsyncIterator[tuple[str, int]]:
        """Finds facts that should be stored once but were stored again; the stream keeps them all."""
        answer = await self._connection.api(f"STREAM.INFO.{JOBS}", {"subjects_filter": "v2t.job.>"})
        for subject, count in (answer["state"].get("subjects") or {}).items():
            kind = message_type(subject)
            if kind is None or (kind.ONCE and count > 1):
                yield subject, count

    async def _wrong_end(self, job: Job, jobs: dict[str, Job]) -> AsyncIterator[str]:
        assert job.completed
        if job.completed.of:
            owner = jobs[job.completed.of]
            run = next((run for run in owner.runs.values() if _stores(run, job.completed.transcript)), None)
            if run is None:
                yield f"it was given {job.completed.transcript}, which job {owner.id} has never completed"
            elif self._origins[_title(owner)] != self._origins[_title(job)]:
                yield f"it was given the words of {_title(owner)}"
            elif problem := await self._differs(job.completed.transcript, owner, self._chunks(job, _title(owner))):
                yield problem
            return
        known = self._known[_title(job), job.options.model or ""]
        if {*job.chunks} != {*known.chunks} or job.converted is None or job.converted.chunks != len(known.chunks):
            yield f"it has the chunks {sorted(job.chunks)}"
            return
        if job.completed.transcript != f"transcripts/{folder(job.id, job.run)}/transcript":
            yield f"run {job.run} names {job.completed.transcript}"
        if (job.completed.gaps, job.completed.segments) != (len(job.gaps), len([*job.segments()])):
            yield "its end counts other gaps or segments than its chunks have"
        if problem := await self._differs(job.completed.transcript, job, self._expected(job)):
            yield problem

    def _chunks(self, job: Job, title: str) -> dict[int, ChunkDone]:
        return self._known[title, job.options.model or ""].chunks

    def _expected(self, job: Job) -> dict[int, ChunkDone]:
        """Each chunk by the model of the latest run that did it; chunks that were given up stay gaps."""
        return {
            n: chunk if chunk.error else self._known[_title(job), model_of(job, n)].chunks[n]
            for n, chunk in job.chunks.items()
        }

    async def _differs(self, prefix: str, owner: Job, chunks: dict[int, ChunkDone]) -> str:
        """How the stored files differ from the result of these chunks; empty if they match byte for byte."""
        self.compared += 1
        self.gaps += sum(bool(chunk.error) for chunk in chunks.values())
        models = {chunk.model for chunk in chunks.values() if chunk.model}
        written = {name: text for name, text in (await self._written(prefix)).items() if text}
        if missing := sorted(FORMATS.keys() - written.keys()):
            return f"{prefix} has no {', '.join(missing)}"
        any_model = next(iter(models))
        expected = _assembled(self._known[_title(owner), any_model].transcript, chunks)
        wanted = {name: text.encode() for name, text in render_all(expected)}
        for name, text in written.items():
            if not {*_MODEL.findall(text.decode())} <= {*map(_spoken, models)}:
                return f"{prefix}.{name} has words of another model than {', '.join(sorted(models))}"
            if _comparable(name, text) != _comparable(name, wanted[name]):
                return f"{prefix}.{name} is not as undisturbed"
        return ""

    async def _wrong_memory(self, jobs: dict[str, Job]) -> AsyncIterator[str]:
        """Checks that what the next job would get is complete, and by the one model that it asks for."""
        for title, model in self._known:
            wish = Options(model=model, language="en")
            if entry := await previous.find(self._connection, self._store, self._origins[title], wish):
                owner = jobs[entry.job]
                chunks = self._known[_title(owner), model].chunks
                if problem := await self._differs(entry.transcript, owner, chunks):
                    yield f"remembered as done before: {problem}"

    async def _wrong_files(self, jobs: dict[str, Job]) -> AsyncIterator[str]:
        """Checks that every file belongs to a transcript that something points to."""
        named = {decode_as(Done, data).transcript for data in await self._connection.latest(DONE, "v2t.done.*")}
        for job in jobs.values():
            named |= {run.completed.transcript for run in job.runs.values() if run.completed and run.completed.of}
            runs = [job.runs[job.run]] if job.state == "completed" else [*job.runs.values()]
            named |= {run.completed.transcript for run in runs if run.completed}
            if job.state == "failed":  # a retry begins another run
                named.add(f"transcripts/{folder(job.id, job.run)}/transcript")
        for key in await self._store.keys("transcripts/"):
            if key.rpartition(".")[0] not in named:
                yield f"nothing points to {key}"

    async def _written(self, prefix: str) -> dict[str, bytes]:
        """The transcript in all formats; missing files are empty."""
        there = {*await self._store.keys(f"{prefix.rpartition('/')[0]}/")}
        names = {name: f"{prefix}.{name}" for name in FORMATS}
        return {name: await self._store.get(key) if key in there else b"" for name, key in names.items()}


def model_of(job: Job, n: int) -> str:
    """The model that had to do chunk `n` of a job."""
    for number in range(job.run, 0, -1):
        rerun = job.runs[number].rerun
        if rerun and n not in rerun.keeps:
            return rerun.begins.options.model or ""
    return (job.submitted.options.model or "") if job.submitted else ""


def _wrong_facts(job: Job) -> Iterator[str]:
    if job.cancelled and job.state != "cancelled":
        yield f"it was cancelled, and is {job.state}"
    if not job.ended:
        yield f"it is {job.state}"
    if job.state == "failed" and GIVEN_UP not in job.reason:
        yield f"it failed: {job.reason}"
    for n, chunk in job.chunks.items():
        if chunk.error and GIVEN_UP not in chunk.error:
            yield f"chunk {n} is a gap: {chunk.error}"
        if not chunk.error and chunk.model != model_of(job, n):
            yield f"chunk {n} is by {chunk.model}, not by {model_of(job, n)}"
    for number, run in job.runs.items():
        if run.rerun and (twice := {*run.rerun.keeps} & run.chunks.keys()):
            yield f"run {number} did the chunks {sorted(twice)} again, which it keeps"


def _assembled(transcript: Transcript, chunks: dict[int, ChunkDone]) -> Transcript:
    """The transcript of a job with these results, each undisturbed or a gap."""
    done_ = [chunk for _, chunk in sorted(chunks.items())]
    return replace(
        transcript,
        models=tuple(sorted({chunk.model for chunk in done_ if chunk.model})),
        segments=tuple(segment for chunk in done_ for segment in chunk.segments),
        gaps=tuple(
            Gap(chunk=chunk.n, start=chunk.start, end=chunk.end, reason=chunk.error) for chunk in done_ if chunk.error
        ),
        unheard=tuple(stretch for chunk in done_ for stretch in chunk.unheard),
        doubtful=tuple(doubt for chunk in done_ for doubt in chunk.doubtful),
    )


def _comparable(name: str, text: bytes) -> bytes:
    """The text without what differs from job to job: the record's id and timings."""
    if name != "json":
        return text
    record = msgspec.json.decode(text)
    for field in ("job", "timings"):
        del record[field]
    return msgspec.json.encode(record)


def _title(job: Job) -> str:
    """The title of the submitted recording; empty if it was refused."""
    return job.submitted.title if job.submitted else ""


def _spoken(model: str) -> str:
    return model.rpartition("/")[2]


def _stores(run: Run, transcript: str) -> bool:
    return run.completed is not None and run.completed.transcript == transcript
