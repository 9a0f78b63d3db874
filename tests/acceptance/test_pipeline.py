"""The main job through real stages, engines and broker."""

from pathlib import Path

import pytest

from schemas.requests import SubmitRequest
from tests.harness import DATA, ended, reference, served, transcribe, upload
from tests.observed import record
from tests.patience import PATIENCE
from v2t_stream.broker.connection import Connection
from v2t_stream.demo.wer import word_error_rate
from v2t_stream.jobs.formats import FORMATS
from v2t_stream.jobs.once import message_ids
from v2t_stream.jobs.submission import submit
from v2t_stream.store.jetstream_store import JetStreamStore
from v2t_stream.topology.ids import inbox_epoch, job_id
from v2t_stream.topology.subjects import SUBMIT_SUBJECT


@pytest.mark.parametrize("engine", ["faster-whisper", "whisper-cpp"])
async def test_url_becomes_the_right_words_in_every_format(engine: str, connection: Connection) -> None:
    """Else the product does not do what it is for."""
    with served(DATA) as web:
        request = SubmitRequest(url=f"{web}/20s-1.flac", language="en", engine=engine)
        job, text = await transcribe(connection, request)
    assert job.state == "completed", job.reason
    assert word_error_rate(reference("20s-1.flac"), text) <= 0.05
    store = JetStreamStore(connection)
    assert all([await store.size(f"transcripts/{job.id}/transcript.{suffix}") for suffix in FORMATS])
    transcript = await record(connection, job.id)
    assert (transcript.language, transcript.engines, transcript.models) == ("en", (engine,), ("demo",))
    assert transcript.duration == pytest.approx(20, abs=5)


async def test_words_have_times_when_asked(connection: Connection) -> None:
    """Else word-by-word subtitles, and clips cut at words, are wrong."""
    media = await upload(connection, DATA / "20s-2.flac")
    job, _ = await transcribe(connection, SubmitRequest(media=media, language="en", word_timestamps=True))
    transcript = await record(connection, job.id)
    assert transcript.segments
    for segment in transcript.segments:
        assert " ".join(word.text for word in segment.words) == segment.text
        assert all(segment.start <= word.start <= word.end <= segment.end for word in segment.words)


@pytest.mark.parametrize("form", [b"%s\n", b'{"url": "%s", "language": "en", "model": "demo"}'])
async def test_any_nats_client_can_submit(form: bytes, connection: Connection) -> None:
    """Else `nats pub v2t.submit URL`, the simplest way in, does nothing."""
    with served(DATA) as web:
        ack = await connection.client.jetstream().publish(
            SUBMIT_SUBJECT, form % f"{web}/5s.flac".encode(), timeout=PATIENCE
        )
        job = await ended(connection, job_id(await inbox_epoch(connection), ack.seq))
    assert job.state == "completed", job.reason


async def test_the_same_submission_twice_is_one_job(connection: Connection, tmp_path: Path) -> None:
    """Else a nervous second Enter costs a second transcription."""
    with served(DATA) as web:
        request = SubmitRequest(url=f"{web}/5s.flac?twice", language="en")
        first, second = [
            await submit(connection, request, message_id=message_ids(tmp_path, [request])[0]) for _ in range(2)
        ]
        assert second == (first[0], True)
        assert (await ended(connection, first[0])).state == "completed"


async def test_silence_is_an_empty_transcript(connection: Connection) -> None:
    """Else a silent recording counts as a failure, or gets invented words."""
    media = await upload(connection, DATA / "noise.flac")
    job, text = await transcribe(connection, SubmitRequest(media=media))
    assert (job.state, text) == ("completed", "")
