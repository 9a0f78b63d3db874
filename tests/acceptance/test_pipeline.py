"""The main job through real stages, engines and broker."""

import json
from pathlib import Path

import pytest

from schemas.message import encode
from schemas.requests import SubmitRequest
from tests.harness import DATA, broker, ended, node, served, transcribe, upload
from v2t_stream.object_store import JetStreamStore
from v2t_stream.topology import SUBMIT_SUBJECT
from v2t_stream.wer import word_error_rate

CLIP = next(DATA.glob("s20_*.*"))


def reference(clip: Path) -> str:
    sentences = json.loads((DATA / "references.json").read_text())[clip.stem]
    return " ".join(sentence["text"] for sentence in sentences)


@pytest.mark.parametrize("engine", ["faster-whisper", "whisper-cpp"])
async def test_right_words_in_every_format(engine: str, tmp_path: Path) -> None:
    """Else the product does not do what it is for."""
    async with broker(tmp_path / "nats") as (server, connection):
        with node(server.url, tmp_path / "home"), served(DATA) as web:
            job, text = await transcribe(connection, SubmitRequest(url=f"{web}/{CLIP.name}", language="en", engine=engine))
            assert job.state == "completed", job.reason
            assert word_error_rate(reference(CLIP), text) <= 0.02
            store = JetStreamStore(connection.client)
            for suffix in ("json", "srt", "vtt", "txt", "tsv", "lrc"):
                assert await store.size(f"transcripts/{job.id}/transcript.{suffix}")
