"""How far a job is, in words and in numbers: for the command line and the monitor."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from v2t_stream.jobs.state import ENDED, Job, State
from v2t_stream.units import clock, counted, length, size, speed

_BAD: Final[tuple[State, ...]] = ("failed", "cancelled")


class Shares(NamedTuple):
    """How much of each stage's work is done, from 0 to 1."""

    download: float
    convert: float
    transcribe: float


def shares(job: Job) -> Shares:
    """How far each stage is with a job that is not a list."""
    if job.state == "completed":
        return Shares(1.0, 1.0, 1.0)
    if not job.downloaded:
        download = job.progress.get("download")
        return Shares(download.done / download.total if download and download.total else 0.0, 0.0, 0.0)
    if not job.duration:
        return Shares(1.0, 1.0 if job.converted else 0.0, 1.0 if job.is_whole else 0.0)
    return Shares(1.0, min(1.0, job.decoded / job.duration), min(1.0, job.transcribed / job.duration))


def describe(job: Job) -> tuple[float, str]:
    """How much of the current step is done (0 to 1), and the same in words."""
    if job.listed:
        counts, total = job.counts, job.listed.children
        ended = sum(counts[state] for state in ENDED)
        parts = [f"{ended} of {total} done", *(f"{counts[state]} {state}" for state in _BAD if counts[state])]
        return (ended / total if total else 1.0), ", ".join(parts)
    match job.state:
        case "queued" | "converting" if is_queued(job):
            return 0.0, "in the queue"
        case "downloading":
            download = job.progress["download"]
            share = download.done / download.total if download.total else 0.0
            done = size(download.done)
            return share, f"{share:.0%}  {done} of {size(download.total)}" if download.total else done
        case "converting" | "transcribing":
            return (job.transcribed / job.duration if job.duration else 0.0), "  ".join(_pace(job))
        case "completed":
            return 1.0, " ".join(_outcome(job))
    return 0.0, ""


def is_queued(job: Job) -> bool:
    """Whether no stage has begun what comes next for the job."""
    return job.state in ("queued", "converting") and bool(job.submitted) and "convert" not in job.progress


def _outcome(job: Job) -> Iterator[str]:
    """The outcome of a completed job."""
    if job.completed and job.completed.of:
        yield f"done before as job {job.completed.of}"
        return
    yield f"{length(job.duration or 0)} of media"
    if job.took is not None:
        yield f"in {length(job.took)}"
        if job.duration and job.took > 0:
            yield f"({speed(job.duration / job.took)})"


def shortfalls(job: Job) -> list[str]:
    """What the transcript of a completed job lacks, in a few words each, as far as its last fact says.

    See v2t_stream.jobs.caveats for whole sentences, with times and reasons.
    """
    end = job.completed
    if end is None or job.state != "completed":
        return []
    words = job.corrected or end
    found = []
    if words.gaps:
        found.append(f"{counted(words.gaps, 'chunk')} could not be transcribed")
    if words.unheard:
        found.append(f"{counted(words.unheard, 'stretch', 'stretches')} of speech without words")
    if end.truncated:
        found.append("the recording is cut off")
    if not words.segments:
        found.append("no words were heard")
    return found


def summed_up(job: Job) -> str:
    """How far a job is, and once it is completed, what its transcript lacks."""
    return ", but ".join(filter(None, (describe(job)[1], ", ".join(shortfalls(job)))))


def _pace(job: Job) -> Iterator[str]:
    """How far conversion and transcription are, which overlap. Fits a line of 80 characters."""
    if not job.converted:
        yield f"{clock(job.decoded)}/{clock(job.duration)}" if job.duration else clock(job.decoded)
    yield f"chunks {len(job.chunks)}/{job.chunks_cut}{'' if job.converted else '+'}"
    if job.speed:
        yield speed(job.speed)
    if job.eta is not None:
        yield f"ETA {clock(job.eta)}"
