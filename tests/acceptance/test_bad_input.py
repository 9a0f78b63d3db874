"""What bad input gets: the job fails with one sentence, its message is kept with that reason, all else goes on.

All of it is sent to one pipeline at once, and a good job behind it, as on a busy day.
"""

import asyncio
import json
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import msgspec
import numpy as np
import pytest

from schemas.events import DeadLetter
from schemas.message import encode
from schemas.requests import SubmitRequest
from tests.conftest import MAX_DURATION, Pipeline
from tests.harness import DATA, Server, broker, ended, node, reference, transcribe, upload
from tests.patience import PATIENCE
from tests.small_disk import small_disk
from tests.web import web
from v2t_stream.audio import flac
from v2t_stream.broker.connect import connect
from v2t_stream.broker.connection import Connection
from v2t_stream.demo.wer import word_error_rate
from v2t_stream.errors import StoreError
from v2t_stream.jobs.following import states
from v2t_stream.jobs.state import Job
from v2t_stream.jobs.submission import submit
from v2t_stream.runtime.set_up import set_up
from v2t_stream.settings import Settings
from v2t_stream.store.jetstream_store import JetStreamStore
from v2t_stream.topology.ids import inbox_epoch, job_id
from v2t_stream.topology.streams import DEAD
from v2t_stream.topology.subjects import SUBMIT_SUBJECT

pytestmark = pytest.mark.timeout(900)  # the first test also waits for the pipeline, and for all that is sent to it

SPEECH = flac.decode((DATA / "5s.flac").read_bytes())  # 16 kHz mono


def sound(
    path: Path, speech: np.ndarray, codec: str, *, rate: int = 16_000, layout: str = "mono", **options: str
) -> Path:
    """Write `speech` with the usual codec for that kind of file."""
    with av.open(path, "w", options=options) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        resampler = av.AudioResampler(stream.format, layout, rate, frame_size=stream.codec_context.frame_size or 0)
        frame = av.AudioFrame.from_ndarray((speech[np.newaxis] * 32767).astype(np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 16_000, 0, Fraction(1, 16_000)
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return path


def pictures(path: Path) -> Path:
    """A second of video without a sound track."""
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for n in range(10):
            frame = av.VideoFrame(32, 32, "yuv420p")
            frame.pts, frame.time_base = n, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def shortened(path: Path) -> Path:
    """The first half of a file, as an interrupted copy leaves it."""
    return written(path, path.read_bytes()[: path.stat().st_size // 2])


def endless_silence(path: Path) -> Path:
    """Twice the allowed length in a few kilobytes, without a declared length."""
    sound(path, np.zeros(2 * MAX_DURATION * 16_000, np.float32), "flac")
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0  # the count of samples in STREAMINFO, of 36 bits
    data[22:26] = bytes(4)
    return written(path, bytes(data))


class Bad(NamedTuple):
    """A submission and the sentence that it gets; $ stands for the web server's address."""

    sent: str | Callable[[Path], Path]  # the bytes of a submission, or what makes a file to upload in a folder
    stage: str  # that gives it up
    says: str  # a pattern


TALK = 'talk "one" it\'s 例子\nand more'
BAD = {
    "no such host": Bad(
        "http://nowhere.invalid/talk.mp4", "download", r"^http://nowhere\.invalid/talk\.mp4 cannot be reach"
    ),
    "nobody there": Bad("http://127.0.0.1:9/talk.mp4", "download", r"Connection refused.*check the address"),
    "missing": Bad("$/missing.mp4", "download", r"^\$/missing\.mp4 does not exist \(HTTP 404\): check the link$"),
    "locked": Bad("$/status/403", "download", r"^\$/status/403 refused access.*set V2T_COOKIES"),
    "always busy": Bad("$/status/503", "download", r"^\$/status/503 cannot answer now \(HTTP 503\).*after 3 tries"),
    "no media": Bad("$/page", "download", r"^no video or audio was found at \$/page: check that the page plays one$"),
    "protected": Bad(
        "$/locked.m3u8", "download", r"^\$/locked\.m3u8 cannot be downloaded: This video is DRM protected"
    ),
    "an empty list": Bad("$/feed/0", "download", r"^\$/feed/0 is an empty list: check in a browser"),
    "to a local file": Bad(
        "$/redirect?to=file:///etc/passwd", "download", "leads to an address that cannot be fetched"
    ),
    "a page with a local file": Bad("$/steals", "download", "leads to an address that cannot be fetched"),
    "breaks off": Bad("$/resets/5s.flac", "download", r"^\$/resets/5s\.flac broke off after .*check the network"),
    "2 GB": Bad("$/declares/2147483648.mp4", "download", r"has 2\.00 GiB, more than the 0\.05 GiB allowed"),
    "empty at a URL": Bad("$/empty.mp4", "download", r"^\$/empty\.mp4 gave an empty file \(0 bytes\): check the link$"),
    "text at a URL": Bad("$/text.mp4", "convert", r"^\$/text\.mp4 is not audio or video of a known kind"),
    "gone upload": Bad(
        '{"media": "media/uploads/gone", "title": "x"}', "download", "'x' is no longer in the object store"
    ),
    "a local file": Bad("file:///etc/passwd", "intake", "^'file:///etc/passwd' cannot be fetched: use a URL that"),
    "a path": Bad("/etc/passwd", "intake", "^'/etc/passwd' cannot be fetched: use a URL that"),
    "ftp": Bad("ftp://127.0.0.1/talk.mp4", "intake", "cannot be fetched: use a URL that begins with http"),
    "nothing": Bad("", "intake", "^the submission is empty: send a URL"),
    "broken JSON": Bad('{"url": "$/5s.flac"', "intake", "^the submission is not valid JSON"),
    "wrong type": Bad('{"url": ["$/5s.flac"]}', "intake", "^the submission's url is not valid: .*got `array`"),
    "unknown field": Bad(
        '{"url": "$/5s.flac", "langauge": "en"}', "intake", "unknown field `langauge`; its fields are"
    ),
    "unknown language": Bad('{"url": "$/5s.flac", "language": "xx"}', "intake", "^unknown language 'xx': use an ISO"),
    "unknown model": Bad(
        '{"url": "$/5s.flac", "model": "smal"}', "intake", "^unknown model 'smal': did you mean small"
    ),
    "unknown engine": Bad('{"url": "$/5s.flac", "engine": "x"}', "intake", "^unknown engine 'x': this machine has"),
    "an empty file": Bad(lambda home: written(home / "empty.mp4", b""), "convert", r"^empty\.mp4 is empty \(0 bytes\)"),
    "a text file": Bad(
        lambda home: written(home / "text.mp4", b"Dear Sir,\n" * 100), "convert", r"^text\.mp4 is not audio or video"
    ),
    "a part of an MP4": Bad(
        lambda home: shortened(sound(home / "half.mp4", np.tile(SPEECH, 20), "aac")),
        "convert",
        r"^half\.mp4 cannot be read: it is cut off before its index.*again$",
    ),
    "no sound track": Bad(lambda home: pictures(home / "mute.mp4"), "convert", r"^mute\.mp4 has no audio track"),
    "a playlist of files": Bad(
        lambda home: written(home / "list.mp4", f"ffconcat version 1.0\nfile '{DATA / '5s.flac'}'\n".encode()),
        "convert",
        r"^list\.mp4 is not audio or video",
    ),
    "silence without end": Bad(
        lambda home: endless_silence(home / "silence.flac"),
        "convert",
        r"^silence\.flac is longer than the allowed 0\.2 hours",
    ),
    "a private address": Bad(
        "http://127.0.0.2:9/talk.mp4", "download", "leads to 127.0.0.2, which is not a public address"
    ),
    "a redirect to a private address": Bad(
        "$/redirect?to=http://169.254.169.254/", "download", "leads to 169.254.169.254, which is not a public address"
    ),
    "a strange name": Bad(
        lambda home: written(home / f"{TALK}.mp4", b"text"), "convert", r"^talk \"one\" it's 例子 and more\.mp4 is not"
    ),
}
GOOD: dict[str, Callable[[Path], Path]] = {
    "8 bits, 8 kHz": lambda home: sound(home / "phone.wav", SPEECH, "pcm_u8", rate=8_000),
    "96 kHz, 5.1": lambda home: sound(home / "studio.flac", SPEECH, "flac", rate=96_000, layout="5.1"),
    "a strange name": lambda home: sound(home / f"{TALK}.flac", SPEECH, "flac"),
}


class Outcome(NamedTuple):
    job: Job
    text: str
    dead: list[DeadLetter]


@pytest.fixture(scope="module")
def outcomes(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Everything above, sent at once."""
    site, home = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("files")
    (site / "5s.flac").symlink_to(DATA / "5s.flac")
    written(site / "empty.mp4", b"")
    written(site / "text.mp4", b"Dear Sir,\n" * 100)

    async def send() -> dict[str, Outcome]:
        with web(site) as server:
            async with await connect(pipeline.url, name="test", patience=PATIENCE) as connection:
                epoch = await inbox_epoch(connection)

                async def one(sent: str | Callable[[Path], Path]) -> Outcome:
                    if callable(sent):
                        file = await asyncio.to_thread(sent, home)
                        wish = SubmitRequest(
                            media=await upload(connection, file), title=file.name, language="en", force=True
                        )
                        data = encode(wish)
                    else:
                        data = sent.replace("$", server.url).encode()
                    ack = await connection.client.jetstream().publish(SUBMIT_SUBJECT, data, timeout=PATIENCE)
                    return await outcome(connection, job_id(epoch, ack.seq))

                names = [*BAD, *(f"good: {name}" for name in GOOD), "good: recovers", "good: last"]
                sent = [*(bad.sent for bad in BAD.values()), *GOOD.values(), "$/recovers/503/5s.flac", "$/5s.flac"]
                return dict(zip(names, await asyncio.gather(*map(one, sent)), strict=True))

    return asyncio.run(send())


async def outcome(connection: Connection, job: str) -> Outcome:
    """The job's end, its transcript, and its dead letters."""
    state = await ended(connection, job, patience=2 * PATIENCE)  # each waits behind some forty others
    text = ""
    if state.completed:
        text = (await JetStreamStore(connection).get(f"{state.completed.transcript}.txt")).decode()
    letters = connection.watch(DEAD, f"v2t.dead.*.{job}", live=False)
    dead = [msgspec.json.decode(stored.data, type=DeadLetter) async for stored in letters if stored]
    return Outcome(state, text, dead)


@pytest.mark.parametrize("name", BAD)
def test_bad_input_fails_with_a_sentence(name: str, outcomes: dict[str, Outcome]) -> None:
    """The user gets a job that never ends, or an error that does not say what is wrong with which input."""
    job, _, dead = outcomes[name]
    assert job.state == "failed"
    assert job.failed
    assert job.failed.stage == BAD[name].stage
    site = re.search(r"http://127\.0\.0\.1:\d{4,}", job.reason)
    says = BAD[name].says.replace(r"\$", re.escape(site[0]) if site else r"\$")
    assert re.search(says, job.reason), job.reason
    assert job.reason.isprintable()
    assert len(job.reason) < 400
    (letter,) = dead
    assert (letter.stage, letter.reason) == (job.failed.stage, job.reason)
    assert letter.original_subject


@pytest.mark.parametrize("name", GOOD)
def test_strange_media_is_transcribed(name: str, outcomes: dict[str, Outcome]) -> None:
    """Users must convert recordings from phones, studios, or with odd names by hand."""
    job, text, dead = outcomes[f"good: {name}"]
    assert job.state == "completed", job.reason
    assert word_error_rate(reference("5s.flac"), text) <= 0.1
    assert not dead


def test_a_server_that_recovers_is_asked_again(outcomes: dict[str, Outcome]) -> None:
    """A site's restart fails the job, and somebody has to submit it again."""
    job, text, dead = outcomes["good: recovers"]
    assert job.state == "completed", job.reason
    assert text
    assert not dead


def test_a_good_job_behind_all_that_completes(outcomes: dict[str, Outcome]) -> None:
    """One bad link stops everybody's work."""
    job, text, _ = outcomes["good: last"]
    assert job.state == "completed", job.reason
    assert word_error_rate(reference("5s.flac"), text) <= 0.1


async def test_silence_and_a_snippet_complete(connection: Connection, tmp_path: Path) -> None:
    """A recording without speech, or almost empty, counts as a failure."""
    silence = sound(tmp_path / "silence.wav", np.zeros(5 * 16_000, np.float32), "pcm_s16le")
    snippet = sound(tmp_path / "snippet.m4a", SPEECH[8_000:12_800], "aac")
    wishes = [SubmitRequest(media=await upload(connection, file)) for file in (silence, snippet)]
    (quiet, words), (short, _) = await asyncio.gather(*(transcribe(connection, wish) for wish in wishes))
    assert (quiet.state, words, quiet.duration) == ("completed", "", 5.0)
    assert (short.state, short.duration) == ("completed", pytest.approx(0.3, abs=0.15))


async def test_half_a_file_is_transcribed_and_said_to_be_half(connection: Connection, tmp_path: Path) -> None:
    """A partial download is refused although most of it is there, or counts as complete."""
    half = shortened(sound(tmp_path / "fast.mp4", np.tile(SPEECH, 6), "aac", movflags="faststart"))
    job, text = await transcribe(connection, SubmitRequest(media=await upload(connection, half)))
    assert job.state == "completed"
    assert text
    assert job.converted
    assert job.converted.truncated
    assert job.converted.truncated.declared == pytest.approx(6 * len(SPEECH) / 16_000, abs=0.1)
    assert job.converted.truncated.decoded == pytest.approx(job.converted.duration)


async def test_a_full_scratch_disk_fails_the_job_and_not_the_machine(tmp_path: Path) -> None:
    """A full disk stops a machine silently, or with a misleading error."""
    written(tmp_path / "large.wav", bytes(3_000_000))
    with small_disk(tmp_path / "home", "2m") as home, web(tmp_path) as site:
        (tmp_path / "small.flac").symlink_to(DATA / "5s.flac")
        async with broker(tmp_path / "nats") as (server, connection):
            with node(server.url, home, "intake", "download", V2T_NODE="mac"):
                large, _ = await submit(connection, SubmitRequest(url=f"{site.url}/large.wav"))
                failed, _, dead = await outcome(connection, large)
                small, _ = await submit(connection, SubmitRequest(url=f"{site.url}/small.flac"))
                async with asyncio.timeout(PATIENCE):
                    async for job in states(connection, small):
                        if job.downloaded:
                            break
    assert re.fullmatch(
        rf"the disk of mac is full, so {site.url}/large\.wav could not be saved: free space in {home} "
        r"\(given up after 3 tries\)",
        failed.reason,
    )
    assert dead[0].reason == failed.reason


async def test_a_full_object_store_fails_the_job_and_is_said(tmp_path: Path) -> None:
    """A full broker leaves every job waiting, and nobody learns why."""
    written(tmp_path / "large.wav", bytes(6_000_000))
    config = f"jetstream {{ store_dir: {json.dumps(str(tmp_path / 'nats'))}, max_file_store: 4MB }}"
    server = Server(tmp_path / "nats", config, jetstream=False)
    server.start()
    try:
        async with await connect(server.url, name="test", patience=PATIENCE) as connection:
            await set_up(connection, Settings())
            with web(tmp_path) as site, node(server.url, tmp_path / "home", "intake", "download"):
                job, _ = await submit(connection, SubmitRequest(url=f"{site.url}/large.wav"))
                failed, _, _ = await outcome(connection, job)
            assert re.search("no room left .*: free disk space there or raise its max_file_store", failed.reason)
            with pytest.raises(StoreError, match=r"no room left .*: free disk space there or raise"):
                await JetStreamStore(connection).put_file("media/x/large.wav", tmp_path / "large.wav")
    finally:
        server.stop()
