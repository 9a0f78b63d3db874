"""The facts of a job. Each has one subject and one writer; the latest on each subject is the job's state.

A retry begins a new run of the job, and the results of a run have that run's subjects. So a process that was asleep or
cut off cannot put an older run's result in the place of a newer one's.
"""

from typing import Annotated, ClassVar, Final, Literal

from msgspec import Meta

from schemas.hooks import Notify
from schemas.message import Message
from schemas.objects import Version
from schemas.options import Options
from schemas.speakers import Window
from schemas.transcript import Doubt, Seconds, Segment, Sound, Speaker, Truncated, Unheard

MOST: Final = 1_000_000  # chunks of a job, a year of media; and entries of a list


class Submitted(Message, frozen=True, kw_only=True, tag="submitted"):
    """Intake took the job. Exactly one of `url` and `media` locates the media."""

    SUBJECT: ClassVar[str] = "v2t.job.{job}.submitted"
    BY_RUN: ClassVar[bool] = False

    title: str
    is_titled: bool = False  # the sender or the list gave this title, so the medium's own does not replace it
    url: str | None = None  # http or https, without secrets
    link: str = ""  # object store key of the whole link, if `url` leaves something out
    media: str | None = None  # object store key of a file uploaded with the request
    options: Options = Options()
    limit: int | None = None  # of a list's entries
    force: bool = False  # even if a transcript with the same settings exists
    parent: str | None = None  # the job of the list that has this entry
    entry: int | None = None  # place in the list at `url`, from 1, for an entry without its own link
    origin: str = ""  # as in Downloaded, if the list gave it
    version: Version | None = None  # of the object at `url`, if it is in a bucket and its version is known
    callback: str = ""  # the link that is told when the job has ended, without secrets
    callback_link: str = ""  # object store key of the whole link, if `callback` leaves something out
    owner: str = ""  # the key of the HTTP API with which it was sent; empty without one


class Downloaded(Message, frozen=True, kw_only=True, tag="downloaded"):
    """The media is in the object store."""

    SUBJECT: ClassVar[str] = "v2t.job.{job}.downloaded"

    title: str
    source: str  # the URL or the file name, for people
    media: str  # object store key
    size: int  # bytes
    seconds: Seconds  # time the download took
    options: Options = Options()
    origin: str = ""  # the media's identity: the site's own id, or the hash of the bytes
    version: Version | None = None  # of the object `media`, if it is in somebody else's bucket


class Listed(Message, frozen=True, kw_only=True, tag="listed"):
    """The URL was a list, and all its entries are now separate jobs: <job>_1 to <job>_<children>."""

    SUBJECT: ClassVar[str] = "v2t.job.{job}.listed"

    title: str
    children: Annotated[int, Meta(ge=0, le=MOST)]


class Converted(Message, frozen=True, kw_only=True, tag="converted"):
    """The media was decoded to its end; no more chunks will come."""

    SUBJECT: ClassVar[str] = "v2t.job.{job}.converted"

    chunks: Annotated[int, Meta(ge=0, le=MOST)]
    duration: Seconds  # seconds of audio decoded
    speech: Seconds  # seconds of it in chunks
    seconds: Seconds  # time the conversion took
    truncated: Truncated | None = None
    sound: Sound | None = None


class Language(Message, frozen=True, kw_only=True, tag="language"):
    """The job's language, from the first chunk with a confident detection; it applies to every chunk."""

    SUBJECT: ClassVar[str] = "v2t.job.{job}.language"

    language: str


class ChunkDone(Message, frozen=True, kw_only=True, tag="chunk"):
    """One chunk's segments, in source times; with `error`, a chunk that was given up."""

    SUBJECT: ClassVar[str] = "v2t.job.{job}.chunk.{n}"

    n: Annotated[int, Meta(ge=0, le=MOST)]
    start: Seconds  # seconds in the source
    end: Seconds
    segments: tuple[Segment, ...] = ()
    language: str | None = None
    engine: str = ""
    model: str = ""
    node: str = ""
    seconds: Seconds = 0.0  # the chunk's share of the engine's time
    unheard: tuple[Unheard, ...] = ()
    doubtful: tuple[Doubt, ...] = ()
    windows: tuple[Window, ...] = ()  # the voices, if the job asks who speaks
    error: str = ""


class Completed(Message, frozen=True, kw_only=True, tag="completed"):
    """The transcript of a run is stored. The first aggregator publishes this, once."""

    SUBJECT: ClassVar[str] = "v2t.job.{job}.completed"

    transcript: str  # object store prefix of the job and run that made it; written only once
    language: str | None = None
    segments: int = 0
    gaps: int = 0
    unheard: int = 0  # stretches of speech without words
    truncated: bool = False  # the media ended before its declared length
    of: str = ""  # the earlier job whose transcript this job points to
    title: str = ""  # that job's title
    duration: Seconds | None = None  # of the media; None from an older release
    after: int = 0  # release 0.1 fenced it by this sequence; nothing reads it


class Corrected(Message, frozen=True, kw_only=True, tag="corrected"):
    """A person has corrected the transcript of this run; the record at `transcript` now counts.

    A later correction replaces an earlier one, if it began from it: its sender names the sequence that it replaces. A
    retry makes a new transcript, to which this does not apply unless it keeps the correction. Whatever a person may
    correct, such as words or the names of speakers, is in the record, so this fact does not say what was changed.
    """

    SUBJECT: ClassVar[str] = "v2t.job.{job}.corrected"

    transcript: str  # object store prefix of the corrected transcript; written only once
    of: str  # the prefix of the transcript that the engines made
    by: str  # who, for people
    segments: int = 0
    gaps: int = 0
    unheard: int = 0


class Named(Message, frozen=True, kw_only=True, tag="named"):
    """Who the people of a job are. It holds for all runs: each finds them by their voices.

    The first aggregator says this of a job that asks for `voices`; whoever names the people of a job replaces it.
    """

    SUBJECT: ClassVar[str] = "v2t.job.{job}.named"
    BY_RUN: ClassVar[bool] = False

    people: tuple[Speaker, ...]  # with names


class Failed(Message, frozen=True, kw_only=True, tag="failed"):
    SUBJECT: ClassVar[str] = "v2t.job.{job}.failed"

    stage: str
    reason: str  # one sentence for the user: what, with which input, what to do
    gone: bool = False  # the upload's version no longer exists
    moved: str = ""  # the job that replaces this one

    @property
    def excluded_by(self) -> str:
        """Only an unused id is given up for another."""
        return f"v2t.job.{self.job}.>" if self.moved else self.subject


class Cancelled(Message, frozen=True, kw_only=True, tag="cancelled"):
    """The user cancelled the job. `run` is the latest one that the user saw; all runs end.

    The server refuses this if that run has completed, so a job never turns from completed to cancelled. It does not
    refuse a later completion, because it can check only one subject and a completion's must be its own; that
    completion has no effect.

    `removed`: the user removed the job after its end. Its other facts are gone, and this one stays until it expires, so
    that nothing which arrives late brings the job back: for every release, a cancelled job is over.
    """

    SUBJECT: ClassVar[str] = "v2t.job.{job}.cancelled"
    BY_RUN: ClassVar[bool] = False

    removed: bool = False

    @property
    def excluded_by(self) -> str:
        return self.subject if self.removed else Completed.subject_of(job=self.job, run=self.run)


class Rerun(Message, frozen=True, kw_only=True, tag="rerun"):
    """The user retries the job: the run `run` begins. Only the named results of older runs still count.

    This one message is the whole retry; of two at the same moment the first stands.
    """

    SUBJECT: ClassVar[str] = "v2t.job.{job}.rerun.{run}"
    BY_RUN: ClassVar[bool] = False

    begins: Submitted | Downloaded  # the input of the first stage with work
    keeps: tuple[int, ...] = ()  # the chunks whose results from the run before still count
    language: str | None = None  # decided for those chunks; None if undecided, or if none are kept
    keeps_correction: bool = False  # what a person corrected before is corrected in the new transcript too


class Retried(Message, frozen=True, kw_only=True, tag="retried"):
    """Release 0.1's retry, without runs: it voids the earlier end of the job and the named results."""

    SUBJECT: ClassVar[str] = "v2t.job.{job}.retried.{time}"
    BY_RUN: ClassVar[bool] = False

    time: int  # retry number, from 1
    chunks: tuple[int, ...]  # whose results are void


class Progress(Message, frozen=True, kw_only=True, tag="progress"):
    """A stage's progress with the job; for display only, nothing depends on it."""

    SUBJECT: ClassVar[str] = "v2t.job.{job}.progress.{stage}"
    ONCE: ClassVar[bool] = False

    stage: Literal["download", "convert"]
    done: float  # bytes downloaded, or seconds of audio decoded
    total: float | None = None  # of the same, if known
    chunks: int = 0  # cut so far


class Tries(Message, frozen=True, kw_only=True, tag="tries"):
    """Earlier deliveries of a message. Only a message that failed, or whose worker died, has this fact."""

    SUBJECT: ClassVar[str] = "v2t.job.{job}.tries.{stage}.{message}"
    BY_RUN: ClassVar[bool] = False
    ONCE: ClassVar[bool] = False

    stage: str
    message: int  # its sequence in the stage's stream
    failures: int = 0
    waits: int = 0  # times that its resources were away or occupied, which is not its failure
    deaths: int = 0  # deaths of its workers
    begun: bool = False  # a worker has begun; if this is set in a later delivery, that worker died
    pause: float = 60.0  # seconds until its next try; the default, for older releases, is the longest


Event = (
    Submitted
    | Downloaded
    | Listed
    | Converted
    | Language
    | ChunkDone
    | Completed
    | Corrected
    | Named
    | Notify
    | Failed
    | Cancelled
    | Rerun
    | Retried
    | Progress
    | Tries
)


class Done(Message, frozen=True, kw_only=True, tag="done"):
    """The latest job that transcribed this media with these settings, without a gap.

    The same bytes end at the same place again, and speech that an engine missed twice stays unheard. So this remembers
    both, and every job that points to this one repeats them.
    """

    SUBJECT: ClassVar[str] = "v2t.done.{key}"
    BY_RUN: ClassVar[bool] = False
    ONCE: ClassVar[bool] = False

    key: str  # see v2t_stream.jobs.previous
    transcript: str  # this and the following as in Completed
    language: str | None = None
    segments: int = 0
    unheard: int = 0
    truncated: bool = False
    title: str = ""
    duration: Seconds | None = None


class DeadLetter(Message, frozen=True, kw_only=True, tag="dead"):
    """A message that failed, with the reason; it can be sent to its subject again."""

    SUBJECT: ClassVar[str] = "v2t.dead.{stage}.{job}"
    BY_RUN: ClassVar[bool] = False
    ONCE: ClassVar[bool] = False

    stage: str
    reason: str
    original_subject: str
    data: bytes  # a submission's is without secrets
    kept: str = ""  # object store key of the whole message, if `data` leaves something out
    deliveries: int
    node: str
