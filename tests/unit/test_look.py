"""Recordings are known by what is in them."""

import zipfile
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.audio_files import Sounding, beeps, write_tracks
from v2t_stream.audio.look import Kind, look

BEEPS = Sounding(beeps(2, 48_000))


@pytest.mark.parametrize(
    ("name", "codec", "more"),
    [
        ("talk.m4b", "aac", {"container_format": "mp4"}),
        ("talk.mka", "libopus", {"container_format": "matroska"}),
        ("talk.m2ts", "aac", {"container_format": "mpegts", "options": {"mpegts_m2ts_mode": "1"}, "pictures": 1.0}),
        ("talk.ts", "mp2", {"container_format": "mpegts", "pictures": 1.0}),
        ("talk.vob", "mp2", {"container_format": "vob", "pictures": 1.0, "picture_codec": "mpeg2video"}),
        ("talk.caf", "pcm_s16le", {}),
        ("talk.weba", "libopus", {"container_format": "webm"}),
        ("talk.mp3", "libmp3lame", {}),
        ("talk.opus", "libopus", {"container_format": "ogg"}),
        ("talk.wma", "wmav2", {"container_format": "asf"}),
        ("talk.aac", "aac", {"container_format": "adts"}),
        ("talk", "flac", {"container_format": "flac"}),
        ("talk.txt", "pcm_s16le", {"container_format": "wav"}),
    ],
)
def test_a_recording_is_one_whatever_its_name(name: str, codec: str, more: dict[str, Any], tmp_path: Path) -> None:
    """A folder of audio books, or of a camera's films, is silently left out."""
    path = write_tracks(tmp_path / name, [BEEPS], codec, rate=48_000, **more)
    assert look(path, name) == (Kind.RECORDING, "")


def picture(path: Path, codec: str, form: str, **options: str) -> Path:
    """A picture, or a short film of one, without sound."""
    with av.open(path, "w", format=form, options=options) as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height = 64, 64
        stream.pix_fmt = {"mjpeg": "yuvj420p", "png": "rgb24", "gif": "rgb8"}.get(codec, "yuv420p")
        for n in range(1 if form == "image2" else 10):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 25 * n, np.uint8), "rgb24")
            frame.pts = n
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_pictures_are_no_recordings(tmp_path: Path) -> None:
    """Each cover in a folder of music becomes a job that fails."""
    for name, codec, form in (("a.jpg", "mjpeg", "image2"), ("a.png", "png", "image2"), ("a.gif", "gif", "gif")):
        found = look(picture(tmp_path / name, codec, form, update="1") if form == "image2"
                     else picture(tmp_path / name, codec, form), name)  # fmt: skip
        assert found.kind is Kind.FOREIGN, name


def test_a_film_without_sound_is_told_from_what_is_no_film(tmp_path: Path) -> None:
    """A screen recording without sound counts as damaged."""
    kind, reason = look(picture(tmp_path / "mute.mp4", "mpeg4", "mp4"), "mute.mp4")
    assert kind is Kind.SILENT
    assert reason == "mute.mp4 has no audio track, so there is nothing to transcribe"


def test_sound_that_nothing_can_decode_is_not_called_silence(tmp_path: Path) -> None:
    """A recording is left out of a folder as a film without sound, and its words are missed by nobody."""
    path = write_tracks(tmp_path / "talk.mka", [BEEPS], "libopus", rate=48_000, container_format="matroska")
    path.write_bytes(path.read_bytes().replace(b"A_OPUS", b"A_NEWS"))
    assert look(path, "talk.mka") == (
        Kind.UNDECODABLE,
        "talk.mka has audio that v2t cannot decode: convert it to AAC, MP3 or FLAC first",
    )


SRT = "1\n00:00:00,000 --> 00:00:02,000\nHello.\n\n2\n00:00:02,000 --> 00:00:04,000\nGoodbye.\n\n" * 50
CODE = "import { a } from './a';\nexport const GGG: number[] = [0x47, 0x47];\n" * 500


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("talk.srt", SRT.encode()),
        ("talk.vtt", f"WEBVTT\n\n{SRT}".encode()),
        ("talk.json", b'{"segments": []}' * 100),
        ("talk.lrc", b"[ti:Talk]\n[00:00.00]Hello\n" * 100),
        ("ansi.txt", b"\x1b[31mred\x1b[0m \xdb\xdb\xdb\r\n" * 200),
        ("app.ts", CODE.encode()),
        ("gggg.ts", b"G" * 4096),
        ("list.m3u8", b"#EXTM3U\n#EXTINF:9,\ntalk.mp3\n"),
        ("list.ffconcat", b"ffconcat version 1.0\nfile 'talk.mp3'\n"),
        ("page.mp4", b"<html><body>404</body></html>"),
        ("zeros.bin", bytes(100_000)),
        ("ones.bin", b"\xff" * 100_000),
        ("noise.bin", np.random.default_rng(1).bytes(300_000)),
    ],
)
def test_what_is_neither_is_left_out(name: str, content: bytes, tmp_path: Path) -> None:
    """A program's source or a subtitle is sent to be transcribed."""
    (tmp_path / name).write_bytes(content)
    kind, reason = look(tmp_path / name, name)
    assert kind is Kind.FOREIGN
    assert reason.startswith(f"{name} ")


def test_documents_and_programs_are_left_out(tmp_path: Path) -> None:
    """A folder with a library's programs or archives in it is full of failures."""
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.write(__file__, "a.py")
    for path in (archive, Path(av.__file__), *Path(av.__file__).parent.glob("_core*.so")):
        assert look(path, path.name).kind is Kind.FOREIGN, path


def test_what_cannot_be_read_says_so(tmp_path: Path) -> None:
    """An empty or vanished file reads as a format that nobody knows."""
    (tmp_path / "empty.mp4").touch()
    assert look(tmp_path / "empty.mp4", "empty.mp4").kind is Kind.EMPTY
    (tmp_path / "gone.mp4").symlink_to("nowhere")
    kind, reason = look(tmp_path / "gone.mp4", "gone.mp4")
    assert kind is Kind.UNREADABLE
    assert reason == "gone.mp4 cannot be read (No such file or directory): check that you may read it"
