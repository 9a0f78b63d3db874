"""The API of whisper-asr-webservice, as Bazarr and others use it."""

import json
import struct
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest

from tests.harness import Server, reference
from tests.patience import PATIENCE
from tests.serve.api import CLIP, problem
from tests.serve.inside import inside
from v2t_stream.audio.decode import MediaReader
from v2t_stream.broker.connection import Connection
from v2t_stream.demo.wer import word_error_rate
from v2t_stream.serve.asr import wave_header

SAID = reference(CLIP.name)


def file(data: bytes = CLIP.read_bytes(), name: str = "talk.flac") -> aiohttp.FormData:
    form = aiohttp.FormData()
    form.add_field("audio_file", data, filename=name)
    return form


def decoded() -> bytes:
    """The clip as Bazarr sends it: bare samples."""
    with MediaReader(CLIP) as reader:
        return np.concatenate([*reader.blocks()]).astype("<i2").tobytes()


async def asked(client: aiohttp.ClientSession, data: aiohttp.FormData, **query: str) -> tuple[int, str, Any]:
    async with client.post("/asr", params={"model": "demo", "language": "en", **query}, data=data) as answer:
        assert answer.content_type == "text/plain" or answer.status >= 400
        return answer.status, await answer.text(), answer.headers


async def test_each_output_has_the_words(client: aiohttp.ClientSession) -> None:
    """A program built on that API cannot use the fleet."""
    status, text, headers = await asked(client, file())
    assert status == 200
    assert word_error_rate(SAID, text) <= 0.1
    assert headers["Asr-Engine"] in ("faster_whisper", "whisper_cpp")
    assert headers["Content-Disposition"] == 'attachment; filename="talk.flac.txt"'
    _, srt, _ = await asked(client, file(), output="srt")
    assert srt.startswith("1\n00:00:00,")
    _, vtt, _ = await asked(client, file(), output="vtt")
    assert vtt.startswith("WEBVTT")
    _, tsv, _ = await asked(client, file(), output="tsv")
    assert tsv.startswith("start\tend\ttext\n")
    _, text, _ = await asked(client, file(), output="json", word_timestamps="true", task="transcribe")
    told = json.loads(text)
    assert told["language"] == "en"
    assert word_error_rate(SAID, told["text"]) <= 0.1
    words = [word["word"] for segment in told["segments"] for word in segment["words"]]
    assert word_error_rate(SAID, " ".join(words)) <= 0.1


async def test_bazarrs_samples_are_transcribed_and_their_language_is_found(client: aiohttp.ClientSession) -> None:
    """Bazarr decodes films itself: without a header, nobody knows what the bytes are."""
    film = {"encode": "false", "video_file": "/films/A film (1999).mkv"}
    status, srt, headers = await asked(client, file(decoded(), "audio_file"), output="srt", task="transcribe", **film)
    assert status == 200, srt
    assert word_error_rate(SAID, " ".join(line for line in srt.splitlines() if line[:1].isalpha())) <= 0.1
    assert "X-V2T-Caveats" not in headers
    async with client.post(
        "/detect-language", params={"model": "demo", **film}, data=file(decoded(), "audio_file")
    ) as answer:
        assert answer.status == 200
        assert await answer.json() == {"detected_language": "english", "language_code": "en", "confidence": None}


@pytest.mark.parametrize(
    ("param", "query"),
    [
        ("output", {"output": "docx"}),
        ("task", {"task": "sing"}),
        ("language", {"language": "klingon"}),
        ("min_speakers", {"diarize": "true", "min_speakers": "3", "max_speakers": "2"}),
        ("min_speakers", {"diarize": "true", "min_speakers": "no"}),
        ("beam", {"beam": "5"}),
        ("model", {"model": "lagre-v3"}),
    ],
)
async def test_what_is_not_honoured_is_refused_by_name(
    client: aiohttp.ClientSession, param: str, query: dict[str, str]
) -> None:
    """A parameter changes nothing, and nobody hears of it."""
    status, text, _ = await asked(client, file(), **query)
    told = json.loads(text)["error"]
    assert (status in (400, 404), told["param"]) == (True, param)


async def test_a_form_without_the_file_is_refused(client: aiohttp.ClientSession) -> None:
    """A program sends its file under another name, and waits."""
    form = aiohttp.FormData()
    form.add_field("file", CLIP.read_bytes(), filename="talk.flac")
    status, text, _ = await asked(client, form)
    assert (status, json.loads(text)["error"]["message"].count("audio_file")) == (400, 1)


async def test_a_program_without_a_place_for_a_key_has_it_in_the_address(
    nats: tuple[Server, Connection], tmp_path: Path
) -> None:
    """Bazarr on another machine cannot use a server that needs keys."""
    async with inside(nats[0].url, tmp_path) as served:
        key = await served.key("bazarr", "submitter")
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(PATIENCE)) as client:
            for password, status in ((key, 400), ("wrong", 401)):
                url = served.url.replace("http://", f"http://v2t:{password}@")
                async with client.post(f"{url}/asr", params={"output": "docx"}, data=file()) as answer:
                    await problem(answer, status)


@pytest.mark.parametrize("begin", [b"RIFF\x00\x00\x00\x00WAVE", b"\x00\x00\x00\x20ftypisom", CLIP.read_bytes()[:64]])
def test_a_recording_that_a_client_calls_decoded_stays_as_it_is(begin: bytes) -> None:
    """Its header is heard as noise, or its compressed sound is."""
    assert wave_header(begin) == b""


def test_the_header_of_bare_samples_says_what_they_are() -> None:
    """Samples are played too fast, or as noise."""
    header = wave_header(b"\x00\x01" * 32)
    assert header[:4] == b"RIFF"
    assert struct.unpack("<HHIIHH", header[20:36]) == (1, 1, 16_000, 32_000, 2, 16)
