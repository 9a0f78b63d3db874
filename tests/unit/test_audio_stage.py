"""The stage convert with files of all kinds: its chunks, and what it says about the media."""

import asyncio
import gc
import shutil
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from schemas.chunks import SAMPLE_RATE, ChunkTask, Span
from schemas.events import Converted
from schemas.message import Message
from schemas.objects import Version
from schemas.options import Options
from stages.convert import Convert
from tests.audio_files import Sounding, beeps, speech, write_tracks
from tests.builders import downloaded
from v2t_stream.audio import flac
from v2t_stream.audio.decode import MediaReader
from v2t_stream.audio.packing import Chunk
from v2t_stream.errors import Reject
from v2t_stream.runtime.stage import Resources
from v2t_stream.settings import Settings


class Shelf:
    """A store in memory, of one medium."""

    def __init__(self, media: Path) -> None:
        self.media = media
        self.chunks: dict[str, bytes] = {}

    async def get_file(self, key: str, path: Path, *, version: Version | None = None) -> None:
        shutil.copyfile(self.media, path)

    async def put(self, key: str, data: bytes) -> None:
        self.chunks[key] = data


class Result:
    def __init__(self, messages: list[Message], shelf: Shelf) -> None:
        self.tasks = [message for message in messages if isinstance(message, ChunkTask)]
        (self.converted,) = (message for message in messages if isinstance(message, Converted))
        self.audio = [flac.decode(shelf.chunks[task.audio]) for task in self.tasks]


def begun(shelf: Shelf, options: Options | None = None, **settings: Any) -> AsyncGenerator[Message]:
    """The stage at work for a job with these options."""
    home, name = shelf.media.parent / "home", shelf.media.name
    # The stage needs neither a connection nor a place in the fleet.
    resources = Resources(
        Settings(data_dir=str(home), **settings), cast("Any", None), cast("Any", shelf), cast("Any", None)
    )
    return Convert(resources).process(downloaded(source=name, options=options or Options()))


def convert(path: Path, options: Options | None = None, **settings: Any) -> Result:
    """Run the stage for a job with these options."""
    shelf = Shelf(path)

    async def run() -> list[Message]:
        return [message async for message in begun(shelf, options, **settings)]

    return Result(asyncio.run(run()), shelf)


@pytest.mark.parametrize("breaks", [False, True])
def test_work_that_is_stopped_leaves_the_decoder_before_it_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, *, breaks: bool
) -> None:
    """Else each cancelled job logs an error, and its thread reads a file that is already closed."""
    events: list[str] = []
    entered = threading.Event()

    def cutting(*_: object, **__: object) -> Iterator[tuple[Chunk, ...]]:
        yield (Chunk((Span(0, SAMPLE_RATE),), np.zeros(SAMPLE_RATE, np.int16), ()),)
        entered.set()
        time.sleep(0.2)
        events.append("left")
        if breaks:
            raise RuntimeError("the file breaks off here")

    close = MediaReader.close

    def closed(reader: MediaReader) -> None:
        events.append("closed")
        close(reader)

    async def run() -> None:
        work = begun(Shelf(write_tracks(tmp_path / "a.flac", [Sounding(beeps(5))], "flac")))
        await anext(work)
        await asyncio.to_thread(entered.wait)
        await work.aclose()

    monkeypatch.setattr("stages.convert.cut", cutting)
    monkeypatch.setattr(MediaReader, "close", closed)
    asyncio.run(run())
    gc.collect()
    assert events == ["left", "closed"]
    assert "never retrieved" not in caplog.text


def test_marks_of_speech_go_with_each_chunk(tmp_path: Path) -> None:
    """What was said and not written can only be looked for where one knows that somebody spoke."""
    result = convert(write_tracks(tmp_path / "a.flac", [Sounding(np.tile(speech("20s-1.flac"), 3))], "flac"))
    assert len(result.tasks) > 1
    for task, audio in zip(result.tasks, result.audio, strict=True):
        assert task.speech
        assert len(audio) == sum(span.length for span in task.spans)
        for mark in task.speech:
            assert any(
                span.start <= mark.start and mark.start + mark.length <= span.start + span.length for span in task.spans
            )
    marked = sum(mark.length for task in result.tasks for mark in task.speech or ())
    assert result.converted.sound is not None
    assert result.converted.sound.speech == marked / SAMPLE_RATE
    assert 0 < result.converted.sound.speech < result.converted.speech


def test_a_recording_at_minus_80_dbfs_reaches_the_engine(tmp_path: Path) -> None:
    """Three steps were left of the voice, in which no engine hears a word."""
    quiet = speech("20s-1.flac") * 10**-3.2
    result = convert(write_tracks(tmp_path / "a.wav", [Sounding(quiet)], "pcm_s24le"))
    assert result.converted.sound is not None
    assert result.converted.sound.level is not None
    assert -90 < result.converted.sound.level < -75
    loudest = max(np.abs(audio).max() for audio in result.audio)
    assert loudest > 0.05
    assert len(np.unique(np.concatenate(result.audio))) > 2_000


@pytest.mark.parametrize("by", ["the job", "the machine"])
def test_without_the_detector_all_sound_is_transcribed(by: str, tmp_path: Path) -> None:
    """Whoever knows that there is whispering, in which the detector hears nobody, has it transcribed."""
    sound = np.concatenate((beeps(40), np.zeros(40 * SAMPLE_RATE)))
    path = write_tracks(tmp_path / "a.flac", [Sounding(sound)], "flac")
    assert not convert(path).tasks
    result = convert(path, Options(vad_threshold=0)) if by == "the job" else convert(path, vad_threshold=0)
    assert [task.speech for task in result.tasks] == [None] * len(result.tasks)
    spans = [span for task in result.tasks for span in task.spans]
    assert sum(span.length for span in spans) == len(sound)
    assert all(task.seconds <= 30 for task in result.tasks)
    assert convert(path, Options(vad_threshold=0.5), vad_threshold=0).tasks == []


def test_a_lower_threshold_hears_more(tmp_path: Path) -> None:
    """Whoever loses words in noise can ask for more to be heard."""
    noise = np.random.default_rng(0).standard_normal(20 * SAMPLE_RATE) * 0.2
    path = write_tracks(tmp_path / "a.flac", [Sounding(speech("20s-1.flac") * 0.35 + noise)], "flac")
    heard = [convert(path, Options(vad_threshold=threshold)).converted.sound for threshold in (0.9, 0.5, 0.05)]
    seconds = [sound.speech for sound in heard if sound]
    assert seconds == sorted(seconds)
    assert seconds[0] < seconds[2]


def test_the_track_of_the_job_is_taken(tmp_path: Path) -> None:
    """The options must reach the decoder."""
    tracks = [
        Sounding(speech(), metadata={"language": "eng"}),
        Sounding(np.zeros(5 * SAMPLE_RATE), metadata={"language": "ger"}),
    ]
    path = write_tracks(tmp_path / "a.mka", tracks, "flac")
    assert convert(path).tasks
    for options in (Options(language="de"), Options(audio_track="2"), Options(language="en", audio_track="deu")):
        result = convert(path, options)
        assert not result.tasks
        assert result.converted.sound is not None
        assert [track.taken for track in result.converted.sound.tracks] == [False, True]
        assert result.converted.sound.peak is None
    with pytest.raises(Reject, match=r"^a\.mka has no audio track '3': choose 1 \(eng, 1 channel\) or 2 \(ger, 1"):
        convert(path, Options(audio_track="3"))


def test_half_a_file_is_done_and_said_to_be_half(tmp_path: Path) -> None:
    """Nobody asks for the rest of a transcript that calls itself complete."""
    path = write_tracks(tmp_path / "a.flac", [Sounding(np.tile(speech("20s-1.flac"), 3))], "flac")
    assert convert(path).converted.truncated is None
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    result = convert(path)
    assert result.tasks
    assert result.converted.truncated is not None
    assert result.converted.truncated.declared == 60
    assert result.converted.truncated.decoded == pytest.approx(result.converted.duration) == pytest.approx(30, abs=4)


def test_the_limit_is_on_what_is_decoded(tmp_path: Path) -> None:
    """22 seconds of a broadcast were refused as 25 hours, for timestamps that started anew."""
    data = b""
    for start in (50_000.0, 10.0):
        path = tmp_path / f"{start}.ts"
        data += write_tracks(path, [Sounding(beeps(11), start=start)], "aac", container_format="mpegts").read_bytes()
    path = tmp_path / "a.ts"
    path.write_bytes(data)
    assert convert(path, max_duration=25).converted.duration == pytest.approx(22, abs=0.2)
    with pytest.raises(Reject, match=r"^a\.ts is longer than the allowed .* hours: raise V2T_MAX_DURATION"):
        convert(path, max_duration=15)
