"""The subjects of messages: the kind of message on each, and its job, run and chunk."""

from typing import Final, get_args

import msgspec

from schemas.chunks import ChunkTask
from schemas.events import (
    Cancelled,
    ChunkDone,
    Completed,
    DeadLetter,
    Done,
    Event,
    Failed,
    Rerun,
    Submitted,
    Tries,
)
from schemas.keys import Key
from schemas.message import Message, decode_as
from schemas.notification import BUCKET_SUBJECT
from schemas.once import Once
from schemas.requests import SUBMIT_SUBJECT

INBOX_SUBJECTS: Final = (SUBMIT_SUBJECT, BUCKET_SUBJECT)


def _beginning(kind: type[Message]) -> str:
    """What the subjects of such messages begin with, up to the first placeholder."""
    return kind.SUBJECT.partition("{")[0]


_OF_JOBS: Final = _beginning(Submitted)
_OF_CHUNKS: Final = _beginning(ChunkTask)

# Patterns of all that a stream holds.
ALL_FACTS: Final = f"{_OF_JOBS}>"
ALL_TASKS: Final = f"{_OF_CHUNKS}>"
ALL_DONE: Final = Done.subject_of(key="*")
ALL_ONCE: Final = Once.subject_of(name="*")
ALL_KEYS: Final = Key.SUBJECT.format(id=">")  # not *: NATS announces such subjects nowhere else
ALL_DEAD: Final = f"{_beginning(DeadLetter)}>"


def facts_of(job: str) -> str:
    """A pattern of all facts of a job."""
    return f"{_OF_JOBS}{job}.>"


def first_run_of(job: str) -> str:
    """A pattern of the facts of a job's first run, except those that occur several times, such as once per chunk."""
    return f"{_OF_JOBS}{job}.*"


def results_of(job: str) -> str:
    """A pattern of the results of a job's chunks, of all runs."""
    return f"{_OF_JOBS}{job}.{_name_of(ChunkDone)}.>"


def tasks_of(queue: str) -> str:
    """A pattern of the chunks that wait in a queue: see ChunkTask.queue."""
    return f"{_OF_CHUNKS}{queue}.>"


def any_run(kind: type[Message], **names: str) -> tuple[str, str]:
    """The subject patterns of a kind of message in the first run, and in later runs."""
    return kind.subject_of(**names), kind.subject_of(run="*", **names)


def _name_of(fact: type[Message]) -> str:
    """What a fact is called in its subject, as in `converted`."""
    return fact.SUBJECT.split(".")[3]


_FACTS: Final[dict[str, type[Event]]] = {_name_of(kind): kind for kind in get_args(Event)}


def message_type(subject: str) -> type[Message] | None:
    """The kind of message on `subject`; None for a subject of a newer release."""
    tokens = subject.split(".")
    match tokens[1:]:
        case ["chunk", *_]:
            return ChunkTask
        case ["job", _, fact, *_]:
            return _FACTS.get(fact)
        case ["done", _]:
            return Done
    return None


def decode(subject: str, data: bytes) -> Message | None:
    """The message on `subject`; None for a subject of a newer release. Raises msgspec.DecodeError.

    That is a ValidationError if the message is JSON that does not fit, or belongs on another subject.
    """
    kind = message_type(subject)
    if kind is None:
        return None
    message = decode_as(kind, data)
    if message.subject != subject:
        raise msgspec.ValidationError(f"it belongs on {message.subject}")
    return message


def job_of(subject: str) -> str:
    """The job id in a fact's or a chunk's subject; empty if it has none."""
    tokens = subject.split(".")
    place = 3 if tokens[1:2] == ["chunk"] else 2
    return tokens[place] if len(tokens) > place else ""


def chunk_of(subject: str) -> int | None:
    """The number of the chunk in a chunk's subject; None for other subjects."""
    match subject.split("."):
        case ["v2t", "chunk", _, _, n] | ["v2t", "chunk", _, _, n, _] if n.isascii() and n.isdecimal():
            return int(n)
    return None


def fact_of(name: str, job: str, run: int) -> str:
    """The subject of the fact `name`, such as `converted`, in this run of the job."""
    return _FACTS[name].subject_of(job=job, run=run)


def run_of(subject: str) -> int:
    """The run in a fact's or a chunk's subject."""
    kind, tokens = message_type(subject), subject.split(".")
    if kind is None or not tokens[-1].isdecimal():
        return 0
    is_named = kind is Rerun or (kind.BY_RUN and len(tokens) > len(kind.SUBJECT.split(".")))
    return int(tokens[-1]) if is_named else 0


def ends(job: str, run: int) -> list[str]:
    """The subjects of the facts that end this run of the job, the one that counts most first."""
    return [end.subject_of(job=job, run=run) for end in (Cancelled, Completed, Failed)]


def but_chunks(job: str = "*") -> list[str]:
    """Patterns of all facts of a job, or of all jobs, except Tries and the results of chunks, which are the most."""
    names = [name for name, kind in _FACTS.items() if kind not in (ChunkDone, Tries)]
    return [first_run_of(job), *(f"{_OF_JOBS}{job}.{name}.>" for name in names)]
