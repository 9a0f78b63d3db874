"""The facts of a job. Each has one subject and one writer; the latest on each subject is the job's state.

A retry begins a new run of the job, and what is made for a run has subjects of that run: nobody who was asleep or cut
off can put a result of an older run in the place of a newer one's.
"""

from typing import Annotated, ClassVar, Final, Literal

from msgspec import Meta

from schemas.message import Message
from schemas.objects import Version
from schemas.options import Options
from schemas.transcript import Doubt, Seconds, Segment, Sound, Truncated, Unheard

MOST: Final = 1_000_000  # chunks of a job, which are a year of media; and entries of a list


class Submitted(Message, frozen=True, kw_only=True, tag="submitted"):
    """Intake took the job. Exactly one of `url` and `media` says where the media is."""

    SUBJECT: ClassVar[str] = "v2t.job.{job}.submitted"
    BY_RUN: ClassVar[bool] = False

    title: str
    url: str | None = None  # http or https, without what lets somebody in
    link: str = ""  # object store key of the whole link, where `url` leaves something out
    media: str | None = None  # object store key of a file that was uploaded with the request
    options: Options = Options()
    limit: int | None = None  # of the entries of a list
    force: bool = False  # although the same was transcribed with the same settings before
    parent: str | None = None  # the job whose list this is an entry of
    entry: int | None = None  # the place in the list at `url`, from 1, of what has no link of its own
    origin: str = ""  # as in Downloaded, where the list told it
    version: Version | None = None  # of the object at `url`, where that is in a bucket and was told with it


class Downloaded(Message, frozen=True, kw_only=True, tag="downloaded"):
    """The media lies in the object store."""

    SUBJECT: ClassVar[str] = "v2t.job.{job}.downloaded"

    title: str
    source: str  # the URL or the file name, for people
    media: str  # object store key
    size: int  # bytes
    seconds: Seconds  # time the download took
    options: Options = Options()
    origin: str = ""  # what the media is, whoever asks for it: the site's own id, or the hash of the bytes
    version: Version | None = None  # of the object `media`, where that lies in a bucket of somebody else


class Listed(Message, frozen=True, kw_only=True, tag="listed"):
    """The URL was a list, and all its entries are jobs of their own by now: <job>_1 to <job>_<children>."""

    SUBJECT: ClassVar[str] = "v2t.job.{job}.listed"

    title: str
    children: Annotated[int, Meta(ge=0, le=MOST)]


class Converted(Message, frozen=True, kw_only=True, tag="converted"):
    """The media was decoded to its end; no more chunks will come."""

    SUBJECT: ClassVar[str] = "v2t.job.{job}.converted"

    chunks: Annotated[int, Meta(ge=0, le=MOST)]
    duration: Seconds  # seconds of audio decoded
    speech: Seconds  # seconds of it that stand in chunks
    seconds: Seconds  # time the conversion took
    truncated: Truncated | None = None
    sound: Sound | None = None


class Language(Message, frozen=True, kw_only=True, tag="language"):
    """The job's language, decided by the first chunk in which somebody was sure; it holds for every chunk."""

    SUBJECT: ClassVar[str] = "v2t.job.{job}.language"

    language: str


class ChunkDone(Message, frozen=True, kw_only=True, tag="chunk"):
    """One chunk's segments, in source times; or, with `error`, a chunk that was given up."""

    SUBJECT: ClassVar[str] = "v2t.job.{job}.chunk.{n}"

    n: Annotated[int, Meta(ge=0, le=MOST)]
    start: Seconds  # where in the source, seconds
    end: Seconds
    segments: tuple[Segment, ...] = ()
    language: str | None = None
    engine: str = ""
    model: str = ""
    node: str = ""
    seconds: Seconds = 0.0  # the chunk's share of the engine's time
    unheard: tuple[Unheard, ...] = ()
    doubtful: tuple[Doubt, ...] = ()
    error: str = ""


class Completed(Message, frozen=True, kw_only=True, tag="completed"):
    """The transcript of a run is stored. Published once, by whichever aggregator was first."""

    SUBJECT: ClassVar[str] = "v2t.job.{job}.completed"

    transcript: str  # object store prefix, of the run of the job that did it; what lies there is never written again
    language: str | None = None
    segments: int = 0
    gaps: int = 0
    unheard: int = 0  # stretches of speech without words
    truncated: bool = False  # the media ended before its declared length
    of: str = ""  # the job that had done the same before, where this one had nothing to do
    title: str = ""  # what that one found out
    after: int = 0  # release 0.1 fenced it by this sequence; nothing reads it


class Failed(Message, frozen=True, kw_only=True, tag="failed"):
    SUBJECT: ClassVar[str] = "v2t.job.{job}.failed"

    stage: str
    reason: str  # one sentence for the user: what, with which input, what to do
    gone: bool = False  # the version of the upload that it was to transcribe is there no more
    moved: str = ""  # the job that does it in place of this one, of which nobody will hear anything more

    @property
    def excluded_by(self) -> str:
        """Only an id that no job has is given up for another."""
        return f"v2t.job.{self.job}.>" if self.moved else self.subject


class Cancelled(Message, frozen=True, kw_only=True, tag="cancelled"):
    """The user wants nothing more of the job. `run` is the one that was seen; all end.

    Refused where that run has completed: so a job never turns from completed to cancelled. The other way round nothing
    is refused, as a completion is to be stored once and the server checks one subject; it changes nothing any more.
    """

    SUBJECT: ClassVar[str] = "v2t.job.{job}.cancelled"
    BY_RUN: ClassVar[bool] = False

    @property
    def excluded_by(self) -> str:
        return Completed.subject_of(job=self.job, run=self.run)


class Rerun(Message, frozen=True, kw_only=True, tag="rerun"):
    """The user wants it done again: the run `run` begins. Of what was made for older runs only what is named counts.

    This one message is all that a retry is, and of two at the same moment the first stands.
    """

    SUBJECT: ClassVar[str] = "v2t.job.{job}.rerun.{run}"
    BY_RUN: ClassVar[bool] = False

    begins: Submitted | Downloaded  # what the stage that is the first to have something to do works on
    keeps: tuple[int, ...] = ()  # the chunks whose results of the run before count in this one too
    language: str | None = None  # which was decided for those; None where none was, or none are kept


class Retried(Message, frozen=True, kw_only=True, tag="retried"):
    """As release 0.1 retried, without runs: how the job ended before this fact, and the named results, are void."""

    SUBJECT: ClassVar[str] = "v2t.job.{job}.retried.{time}"
    BY_RUN: ClassVar[bool] = False

    time: int  # the how manieth retry of the job, from 1
    chunks: tuple[int, ...]  # whose results are void


class Progress(Message, frozen=True, kw_only=True, tag="progress"):
    """How far a stage is with the job; for display only, nothing depends on it."""

    SUBJECT: ClassVar[str] = "v2t.job.{job}.progress.{stage}"
    ONCE: ClassVar[bool] = False

    stage: Literal["download", "convert"]
    done: float  # bytes downloaded, or seconds of audio decoded
    total: float | None = None  # of the same, where it is known
    chunks: int = 0  # cut so far


class Tries(Message, frozen=True, kw_only=True, tag="tries"):
    """What became of a message that was delivered before. Only one that failed, or whose worker died, has this fact."""

    SUBJECT: ClassVar[str] = "v2t.job.{job}.tries.{stage}.{message}"
    BY_RUN: ClassVar[bool] = False
    ONCE: ClassVar[bool] = False

    stage: str
    message: int  # its sequence in the stage's stream
    failures: int = 0
    waits: int = 0  # times that what it needs was away or taken, which is no failure of it
    deaths: int = 0  # of workers that had it in work
    begun: bool = False  # a worker has it in work: who finds this in a later delivery knows that the worker died
    pause: float = 60.0  # seconds until its next try; where a release before does not say it, the longest there is


Event = (
    Submitted
    | Downloaded
    | Listed
    | Converted
    | Language
    | ChunkDone
    | Completed
    | Failed
    | Cancelled
    | Rerun
    | Retried
    | Progress
    | Tries
)


class Done(Message, frozen=True, kw_only=True, tag="done"):
    """The latest job to transcribe this media with these settings, without a gap.

    The same bytes end at the same place again, and speech that an engine heard twice in vain stays unheard: both are
    remembered, and said of every job that rests on this one.
    """

    SUBJECT: ClassVar[str] = "v2t.done.{key}"
    BY_RUN: ClassVar[bool] = False
    ONCE: ClassVar[bool] = False

    key: str  # see v2t_stream.jobs.previous
    transcript: str  # as in Completed, like what follows
    language: str | None = None
    segments: int = 0
    unheard: int = 0
    truncated: bool = False
    title: str = ""


class DeadLetter(Message, frozen=True, kw_only=True, tag="dead"):
    """A message that could not be done, with the reason; it can be sent to its subject again."""

    SUBJECT: ClassVar[str] = "v2t.dead.{stage}.{job}"
    BY_RUN: ClassVar[bool] = False
    ONCE: ClassVar[bool] = False

    stage: str
    reason: str
    original_subject: str
    data: bytes  # of a submission, without what lets somebody in
    kept: str = ""  # object store key of all of it, where `data` leaves something out
    deliveries: int
    node: str
