"""The monitor without a broker, with fixed facts at a fixed time."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec.structs import replace
from textual.pilot import Pilot

from schemas.chunks import SAMPLE_RATE
from schemas.events import ChunkDone, Completed, Converted, Downloaded, Listed, Progress, Submitted
from schemas.message import Message, encode
from schemas.options import Options
from schemas.speakers import Voice, Window
from schemas.transcript import Doubt, Segment, Sound, Track, Truncated, Unheard, Word
from tests import builders
from tui.app import Monitor
from tui.feed import Around, Away, Facts, Looked
from tui.state.known import Known
from v2t_stream.broker.requests import Stored
from v2t_stream.fleet.presence import NodeInfo
from v2t_stream.jobs.dead_letters import Dead
from v2t_stream.settings import Settings
from v2t_stream.topology.queues import Queue

NOW = 1_800_000_000.0
SNAPSHOTS = Path(__file__).parent / "snapshots"
SMALL, LARGE = (80, 24), (160, 50)
Settle = Callable[[], Awaitable[None]]


class StillKnown(Known):
    """The same at any time."""

    @property
    def now(self) -> float:
        return NOW

    @property
    def where(self) -> str:
        return "nats://broker:4222"

    @property
    def seen(self) -> str:
        return "12:34:56" if super().seen else ""

    def seconds_since(self, at: float) -> float:  # as in Known
        return 90.0 if time.monotonic() - at > 45 else 0.0


class Still(Monitor):
    """Joins no broker: the test posts the facts that workers would."""

    def __init__(self, *, debug: bool = False) -> None:
        super().__init__(Settings(data_dir="/nowhere"), known=StillKnown(), debug=debug)
        self.animation_level = "none"

    def join(self) -> None:
        """There is no broker."""

    def tell(self, facts: Iterable[tuple[float, Message]], origin: str = "") -> None:
        """Post facts of that many seconds ago, then the end of the history."""
        message = Facts(origin, [*stored(facts), None])
        (self.screen if origin else self).post_message(message)

    def look(self, **around: Sequence[object]) -> None:
        self.post_message(Looked(Around(**around)))  # type: ignore[arg-type]  # the test knows what it gives

    def lose(self) -> None:
        self.post_message(Away("no NATS server answers at nats://broker:4222: start one, or correct NATS_URL"))


@asynccontextmanager
async def shown(size: tuple[int, int] = SMALL) -> AsyncIterator[tuple[Still, Settle, Pilot[None]]]:
    """A monitor, a way to have its next picture drawn, and a user."""
    app = Still()
    async with app.run_test(size=size, notifications=False) as pilot:

        async def settle() -> None:
            await pilot.pause()
            app.known.touch()
            app._frames = -1
            app._draw()
            await pilot.pause()
            await pilot.pause()

        yield app, settle, pilot


def stored(facts: Iterable[tuple[float, Message]]) -> list[Stored]:
    return [Stored(fact.subject, encode(fact), number, NOW - ago) for number, (ago, fact) in enumerate(facts, 1)]


# -- what there is to show


def submitted(job: str, title: str, **more: object) -> Submitted:
    return builders.submitted(job, title=title, **{"url": f"https://example.com/{job}.mp3", **more})


def downloaded(job: str, title: str) -> Downloaded:
    source, options = f"https://example.com/{job}.mp3", Options(language="en")
    return builders.downloaded(job, title=title, source=source, size=5_000_000, seconds=3.2, options=options)


def chunk(job: str, n: int, node: str = "m4", error: str = "") -> ChunkDone:
    start = 30.0 * n
    words = (
        ("We begin with what was said last week about the river and the bridge.", 0.5, 9.0),
        ("Nobody had expected that the old road would be open again before the summer.", 10.0, 21.5),
        ("Are there any questions?", 23.0, 28.0),
    )
    said = tuple(Segment(start=start + begin, end=start + end, text=text) for text, begin, end in words)
    return builders.chunk(
        n,
        job=job,
        end=start + 29,
        segments=() if error else said,
        language="en",
        engine="" if error else "faster-whisper",
        model="" if error else "small",
        node="" if error else node,
        seconds=0.0 if error else 1.5,
        error=error,
    )


def converted(job: str, chunks: int) -> Converted:
    return builders.converted(job, chunks, speech=28.0 * chunks, seconds=2.5)


def done(job: str, title: str, ago: float, *, gaps: int = 0) -> list[tuple[float, Message]]:
    """A job that was submitted that many seconds ago and completed a little later."""
    return [
        (ago, submitted(job, title)),
        (ago - 5, downloaded(job, title)),
        (ago - 10, converted(job, 40)),
        (ago - 35, completed(job, gaps=gaps)),
    ]


def completed(job: str, **more: object) -> Completed:
    return builders.completed(job, **{"language": "en", "segments": 120, **more})


def incomplete(job: str = "cut-8") -> list[tuple[float, Message]]:
    """The first half of a recording, with speech in which nothing was heard, and words that may be invented."""
    truncated = Truncated(declared=183.0, decoded=90.0)
    tracks = (Track(number=1, language="eng", taken=True), Track(number=2, language="deu", title="Kommentar"))
    sound = Sound(peak=-3.2, level=-20.4, speech=84.0, tracks=tracks)
    unheard = (Unheard(start=39.2, end=42.9),)
    doubtful = (Doubt(start=70.0, end=81.5, reason="repeated 12 times"),)
    return [
        (60, submitted(job, "A recording that ends too early")),
        (50, downloaded(job, "A recording that ends too early")),
        (45, replace(converted(job, 3), truncated=truncated, sound=sound)),
        (40, chunk(job, 0)),
        (39, replace(chunk(job, 1, "box"), unheard=unheard)),
        (38, replace(chunk(job, 2), doubtful=doubtful)),
        (37, completed(job, unheard=1, truncated=True)),
    ]


def empty(job: str = "void-9") -> list[tuple[float, Message]]:
    """A recording without any words, whose other track was left out."""
    tracks = (Track(number=1, taken=True), Track(number=2, language="en", title="The lecture"))
    return [
        (60, submitted(job, "A quiet recording")),
        (50, downloaded(job, "A quiet recording")),
        (
            45,
            replace(converted(job, 0), duration=303.0, sound=Sound(peak=-62.4, level=-80.1, speech=0.0, tracks=tracks)),
        ),
        (44, completed(job, segments=0)),
    ]


def running(job: str = "sea-3") -> list[tuple[float, Message]]:
    """Six chunks are cut so far and four done by two nodes, one of them as a gap."""
    title = "A talk about the sea, the moon and [everything] in between"
    return [
        (60, submitted(job, title)),
        (50, downloaded(job, title)),
        (20, Progress(job=job, stage="convert", done=190.0, total=300.0, chunks=6)),
        (19, chunk(job, 0)),
        (18, chunk(job, 2, "box")),
        (17, chunk(job, 1, error="no engine could do it: out of memory")),
        (15, chunk(job, 4)),
    ]


def interview(job: str = "pair-10") -> list[tuple[float, Message]]:
    """Two people whose voices were heard in two of three chunks; one of them goes on in the other's sentence."""
    options, title = Options(speakers="2"), "An interview"
    return [
        (60, submitted(job, title, options=options)),
        (50, replace(downloaded(job, title), options=options)),
        (45, converted(job, 3)),
        (40, spoken(job, 0)),
        (38, spoken(job, 1, "box")),
    ]


def spoken(job: str, n: int, node: str = "m4") -> ChunkDone:
    """A says a sentence, B begins the next, which A ends, and B answers."""
    start = 30.0 * n
    segments = (
        timed("We begin with what was said last week about the river.", start + 1, start + 9),
        timed("That was the old road, not the bridge. And who told you about it then?", start + 11, start + 19),
        timed("The man at the gate.", start + 22, start + 28),
    )
    windows = (
        Window(at(start), at(10.0), (voice("A", start + 1, start + 9),)),
        Window(at(start + 10), at(10.0), (voice("B", start + 11, start + 15.5), voice("A", start + 15.5, start + 19))),
        Window(at(start + 20), at(10.0), (voice("B", start + 22, start + 28),)),
    )
    return replace(chunk(job, n, node), segments=segments, windows=windows)


def timed(text: str, start: float, end: float) -> Segment:
    """A segment whose words take the same time each."""
    words, each = text.split(), (end - start) / len(text.split())
    times = tuple(Word(start=start + n * each, end=start + (n + 1) * each, text=word) for n, word in enumerate(words))
    return Segment(start=start, end=end, text=text, words=times)


def voice(of: str, start: float, end: float) -> Voice:
    turn = at(start), at(end) - at(start)
    return Voice(ord(of), (turn,), end - start, embedding(of))


def embedding(of: str) -> bytes:
    """What the voice of a person sounds like, who is known by a letter."""
    return bytes(127 * (n == ord(of)) for n in range(192))


def at(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)


def failed(job: str = "bad-5") -> list[tuple[float, Message]]:
    return [
        (400, submitted(job, "Not a recording")),
        (
            399,
            builders.failed(job, stage="download", reason="https://example.com/x does not exist (HTTP 404): check it"),
        ),
    ]


def listed(job: str = "list-6") -> list[tuple[float, Message]]:
    return [
        (900, submitted(job, "A podcast")),
        *done(f"{job}_1", "The first episode", 890),
        *[(ago, fact) for ago, fact in failed(f"{job}_2")],
        (880, submitted(f"{job}_3", "The third episode")),
        (879, Listed(job=job, title="A podcast", children=3)),
    ]


def everything() -> list[tuple[float, Message]]:
    return [
        *done("news-1", "The news of the day \x1b[31mwith a colour of its own", 90_000),
        *done("talk-2", "Ein Vortrag über Brücken, 日本語の題名も", 7_300, gaps=1),
        *running(),
        (30, submitted("wait-4", "Nobody does this", options=Options(accelerator="cuda", language="de"))),
        *failed(),
        *listed(),
        (5, submitted("down-7", "Being downloaded")),
        (4, Progress(job="down-7", stage="download", done=3_000_000, total=9_000_000)),
    ]


def node(name: str, stage: str = "transcribe", **more: object) -> NodeInfo:
    fields: dict[str, object] = {"pid": 77, "version": "0.1.0"}
    if stage == "transcribe":
        fields |= {"accelerator": "cpu", "engine": "faster-whisper", "model": "small", "slots": 2}
        fields |= {"speed": 12.0, "done": 42}
    return builders.process(stage, node=name, **{**fields, **more})


def nodes() -> list[NodeInfo]:
    return [
        *(node("box", stage) for stage in ("intake", "download", "convert", "aggregate")),
        node("box", working={"v2t.chunk.any.sea-3.3": 1.0}, state="busy"),
        node("m4", accelerator="metal", engine="whisper-cpp", speed=31.0),
    ]


def queue(name: str, stage: str, **more: object) -> Queue:
    fields = {"waiting": 0, "in_work": 0, "redelivered": 0, "pulling": 1, "oldest": None, "paused": False, **more}
    return Queue(name=name, stage=stage, stream="V2T_X", **fields)  # type: ignore[arg-type]


def queues() -> list[Queue]:
    return [
        queue("intake", "intake"),
        queue("download", "download", paused=True, waiting=3, oldest=NOW - 100),
        queue("convert", "convert"),
        queue("transcribe-cuda", "transcribe", waiting=12, pulling=0, oldest=NOW - 3700),
        queue("transcribe-any", "transcribe", waiting=5, in_work=3, redelivered=1, oldest=NOW - 20),
        queue("aggregate", "aggregate"),
    ]


def letters() -> list[Dead]:
    return [
        Dead(
            7,
            NOW - 395,
            builders.dead(
                "bad-5",
                stage="download",
                reason="https://example.com/x does not exist (HTTP 404): check it",
                original_subject="v2t.job.bad-5.submitted",
                node="box",
            ),
        ),
        Dead(
            9,
            NOW - 17,
            builders.dead(
                "sea-3",
                stage="transcribe",
                reason="no engine could do it: out of memory",
                original_subject="v2t.chunk.any.sea-3.1",
                data=encode(builders.task(1, "sea-3")),
                deliveries=5,
                node="m4",
            ),
        ),
    ]
