"""The facts of a job. Each has one subject and one writer; the latest on each subject is the job's state."""

from typing import ClassVar, Literal

from schemas.message import Message
from schemas.objects import Version
from schemas.options import Options
from schemas.transcript import Doubt, Segment, Sound, Truncated, Unheard


class Submitted(Message, frozen=True, kw_only=True, tag="submitted"):
    """Intake took the job. Exactly one of `url` and `media` says where the media is."""

    SUBJECT: ClassVar[str] = "v2t.job.{job}.submitted"

    title: str
    url: str | None = None  # http or https
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
    seconds: float  # time the download took
    options: Options = Options()
    origin: str = ""  # what the media is, whoever asks for it: the site's own id, or the hash of the bytes
    version: Version | None = None  # of the object `media`, where that lies in a bucket of somebody else


class Listed(Message, frozen=True, kw_only=True, tag="listed"):
    """The URL was a list, and all its entries are jobs of their own by now: <job>_1 to <job>_<children>."""

    SUBJECT: ClassVar[str] = "v2t.job.{job}.listed"

    title: str
    children: int


class Converted(Message, frozen=True, kw_only=True, tag="converted"):
    """The media was decoded to its end; no more chunks will come."""

    SUBJECT: ClassVar[str] = "v2t.job.{job}.converted"

    chunks: int
    duration: float  # seconds of audio decoded
    speech: float  # seconds of it that stand in chunks
    seconds: float  # time the conversion took
    truncated: Truncated | None = None
    sound: Sound | None = None


class Language(Message, frozen=True, kw_only=True, tag="language"):
    """The job's language, decided by the first chunk in which somebody was sure; it holds for every chunk."""

    SUBJECT: ClassVar[str] = "v2t.job.{job}.language"

    language: str


class ChunkDone(Message, frozen=True, kw_only=True, tag="chunk"):
    """One chunk's segments, in source times; or, with `error`, a chunk that was given up."""

    SUBJECT: ClassVar[str] = "v2t.job.{job}.chunk.{n}"

    n: int
    start: float  # where in the source, seconds
    end: float
    segments: tuple[Segment, ...] = ()
    language: str | None = None
    engine: str = ""
    model: str = ""
    node: str = ""
    seconds: float = 0.0  # the chunk's share of the engine's time
    unheard: tuple[Unheard, ...] = ()
    doubtful: tuple[Doubt, ...] = ()
    error: str = ""


class Completed(Message, frozen=True, kw_only=True, tag="completed"):
    """The transcript is stored. Published once, by whichever aggregator was first.

    Fenced by all that decides about a job: of a completion, a cancellation and a retry at the same moment the first
    stands, and the others see it.
    """

    SUBJECT: ClassVar[str] = "v2t.job.{job}.completed"
    FENCE: ClassVar[str] = "v2t.job.{job}.*"

    transcript: str  # object store prefix: transcripts/<job>/transcript, of the job that did it
    language: str | None = None
    segments: int = 0
    gaps: int = 0
    unheard: int = 0  # stretches of speech without words
    truncated: bool = False  # the media ended before its declared length
    of: str = ""  # the job that had done the same before, where this one had nothing to do
    title: str = ""  # what that one found out


class Failed(Message, frozen=True, kw_only=True, tag="failed"):
    SUBJECT: ClassVar[str] = "v2t.job.{job}.failed"

    stage: str
    reason: str  # one sentence for the user: what, with which input, what to do
    gone: bool = False  # the version of the upload that it was to transcribe is there no more


class Cancelled(Message, frozen=True, kw_only=True, tag="cancelled"):
    SUBJECT: ClassVar[str] = "v2t.job.{job}.cancelled"


class Retried(Message, frozen=True, kw_only=True, tag="retried"):
    """The user wants it done again: how it ended before this fact, and the named results, are void."""

    SUBJECT: ClassVar[str] = "v2t.job.{job}.retried.{time}"

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
    | Retried
    | Progress
)


class Done(Message, frozen=True, kw_only=True, tag="done"):
    """The latest job to transcribe this media with these settings, without a gap.

    The same bytes end at the same place again, and speech that an engine heard twice in vain stays unheard: both are
    remembered, and said of every job that rests on this one.
    """

    SUBJECT: ClassVar[str] = "v2t.done.{key}"
    ONCE: ClassVar[bool] = False

    key: str  # see v2t_stream.done
    transcript: str  # as in Completed, like what follows
    language: str | None = None
    segments: int = 0
    unheard: int = 0
    truncated: bool = False
    title: str = ""


class DeadLetter(Message, frozen=True, kw_only=True, tag="dead"):
    """A message that could not be done, with the reason; it can be sent to its subject again."""

    SUBJECT: ClassVar[str] = "v2t.dead.{stage}.{job}"
    ONCE: ClassVar[bool] = False

    stage: str
    reason: str
    original_subject: str
    data: bytes
    deliveries: int
    node: str
