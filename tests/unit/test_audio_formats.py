"""Every container and codec: what was said at second n is at second n, and as long as it was."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from tests.audio_files import Sounding, beeps, onsets, write_tracks
from v2t_stream.audio.decode import MediaReader


class Form(NamedTuple):
    """A container's name and a codec; `format` where the name does not say it."""

    suffix: str
    codec: str
    rate: int = 48_000
    format: str | None = None
    layout: str = "mono"
    pictures: float = 0  # where the container wants some
    picture_codec: str = "mpeg4"
    size: tuple[int, int] = (64, 64)
    declares: bool | None = True  # its length, whatever became of its end; None: there is no telling what is where
    delay: float = 0.0  # seconds that a codec lays before the sound without saying so, by its specification
    filling: float = 0.05  # seconds, of a last frame or packet

    def __str__(self) -> str:
        return f"{self.format or self.suffix}-{self.codec}-{self.rate}{'-film' * bool(self.pictures)}"


FORMS = [
    *(Form("wav", codec) for codec in ("pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le", "pcm_u8")),
    *(Form("wav", codec, 8_000) for codec in ("pcm_alaw", "pcm_mulaw")),
    *(Form("wav", codec) for codec in ("adpcm_ms", "adpcm_ima_wav", "libmp3lame", "mp2", "ac3")),
    *(Form("w64", codec) for codec in ("pcm_s16le", "pcm_s24le")),
    *(Form("aiff", codec) for codec in ("pcm_s16be", "pcm_s24be")),
    *(Form("caf", codec) for codec in ("pcm_s16le", "pcm_f32be")),
    Form("caf", "alac", declares=None),
    *(Form("au", codec) for codec in ("pcm_s16be", "pcm_mulaw")),
    Form("flac", "flac"),
    Form("wv", "wavpack"),
    Form("tta", "tta"),
    Form("sox", "pcm_s32le"),
    Form("mp3", "libmp3lame"),
    Form("mp3", "libmp3lame", 22_050),
    Form("mp2", "mp2", declares=False),
    Form("ac3", "ac3", declares=False),
    Form("eac3", "eac3", declares=False),
    Form("aac", "aac", format="adts", declares=False, delay=1024 / 48_000),
    Form("latm", "aac", format="latm", declares=False, delay=1024 / 48_000),
    Form("amr", "libopencore_amrnb", 8_000, declares=False),
    Form("voc", "pcm_u8", 8_000, declares=False),
    *(Form("ogg", codec, declares=False) for codec in ("libopus", "flac")),
    *(Form("mka", codec) for codec in ("aac", "libopus", "flac", "pcm_s16le", "libmp3lame", "ac3", "eac3", "alac")),
    Form("mkv", "aac", pictures=6),
    Form("webm", "libopus"),
    *(Form("m4a", codec, format="ipod") for codec in ("aac", "alac", "ac3")),
    *(Form("mp4", codec) for codec in ("aac", "libmp3lame", "libopus", "flac", "alac", "ac3", "eac3", "mp2")),
    Form("mp4", "aac", pictures=6),
    *(Form("mov", codec) for codec in ("pcm_s16le", "pcm_s24be", "aac", "alac", "adpcm_ima_qt")),
    Form("3gp", "libopencore_amrnb", 8_000),
    *(Form("ts", codec, format="mpegts", declares=False) for codec in ("aac", "mp2", "libmp3lame", "ac3", "libopus")),
    Form("ts", "aac", format="mpegts", pictures=6, picture_codec="mpeg2video", declares=False),
    *(Form("mpg", codec, format="mpeg", declares=False) for codec in ("mp2", "ac3")),
    Form("mpg", "mp2", format="mpeg", pictures=6, picture_codec="mpeg2video", declares=False),
    *(Form("avi", codec) for codec in ("libmp3lame", "pcm_s16le", "ac3", "mp2", "aac")),
    Form("avi", "libmp3lame", pictures=6),
    *(
        Form("wma", codec, 44_100, format="asf", layout="stereo", delay=2048 / 44_100, filling=0.1)
        for codec in ("wmav1", "wmav2")
    ),
    *(Form("flv", codec, 44_100) for codec in ("aac", "libmp3lame")),
    *(Form("nut", codec, declares=False) for codec in ("aac", "pcm_s16le", "libopus")),
    Form("rm", "real_144", 8_000, declares=False),
    Form("wtv", "mp2", declares=None),
    Form("mxf", "pcm_s16le", pictures=6, picture_codec="mpeg2video", size=(720, 576), declares=None),
    Form(
        *("gxf", "pcm_s16le"),
        pictures=6,
        picture_codec="mpeg2video",
        size=(720, 576),
        declares=None,
        filling=0.2,
    ),
]


def written(form: Form, folder: Path, seconds: float = 6) -> Path:
    samples = beeps(seconds, form.rate)
    channels = 2 if form.layout == "stereo" else 1
    track = Sounding(samples[None].repeat(channels, axis=0), form.layout)
    return write_tracks(
        folder / f"a.{form.suffix}",
        [track],
        form.codec,
        rate=form.rate,
        container_format=form.format,
        pictures=form.pictures and seconds,
        picture_codec=form.picture_codec,
        size=form.size,
        # Of an MP4 that has its index at the end nothing can be read where that is missing.
        options={"movflags": "faststart"} if form.suffix in {"mp4", "m4a", "mov", "3gp"} else {},
    )


@pytest.mark.parametrize("form", FORMS, ids=Form.__str__)
def test_what_is_heard_at_a_second_stands_at_that_second(form: Form, tmp_path: Path) -> None:
    """Subtitles of this kind of file come early or late, or the file is said to be cut off when it is whole."""
    path = written(form, tmp_path)
    with MediaReader(path) as reader:
        blocks = list(reader.blocks())
        assert reader.truncated is None
        assert -0.05 < reader.position - 6 < form.filling + form.delay
    assert onsets(np.concatenate(blocks)) == pytest.approx([1, 2, 3, 4, 5], abs=0.03 + form.delay)


@pytest.mark.parametrize("form", [form for form in FORMS if form.declares], ids=Form.__str__)
def test_a_file_that_is_cut_off_says_how_much_of_it_there_is(form: Form, tmp_path: Path) -> None:
    """Half of a recording passes for the whole, and nobody ever asks for the other half."""
    path = written(form, tmp_path, 20)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with MediaReader(path) as reader:
        blocks = list(reader.blocks())
        assert reader.truncated is not None
        assert reader.truncated.declared == pytest.approx(20, rel=0.15)
        assert reader.truncated.decoded == pytest.approx(reader.position, abs=0.05)
        assert reader.position == pytest.approx(12, abs=3)
    assert len(onsets(np.concatenate(blocks))) == pytest.approx(11, abs=3)


@pytest.mark.parametrize("form", [form for form in FORMS if form.declares is False], ids=Form.__str__)
def test_where_no_length_is_declared_what_is_there_is_done(form: Form, tmp_path: Path) -> None:
    """A recording of a live stream is refused, or said to be cut off, for a guess that its length is another."""
    path = written(form, tmp_path, 20)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with MediaReader(path) as reader:
        blocks = list(reader.blocks())
        assert reader.truncated is None
    assert len(onsets(np.concatenate(blocks))) == pytest.approx(11, abs=3)
