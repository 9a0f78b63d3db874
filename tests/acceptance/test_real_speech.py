"""Real speech with a real model through real stages, each engine against what its library does by itself.

The library's own figures come from `python -m tests.benchmarks real_words`, which measures these and longer recordings.
"""

from pathlib import Path

import msgspec
import pytest

from schemas.requests import SubmitRequest
from schemas.transcript import Transcript
from tests.harness import transcribe, upload
from tests.real_model import real_model
from tests.real_speech import NOVEL, SONNETS, Score, Speech, Starts, joined, parted, recording, written
from tests.sounds import NOTHING_SAID, samples
from v2t_stream.broker.connection import Connection
from v2t_stream.store.jetstream_store import JetStreamStore

ENGINES = pytest.mark.parametrize("engine", ["faster-whisper", "whisper-cpp"])


async def hear(connection: Connection, engine: str, path: Path) -> Transcript:
    request = SubmitRequest(
        media=await upload(connection, path),
        language="en",
        engine=engine,
        model=str(real_model(engine)),
        word_timestamps=True,
    )
    job, _ = await transcribe(connection, request)
    assert job.state == "completed", job.reason
    data = await JetStreamStore(connection).get(f"transcripts/{job.id}/transcript.json")
    return msgspec.json.decode(data, type=Transcript)


def assert_heard(speech: Speech, heard: Transcript, best: tuple[float, float]) -> None:
    """`best`: the shares of wrong and lost words with the library's own best method."""
    score = Score.of(speech, heard.segments)
    # The benchmark has half as much room; here it is two or three words, by which processors of two makers may differ.
    assert score.wrong <= best[0] + 0.01, score
    assert score.lost <= best[1] + 0.01, score
    assert (heard.gaps, heard.unheard, heard.doubtful) == ((), (), ())


def assert_in_time(speech: Speech, heard: Transcript) -> None:
    starts = Starts.of(speech, heard.segments)
    assert len(starts.offsets) >= 0.7 * starts.sentences
    assert starts.within(0.9) <= 0.30, starts  # of so few sentences 95 % would be all but one
    assert starts.within(1) <= 1, starts
    assert starts.earliest >= -0.5, starts


@pytest.mark.parametrize(("engine", "best"), [("faster-whisper", (0.081, 0.0)), ("whisper-cpp", (0.085, 0.0))])
async def test_old_words_read_by_a_person_are_heard(
    engine: str, best: tuple[float, float], connection: Connection, tmp_path: Path
) -> None:
    """Spoken words are lost, although the job says that it is completed."""
    speech = joined(map(recording, SONNETS), [1])
    heard = await hear(connection, engine, written(tmp_path, "sonnets", speech))
    assert_heard(speech, heard, best)


@pytest.mark.parametrize(("engine", "best"), [("faster-whisper", (0.058, 0.0)), ("whisper-cpp", (0.075, 0.007))])
async def test_a_novel_is_heard_sentence_by_sentence(
    engine: str, best: tuple[float, float], connection: Connection, tmp_path: Path
) -> None:
    """Words are lost where one window ends and the next begins, and subtitles are out of step."""
    speech = joined(parted(recording(NOVEL))[:18], [0])
    heard = await hear(connection, engine, written(tmp_path, "novel", speech))
    assert_heard(speech, heard, best)
    assert_in_time(speech, heard)


@ENGINES
async def test_a_sentence_is_never_shown_before_the_pause_in_front_of_it(
    engine: str, connection: Connection, tmp_path: Path
) -> None:
    """During ten minutes of silence the next sentence is already on the screen."""
    speech = joined(parted(recording(NOVEL))[:6], [2, 600, 1, 60, 5, 0])
    heard = await hear(connection, engine, written(tmp_path, "pauses", speech))
    assert_in_time(speech, heard)
    for segment in heard.segments:
        assert segment.end - segment.start < 20, segment


@ENGINES
@pytest.mark.parametrize("sound", NOTHING_SAID)
async def test_nothing_is_heard_where_nobody_speaks(
    engine: str, sound: str, connection: Connection, tmp_path: Path
) -> None:
    """The transcript contains words that nobody said."""
    quiet = Speech(samples(NOTHING_SAID[sound](20)), ())
    heard = await hear(connection, engine, written(tmp_path, sound.replace(" ", "-"), quiet))
    assert heard.segments == ()
