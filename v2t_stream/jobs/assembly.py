"""Makes a job's transcript from its facts."""

import re
from collections import Counter

import msgspec

from schemas.events import ChunkDone
from schemas.message import decode_as
from schemas.transcript import Segment, Speaker, Transcript
from v2t_stream.errors import StoreError
from v2t_stream.jobs.state import Job
from v2t_stream.store.protocol import ObjectStore
from v2t_stream.topology.ids import folder


async def stored(store: ObjectStore, prefix: str) -> Transcript:
    """The record at `prefix`, as Completed names it. Raises StoreError: ObjectMissing if it has expired."""
    try:
        return decode_as(Transcript, await store.get(f"{prefix}.json"))
    except msgspec.DecodeError as error:
        raise StoreError(
            f"the transcript {prefix}.json cannot be read ({error}): v2t job retry makes a new one"
        ) from error


async def last_prefix(store: ObjectStore, job: str, *, original: bool = False) -> str | None:
    """Where the latest run of a job stored its transcript, even if its facts have expired; None if no run did.

    The last correction of it counts, unless the `original` is wanted.
    """
    names = {key.removeprefix(f"transcripts/{job}/") for key in await store.keys(f"transcripts/{job}/")}
    runs = [int(name.partition("/")[0]) for name in names if re.fullmatch(r"\d+/transcript\.json", name)]
    if "transcript.json" in names:
        runs.append(0)
    if not runs:
        return None
    prefix = f"transcripts/{folder(job, max(runs))}/transcript"
    return prefix if original else await last_correction(store, prefix)


async def last_correction(store: ObjectStore, prefix: str) -> str:
    """Where the last correction of the transcript at `prefix` is stored; `prefix` itself if nobody corrected it.

    For readers without the facts of the job, which say so if there are any.
    """
    corrected = await store.keys(prefix.removesuffix("transcript") + "corrections/")
    return max((key.removesuffix(".json") for key in corrected if key.endswith(".json")), default=prefix)


def assemble(job: Job, *, who: bool = True) -> Transcript:
    """The canonical record of a job so far. It uses only the job's facts, so everyone who makes it gets the same.

    `who`: also say who speaks, if the job asks; this takes seconds for ten hours.
    """
    chunks = [chunk for _, chunk in sorted(job.chunks.items())]
    segments, speakers = _said(job, chunks) if who else (tuple(job.segments()), ())
    return Transcript(
        job=job.id,
        title=job.title,
        source=job.source,
        duration=job.duration or 0.0,
        task=job.options.task,
        language=_spoken(chunks) or job.options.language,
        engines=tuple(sorted({chunk.engine for chunk in chunks if chunk.engine})),
        models=tuple(sorted({chunk.model for chunk in chunks if chunk.model})),
        segments=segments,
        speakers=speakers,
        gaps=tuple(job.gaps),
        unheard=tuple(job.unheard),
        doubtful=tuple(job.doubtful),
        truncated=job.truncated,
        sound=job.sound,
        timings=_timings(job, chunks),
    )


def _said(job: Job, chunks: list[ChunkDone]) -> tuple[tuple[Segment, ...], tuple[Speaker, ...]]:
    """What was said and, if the job asks, by whom."""
    if not job.options.speakers:
        return tuple(job.segments()), ()
    # With numpy, which most processes that read jobs do without.
    from v2t_stream.speakers.labels import labelled  # noqa: PLC0415  as above
    from v2t_stream.speakers.naming import named  # noqa: PLC0415

    windows = [window for chunk in chunks for window in chunk.windows]
    segments, speakers = labelled(job.segments(), windows, job.options.speakers)
    return segments, named(speakers, job.named.people) if job.named else speakers


def _spoken(chunks: list[ChunkDone]) -> str | None:
    """The language of most of the speech; None if no chunk names one."""
    spoken: Counter[str] = Counter()
    for chunk in chunks:
        if chunk.language:
            spoken[chunk.language] += sum(round(1000 * (segment.end - segment.start)) for segment in chunk.segments)
    return spoken.most_common(1)[0][0] if spoken else None


def _timings(job: Job, chunks: list[ChunkDone]) -> dict[str, float]:
    """The seconds of each stage, and in total from the first fact to the last."""
    facts = [job.submitted, job.downloaded, job.converted, *chunks]  # no later facts, no other runs
    times = [job.times[fact.subject] for fact in facts if fact and fact.subject in job.times]
    return {
        "download": job.downloaded.seconds if job.downloaded else 0.0,
        "convert": job.converted.seconds if job.converted else 0.0,
        "transcribe": sum(chunk.seconds for chunk in chunks),
        "total": max(times) - min(times) if times else 0.0,
    }
