"""Mutated media, messages, notifications and provider files: no crash, no hang, each a result or a clear sentence.

For 20 seconds in all; `--fuzz 3600` looks longer, and `--fuzz-seed 2` elsewhere. An input that failed is kept where the
failure says.
"""

import queue
import random
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from schemas.chunks import ChunkTask, Span
from schemas.events import (
    Cancelled,
    ChunkDone,
    Completed,
    Converted,
    Downloaded,
    Failed,
    Language,
    Listed,
    Progress,
    Rerun,
    Retried,
    Submitted,
)
from schemas.message import Message, encode
from schemas.notification import Notification, Upload
from schemas.options import Options
from schemas.requests import SubmitRequest
from schemas.transcript import Segment, Word
from tests.harness import DATA
from tests.patience import PATIENCE
from tests.unit.test_audio_decode import tone, write
from v2t_stream import demo
from v2t_stream.broker.requests import Stored
from v2t_stream.errors import V2TError
from v2t_stream.jobs.formats import render_all
from v2t_stream.jobs.progress import describe
from v2t_stream.jobs.state import fold, fold_all
from v2t_stream.jobs.submission import check, of_fields, parse
from v2t_stream.jobs.summary import summary
from v2t_stream.jobs.uploads import is_wanted
from v2t_stream.settings import Settings
from v2t_stream.text import HARMFUL
from v2t_stream.topology.subjects import decode
from v2t_stream.transcription.providers import parse as parse_providers

ROOT = Path(__file__).parents[2]
HANG: Final = PATIENCE  # seconds that no small file may take
MEDIA: Final = 0.6  # of the time
KINDS: Final = 5  # of the others, which share the rest

# Runs what a stage runs, in a process of its own: FFmpeg may crash it, or never come back.
DECODER = """
import resource, sys
from pathlib import Path
from v2t_stream.audio.decode import MediaReader
from v2t_stream.errors import Reject
resource.setrlimit(resource.RLIMIT_DATA, (2 << 30, 2 << 30))
for line in sys.stdin:
    said = "ok"
    try:
        with MediaReader(Path(line.rstrip("\\n")), "talk.mp4") as reader:
            for block in reader.blocks():
                assert block.size < 5 * 16_000
                if reader.position > 600:
                    said = "long"
                    break
    except Reject as error:
        said = f"refused: {error}"
    print(said, flush=True)
"""


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    return random.Random(request.config.getoption("--fuzz-seed"))


@pytest.fixture
def seconds(request: pytest.FixtureRequest) -> float:
    return float(request.config.getoption("--fuzz"))


def mutated(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """`data` after one to six random changes."""
    new = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        # Half of them in the head, where formats keep what they are about.
        at = chance.randrange(min(len(new), 512) if chance.random() < 0.5 else len(new)) if new else 0
        length = min(chance.choice((1, 2, 4, 16, 300, 5000)), len(new) - at)
        match chance.randrange(8):
            case 0 if new:
                new[at] ^= 1 << chance.randrange(8)
            case 1:
                new[at : at + length] = chance.randbytes(length)
            case 2:
                del new[at:]
            case 3:
                del new[at : at + length]
            case 4:
                new[at:at] = new[at : at + length] * chance.randint(1, 4)
            case 5:
                other = chance.choice(others)
                start = chance.randrange(len(other))
                new[at:at] = other[start : start + length]
            case 6:
                number = chance.choice((0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF))
                new[at : at + 4] = struct.pack(chance.choice(("<I", ">I")), number)
            case _:
                new[at : at + length] = bytes(length)
    return bytes(new)


class Decoder:
    """The decoding process, restarted if an input kills it."""

    def __init__(self) -> None:
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._process = subprocess.Popen(
            [sys.executable, "-c", DECODER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self._answers.put(line.rstrip("\n"))
        self._answers.put("")

    def decode(self, path: Path) -> str:
        """The result for the file: ok, long, or a sentence; empty if it killed the process."""
        assert self._process.stdin
        print(path, file=self._process.stdin, flush=True)
        try:
            return self._answers.get(timeout=HANG)
        except queue.Empty:
            self._process.kill()
            return ""

    def close(self) -> str:
        """How it ended, with its last words."""
        _, said = self._process.communicate()
        self._reading.join()
        return f"code {self._process.returncode}: {said[-2000:]}"


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """A second or two in each of many kinds."""
    folder = tmp_path_factory.mktemp("media")
    kinds = {
        "wav": "pcm_s16le",
        "mp3": "libmp3lame",
        "ogg": "libopus",
        "webm": "libopus",
        "mp4": "aac",
        "mkv": "flac",
        "flac": "flac",
        "m4a": "alac",
        "aiff": "pcm_s16be",
        "au": "pcm_mulaw",
        "avi": "ac3",
        "ts": "mp2",
        "aac": "aac",
        "caf": "pcm_s24le",
        "flv": "aac",
        "wv": "wavpack",
        "mov": "pcm_f32le",
    }
    files = [
        write(folder / f"a.{suffix}", [(0, tone(2, 48_000))], codec, rate=48_000, video=2 * (suffix in ("mp4", "mkv")))
        for suffix, codec in kinds.items()
    ]
    return [path.read_bytes() for path in (*files, DATA / "5s.flac", demo.CLIP)]


def test_mutated_media(
    media: list[bytes], chance: random.Random, seconds: float, tmp_path: Path, shown: Callable[[str, str], None]
) -> None:
    """A broken upload takes a stage down with it, again and again, or holds it for ever."""
    decoder, count, refused = Decoder(), 0, 0
    path = tmp_path / "input"
    for data in media:  # as they are, each is media
        path.write_bytes(data)
        assert decoder.decode(path) == "ok"
    failures = []
    until = time.monotonic() + seconds * MEDIA
    while (time.monotonic() < until or not 0 < refused < count) and len(failures) < 5:
        path.write_bytes(mutated(chance.choice(media), media, chance))
        said = decoder.decode(path)
        count += 1
        if not said:
            kept = path.rename(tmp_path / f"failed-{count}")
            failures.append(f"{kept}: {decoder.close()}")
            decoder = Decoder()
        elif said.startswith("refused: "):
            refused += 1
            check_sentence(said.removeprefix("refused: "))
    shown(f"{count} mutated files", f"{refused} refused, {count - refused} decoded, {len(failures)} crashes or hangs")
    decoder.close()
    assert not failures


def check_sentence(text: str) -> None:
    assert not HARMFUL.search(text), text
    assert 0 < len(text) < 5000, text
    assert "Traceback" not in text


def mutations(
    valid: list[bytes], chance: random.Random, seconds: float, do: Callable[[bytes], object], tmp_path: Path
) -> None:
    """Call `do` with mutations of `valid` for its share of the time; it gives a result, or one of our errors."""
    for data in valid:
        do(data)  # as it is, it is right
    counted = {True: 0, False: 0}
    until = time.monotonic() + seconds * (1 - MEDIA) / KINDS
    while time.monotonic() < until or not counted[False]:
        data = mutated(chance.choice(valid), valid, chance)
        try:
            do(data)
            counted[True] += 1
        except V2TError as error:
            counted[False] += 1
            check_sentence(str(error))
        except Exception as error:
            (tmp_path / "failed").write_bytes(data)
            raise AssertionError(f"{tmp_path / 'failed'}: {data!r}") from error


def test_mutated_submissions(chance: random.Random, seconds: float, tmp_path: Path) -> None:
    """A message that anyone may send stops intake."""
    whole = SubmitRequest(
        url="https://example.org/a?b=c", title="Talk", language="en", model="small", engine="faster-whisper", limit=3
    )
    valid = [encode(whole), b"https://example.org/talk.mp4", b"s3://bucket/a/talk.mp4", b'{"media": "media/a/b.mp4"}']
    mutations(valid, chance, seconds, lambda data: check(parse(data)), tmp_path)


FACTS: Final[list[Message]] = [
    Submitted(job="j", title="Talk", url="https://example.org/a", options=Options(language="en")),
    Downloaded(job="j", title="Talk", source="a", media="media/j/a.mp4", size=9, seconds=1.5),
    Listed(job="j", title="Talks", children=2),
    Converted(job="j", chunks=2, duration=60.5, speech=40.5, seconds=3),
    Language(job="j", language="en"),
    ChunkDone(
        job="j",
        n=0,
        start=0,
        end=30,
        segments=(Segment(start=1, end=2, text="so", words=(Word(start=1, end=2, text="so", probability=0.5),)),),
        language="en",
        engine="e",
        model="m",
        node="n",
    ),
    ChunkDone(job="j", n=1, start=30, end=60, error="lost"),
    Completed(job="j", transcript="transcripts/j/transcript", language="en", segments=1),
    Failed(job="j", stage="convert", reason="broken"),
    Cancelled(job="j"),
    Retried(job="j", time=1, chunks=(1,)),
    Rerun(
        job="j",
        run=1,
        begins=Downloaded(job="j", run=1, title="Talk", source="a", media="media/j/a.mp4", size=9, seconds=1.5),
        keeps=(0,),
    ),
    ChunkDone(job="j", run=1, n=1, start=30, end=60),
    Converted(job="j", run=1, chunks=2, duration=60.5, speech=40.5, seconds=3),
    Progress(job="j", stage="convert", done=3.5, total=60.5, chunks=1),
    Progress(job="j", stage="download", done=3, total=None),
    Submitted(job="j_1", title="One", url="https://example.org/1", parent="j"),
    Failed(job="j_1", stage="download", reason="gone"),
    ChunkTask(job="j", n=0, audio="media/j/chunks/0.flac", spans=(Span(0, 16_000),), options=Options()),
]


def test_mutated_facts(chance: random.Random, seconds: float, tmp_path: Path) -> None:
    """One odd fact in the stream stops every command, monitor and aggregator from reading the job, or any job."""
    valid = {fact.subject: encode(fact) for fact in FACTS}
    subjects = list(valid)
    until = time.monotonic() + seconds * (1 - MEDIA) / KINDS
    unread = 0
    while time.monotonic() < until or not unread:
        history = []
        for sequence in range(1, chance.randint(2, 12)):
            subject = chance.choice(subjects)
            data = valid[subject] if chance.random() < 0.5 else valid[chance.choice(subjects)]
            if chance.random() < 0.5:
                data = mutated(data, list(valid.values()), chance)
            try:
                decode(subject, data)
            except (msgspec.DecodeError, UnicodeDecodeError):  # of which the worker makes a sentence
                unread += 1
            history.append(Stored(subject, data, sequence, 1e9 + sequence * chance.random()))
        try:
            look(
                [
                    fact
                    for fact in history
                    if ".chunk.cpu" not in fact.subject and not fact.subject.startswith("v2t.chunk")
                ]
            )
        except Exception as error:
            raise AssertionError(repr(history)) from error


def look(history: list[Stored]) -> None:
    """All that is read of a job anywhere."""
    from stages.aggregate import assemble

    for job in (fold("j", history), *fold_all(history).values()):
        msgspec.json.encode(summary(job))
        describe(job)
        if job.is_whole and not job.listed:
            for _, text in render_all(assemble(job)):
                text.encode()


def test_mutated_notifications(chance: random.Random, seconds: float, tmp_path: Path) -> None:
    """An odd upload stops intake, and no other upload is taken."""
    upload = Upload(bucket="v2t-uploads", key="talks/a b.mp4", etag="e", version="v")

    def do(data: bytes) -> None:
        try:
            notification = msgspec.json.decode(data, type=Notification)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:  # as intake does
            raise V2TError("cannot be read") from error
        for each in notification.created():
            if is_wanted(Settings(), each):
                check(of_fields({"url": each.url}))

    mutations([msgspec.json.encode(Notification.of(upload))], chance, seconds, do, tmp_path)


def test_mutated_sidecars(chance: random.Random, seconds: float, tmp_path: Path) -> None:
    """The options beside an upload stop intake."""

    def do(data: bytes) -> None:
        try:
            fields: dict[str, Any] = msgspec.json.decode(data, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:  # as intake does
            raise V2TError("cannot be read") from error
        check(of_fields({**fields, "url": "s3://bucket/a.mp4"}))

    valid = [b'{"language": "en", "word_timestamps": true, "title": "A"}', b'{"limit": "3", "model": "small"}']
    mutations(valid, chance, seconds, do, tmp_path)


def test_mutated_provider_files(chance: random.Random, seconds: float, tmp_path: Path) -> None:
    """A mistake in providers.yaml gives only a Python traceback in the log of a stage that keeps restarting."""
    page = (ROOT / "docs/providers.md").read_text()
    example = page.partition("```yaml\n")[2].partition("```")[0]
    valid = [example.encode(), b"providers:\n- type: faster_whisper\n  model: demo\n"]
    mutations(valid, chance, seconds, lambda data: parse_providers(data, "providers.yaml"), tmp_path)
