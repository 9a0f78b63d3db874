"""From the facts of a job to its transcript."""

from collections import Counter

import msgspec

from schemas.message import decode_as
from schemas.transcript import Transcript
from v2t_stream.errors import StoreError
from v2t_stream.jobs import Job
from v2t_stream.object_store import ObjectStore


async def stored(store: ObjectStore, prefix: str) -> Transcript:
    """The record at `prefix`, as Completed names it. Raises StoreError, of it ObjectMissing where it has expired."""
    try:
        return decode_as(Transcript, await store.get(f"{prefix}.json"))
    except msgspec.DecodeError as error:
        raise StoreError(
            f"the transcript {prefix}.json cannot be read ({error}): v2t job retry makes it anew"
        ) from error


def assemble(job: Job) -> Transcript:
    """The canonical record of a job, as far as it is done, from its facts alone, so that everybody makes the same."""
    chunks = [chunk for _, chunk in sorted(job.chunks.items())]
    spoken: Counter[str] = Counter()
    for chunk in chunks:
        if chunk.language:
            spoken[chunk.language] += sum(round(1000 * (segment.end - segment.start)) for segment in chunk.segments)
    times = [at for subject, at in job.times.items() if ".progress." not in subject]
    return Transcript(
        job=job.id,
        title=job.title,
        source=job.source,
        duration=job.duration or 0.0,
        task=job.options.task,
        language=spoken.most_common(1)[0][0] if spoken else job.options.language,
        engines=tuple(sorted({chunk.engine for chunk in chunks if chunk.engine})),
        models=tuple(sorted({chunk.model for chunk in chunks if chunk.model})),
        segments=tuple(job.segments()),
        gaps=tuple(job.gaps),
        unheard=tuple(job.unheard),
        doubtful=tuple(job.doubtful),
        truncated=job.truncated,
        sound=job.sound,
        timings={
            "download": job.downloaded.seconds if job.downloaded else 0.0,
            "convert": job.converted.seconds if job.converted else 0.0,
            "transcribe": sum(chunk.seconds for chunk in chunks),
            "total": max(times) - min(times) if times else 0.0,
        },
    )
