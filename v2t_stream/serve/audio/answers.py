"""A transcript as OpenAI's API tells it (openai 3.57, types/audio); pure functions."""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from msgspec import to_builtins
from msgspec.structs import replace

from schemas.events import ChunkDone
from schemas.transcript import Gap, Segment, Transcript
from v2t_stream.jobs.caveats import caveats
from v2t_stream.jobs.formats import render
from v2t_stream.languages import name_of
from v2t_stream.serve.audio.parameters import Asked
from v2t_stream.subtitles.tokens import tokens
from v2t_stream.text import one_line

# Clients with types need these of each segment, and no engine of ours gives them.
_NOT_MEASURED: Final = ("avg_logprob", "no_speech_prob", "seek", "tokens")
_LONGEST: Final = 2000  # characters of a header


def text_of(record: Transcript) -> str:
    """All that was said, in one paragraph; a note stands where words are missing."""
    segments = tuple(replace(segment, speaker="") for segment in record.segments)
    return joined(render(replace(record, segments=segments, speakers=()), "txt").splitlines())


def text_of_chunk(chunk: ChunkDone) -> str:
    """The same of a part of it."""
    gap = Gap(chunk=chunk.n, start=chunk.start, end=chunk.end, reason=chunk.error)
    return text_of(
        Transcript(
            job=chunk.job,
            title="",
            source="",
            duration=0.0,
            task="transcribe",
            language=None,
            engines=(),
            models=(),
            segments=chunk.segments,
            gaps=(gap,) if chunk.error else (),
            unheard=chunk.unheard,
        )
    )


def joined(texts: Iterable[str]) -> str:
    """The texts one after another, with spaces where their script has them."""
    return "".join(between(text) + text for text in texts if text).strip()


def between(text: str) -> str:
    """What stands before a text that follows another."""
    first = tokens(Segment(start=0.0, end=0.0, text=text[:1]))
    return " " if not first or first[0].spaced else ""


def document(record: Transcript, asked: Asked) -> str | dict[str, Any]:
    """The answer in the format that is asked for: text, or an object for JSON."""
    match asked.format:
        case "srt" | "vtt":
            return render(record, asked.format)
        case "text":
            return f"{text_of(record)}\n"
        case "diarized_json":
            return _diarized(record)
        case "verbose_json":
            return _verbose(record, asked.granularities)
    return {"text": text_of(record), **languages(record), "usage": _usage(record), "x_v2t": about(record)}


def about(record: Transcript) -> dict[str, Any]:
    """What OpenAI's objects have no place for: which job it was, and what is missing or doubtful."""
    return {
        "job": record.job,
        "complete": not (record.gaps or record.unheard or record.truncated),
        "caveats": caveats(record),
        "gaps": to_builtins(record.gaps),
        "unheard": to_builtins(record.unheard),
        "doubtful": to_builtins(record.doubtful),
        "truncated": to_builtins(record.truncated),
        "models": list(record.models),
    }


def headers(record: Transcript) -> Mapping[str, str]:
    """What every format has: the job, and what is missing or doubtful."""
    told = one_line("; ".join(caveats(record)), _LONGEST).encode("ascii", "backslashreplace").decode()
    return {"X-V2T-Job": record.job, **({"X-V2T-Caveats": told} if told else {})}


def languages(record: Transcript) -> dict[str, Any]:
    return {"languages": [{"code": record.language}] if record.language else []}


def _usage(record: Transcript) -> dict[str, Any]:
    return {"type": "duration", "seconds": record.duration}


def _verbose(record: Transcript, granularities: Sequence[str]) -> dict[str, Any]:
    language = "en" if record.task == "translate" else record.language or ""
    told: dict[str, Any] = {
        "task": record.task,
        "language": name_of(language),
        "duration": record.duration,
        "text": text_of(record),
        "usage": _usage(record),
        "x_v2t": about(record) | {"not_measured": list(_NOT_MEASURED)},
    }
    if "segment" in granularities:
        told["segments"] = [segment_of(n, segment) for n, segment in enumerate(record.segments)]
    if "word" in granularities:
        told["words"] = [
            {"word": word.text.strip(), "start": word.start, "end": word.end}
            for segment in record.segments
            for word in segment.words
        ]
    return told


def segment_of(n: int, segment: Segment) -> dict[str, Any]:
    """A segment in Whisper's own shape."""
    data = segment.text.encode()
    return {
        "id": n,
        "start": segment.start,
        "end": segment.end,
        "text": segment.text,
        "temperature": 0.0,
        "compression_ratio": len(data) / len(zlib.compress(data)),
        "avg_logprob": 0.0,
        "no_speech_prob": 0.0,
        "seek": 0,
        "tokens": [],
    }


def _diarized(record: Transcript) -> dict[str, Any]:
    return {
        "task": "transcribe",
        "duration": record.duration,
        "text": text_of(record),
        "segments": list(spoken(record)),
        "usage": _usage(record),
        "x_v2t": about(record),
    }


def names_of(record: Transcript) -> dict[str, str]:
    """What to call each speaker, by label: a known name, or else the label."""
    return {speaker.label: speaker.name or speaker.label for speaker in record.speakers}


def spoken(record: Transcript) -> Iterable[dict[str, Any]]:
    """The segments with who speaks: a known name, or a letter."""
    names = names_of(record)
    for n, segment in enumerate(record.segments):
        yield {
            "type": "transcript.text.segment",
            "id": f"seg_{n}",
            "start": segment.start,
            "end": segment.end,
            "speaker": names.get(segment.speaker, segment.speaker),
            "text": segment.text,
        }
