"""Decoding: all media becomes 16 kHz mono on its own clock, and bad media gives one clear sentence."""

import struct
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.transcript import Truncated
from v2t_stream.audio.decode import MediaReader
from v2t_stream.audio.resample import MonoResampler
from v2t_stream.errors import Reject

Samples = NDArray[np.int16]


def tone(seconds: float, rate: int = 16_000, hertz: float = 440) -> Samples:
    wave = 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
    return (wave * 32767).astype(np.int16)


def write(
    path: Path,
    parts: Iterable[tuple[float, Samples]],
    codec: str,
    *,
    rate: int = 16_000,
    video: float = 0,
    options: dict[str, str] | None = None,
    title: str = "",
) -> Path:
    """Write mono `parts`, each at its second, beside `video` seconds of pictures."""
    with av.open(path, "w", options=options or {}) as container:
        container.metadata["title"] = title
        pictures = container.add_stream("mpeg4", rate=10) if video else None
        audio = container.add_stream(codec, rate=rate, layout="mono")
        if pictures:
            pictures.width, pictures.height, pictures.pix_fmt = 32, 32, "yuv420p"
            for n in range(round(video * 10)):
                picture = av.VideoFrame(32, 32, "yuv420p")
                picture.pts, picture.time_base = n, Fraction(1, 10)
                container.mux(pictures.encode(picture))
            container.mux(pictures.encode(None))
        for start, samples in parts:
            for at in range(0, len(samples), 1024):
                frame = av.AudioFrame.from_ndarray(samples[np.newaxis, at : at + 1024], format="s16", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = rate, round(start * rate) + at, Fraction(1, rate)
                container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    return path


def wav(path: Path, samples: NDArray[np.generic], rate: int, tag: int = 1) -> Path:
    """Write a plain WAV by hand: shape (samples, channels), any number of channels, without their names."""
    size, channels = samples.dtype.itemsize, samples.shape[1]
    form = struct.pack("<HHIIHH", tag, channels, rate, rate * channels * size, channels * size, 8 * size)
    data = samples.tobytes()
    body = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path


def read(path: Path) -> Samples:
    with MediaReader(path) as reader:
        audio = np.concatenate(list(reader.blocks()))
        assert reader.position == len(audio) / 16_000
        return audio


def loudness(audio: Samples) -> list[int]:
    """The peak of each tenth of a second."""
    tenths = audio[: len(audio) // 1600 * 1600].reshape(-1, 1600)
    return [int(peak) for peak in np.abs(tenths.astype(np.int32)).max(axis=1)]


def pitch(audio: Samples) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(audio))) * 16_000 / len(audio))


def test_old_telephone_recording_keeps_its_pitch_and_length(tmp_path: Path) -> None:
    """An 8-bit 8 kHz file read wrongly is noise, or speech at double speed."""
    data = ((tone(2, 8_000).astype(np.int32) >> 8) + 128).astype(np.uint8)
    audio = read(wav(tmp_path / "phone.wav", data[:, np.newaxis], 8_000))
    assert len(audio) == 32_000
    assert pitch(audio) == pytest.approx(440, abs=1)
    assert 15_000 < np.abs(audio[4_000:28_000]).max() < 18_000


def test_surround_sound_is_mixed_to_one(tmp_path: Path) -> None:
    """In a 5.1 film people speak in the centre channel: taking the left one would transcribe nothing."""
    layers = np.zeros((6, 96_000), np.int32)
    layers[2] = tone(1, 96_000).astype(np.int32) << 16
    path = tmp_path / "film.mkv"
    with av.open(path, "w") as container:
        stream = container.add_stream("pcm_s32le", rate=96_000, layout="5.1")
        frame = av.AudioFrame.from_ndarray(layers.T.reshape(1, -1).copy(), format="s32", layout="5.1")
        frame.sample_rate, frame.pts, frame.time_base = 96_000, 0, Fraction(1, 96_000)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    audio = read(path)
    assert len(audio) == pytest.approx(16_000, abs=16)
    assert pitch(audio[2_000:14_000]) == pytest.approx(440, abs=2)
    assert np.abs(audio).max() > 2_500


@pytest.mark.parametrize("channels", [3, 9])
@pytest.mark.parametrize("kind", [np.int16, np.uint8])
def test_nameless_channels_all_count(tmp_path: Path, channels: int, kind: type[np.generic]) -> None:
    """Of a field recorder's microphones any may hold the speaker; FFmpeg drops the third of three, refuses nine."""
    data = np.zeros((48_000, channels), np.int16)
    data[:, channels - 1] = tone(1, 48_000)
    if kind is np.uint8:
        data = ((data >> 8) + 128).astype(np.uint8)  # type: ignore[assignment]
    audio = read(wav(tmp_path / "mics.wav", data, 48_000))
    assert len(audio) == 16_000
    assert np.abs(audio[1_000:15_000].astype(np.int32)).max() == pytest.approx(16_383 / channels, rel=0.1)


@pytest.mark.parametrize(("name", "codec"), [("a.m4a", "aac"), ("a.mp3", "libmp3lame"), ("a.flac", "flac")])
def test_very_short_clip(tmp_path: Path, name: str, codec: str) -> None:
    """A clip of 0.3 s is shorter than a block and than some decoders' delay; it must not be lost in a buffer."""
    path = write(tmp_path / name, [(0, tone(0.3, 44_100))], codec, rate=44_100)
    assert len(read(path)) == pytest.approx(4_800, abs=1_000)


def test_memory_is_flat(tmp_path: Path) -> None:
    """Hours must not be held at once: whatever the length, blocks are of seconds."""
    path = write(tmp_path / "long.flac", [(0, np.tile(tone(10), 12))], "flac")
    with MediaReader(path) as reader:
        assert reader.duration == 120
        sizes = [len(block) for block in reader.blocks()]
    assert sum(sizes) == 120 * 16_000
    assert max(sizes) < 5 * 16_000


@pytest.mark.parametrize("name", ["late.mp4", "late.mkv"])
def test_audio_that_starts_late(tmp_path: Path, name: str) -> None:
    """Where the sound starts 2 s after the picture, subtitles counted from the sound would come 2 s early."""
    audio = read(write(tmp_path / name, [(2, tone(1))], "aac", video=3))
    peaks = loudness(audio)
    assert max(peaks[:19]) < 500
    assert min(peaks[21:29]) > 10_000


def test_gap_becomes_silence(tmp_path: Path) -> None:
    """A microphone that was off for 3 s leaves a hole; without it all later subtitles would come 3 s early."""
    peaks = loudness(read(write(tmp_path / "muted.mkv", [(0, tone(1)), (4, tone(1))], "pcm_s16le")))
    assert len(peaks) == 50
    assert min(peaks[:9]) > 10_000
    assert max(peaks[11:39]) < 500
    assert min(peaks[41:49]) > 10_000


def test_bogus_gap_is_ignored(tmp_path: Path) -> None:
    """One wrong timestamp must not cost ten hours of silence, nor the true gaps behind it."""
    path = write(tmp_path / "bogus.mkv", [(0, tone(1)), (36_000, tone(1)), (36_003, tone(1))], "pcm_s16le")
    assert len(read(path)) == 5 * 16_000


def test_gap_past_the_declared_end_is_ignored(tmp_path: Path) -> None:
    """A timestamp past the end that the file itself declares is wrong, however short the gap."""
    path = write(tmp_path / "bogus.mkv", [(0, tone(1)), (600, tone(1))], "pcm_s16le")
    with MediaReader(path) as reader:
        reader._clock.end = 2.0
        assert sum(map(len, reader.blocks())) == 32_000


def test_form_may_change_on_the_way() -> None:
    """A broadcast goes from stereo to mono for the news: the decoder must follow, not crash."""
    resampler, total = MonoResampler("a"), 0
    for rate, layout, count in ((48_000, "stereo", 2), (44_100, "mono", 1), (48_000, "stereo", 2)):
        for _ in range(10):
            frame = av.AudioFrame.from_ndarray(np.ones((1, rate // 10 * count), np.int16), "s16", layout)
            frame.sample_rate = rate
            total += sum(map(len, resampler.push(frame)))
    total += sum(map(len, resampler.flush()))
    assert total == pytest.approx(48_000, abs=8)


def test_title_of_the_file(tmp_path: Path) -> None:
    """The title that a file carries names its transcript better than `video(3).mp4` does."""
    path = write(tmp_path / "v.mka", [(0, tone(1))], "pcm_s16le", title="Grüße")
    with MediaReader(path) as reader:
        assert reader.title == "Grüße"


PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:9,\nsecret.ts\n#EXT-X-ENDLIST\n"
BAD = {
    "empty": (b"", "is empty"),
    "text": (b"This is not a video.\n" * 50, "not audio or video"),
    "noise": (np.random.default_rng(1).bytes(100_000), "not audio or video"),
    "subtitles": (b"1\n00:00:01,000 --> 00:00:02,000\nhello\n\n" * 9, "not audio or video"),
}


@pytest.mark.parametrize("kind", BAD)
def test_not_media(tmp_path: Path, kind: str) -> None:
    """The user learns which file is wrong and why, in one sentence with the name that he knows it by."""
    data, words = BAD[kind]
    path = tmp_path / "source"
    path.write_bytes(data)
    with pytest.raises(Reject, match=words) as caught:
        MediaReader(path, "holiday.mp4")
    assert str(caught.value).startswith("holiday.mp4 ")
    assert str(path) not in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    """A mistyped name is said to be one."""
    with pytest.raises(Reject, match=r"nothing\.mp4 cannot be opened"):
        MediaReader(tmp_path / "nothing.mp4")


def test_silent_film(tmp_path: Path) -> None:
    """A screen recording without sound fails with that reason and not with an empty transcript."""
    path = tmp_path / "screen.mp4"
    with av.open(path, "w") as container:
        pictures = container.add_stream("mpeg4", rate=10)
        pictures.width, pictures.height, pictures.pix_fmt = 32, 32, "yuv420p"
        container.mux(pictures.encode(av.VideoFrame(32, 32, "yuv420p")))
        container.mux(pictures.encode(None))
    with pytest.raises(Reject, match=r"screen\.mp4 has no audio track"):
        MediaReader(path)


def test_unknown_codec(tmp_path: Path) -> None:
    """An exotic codec is named as the reason, rather than a crash in the middle."""
    path = wav(tmp_path / "exotic.wav", tone(1)[:, np.newaxis], 16_000, tag=0x1234)
    with pytest.raises(Reject, match="cannot decode"):
        MediaReader(path)


@pytest.mark.parametrize("name", ["video.mp4", "video.m3u8"])
@pytest.mark.parametrize("text", ["ffconcat version 1.0\nfile secret.ts\n", PLAYLIST])
def test_playlist_reads_no_other_file(tmp_path: Path, name: str, text: str) -> None:
    """A playlist sent as a video must not make a worker transcribe another user's file, or fetch an address."""
    write(tmp_path / "secret.ts", [(0, tone(1))], "aac")
    (tmp_path / name).write_text(text)
    with pytest.raises(Reject, match="not audio or video"):
        read(tmp_path / name)


def test_download_that_stopped(tmp_path: Path) -> None:
    """Half a file must not pass for the whole: what is there is done, and it is said how much is missing."""
    path = write(tmp_path / "a.mp4", [(0, tone(20))], "aac", options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with MediaReader(path) as reader:
        assert sum(map(len, reader.blocks())) == pytest.approx(160_000, abs=16_000)
        assert reader.truncated == Truncated(declared=pytest.approx(20, abs=0.1), decoded=reader.position)


def test_download_that_stopped_in_fragments(tmp_path: Path) -> None:
    """The same for a file in fragments, which has no index of the whole."""
    whole = write(tmp_path / "whole.mp4", [(0, tone(20))], "aac")
    path = tmp_path / "a.mp4"
    flags = {"movflags": "empty_moov+default_base_moof+global_sidx", "frag_duration": "1000000"}
    with av.open(whole) as source, av.open(path, "w", options=flags) as target:
        stream = target.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(audio=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    assert len(read(path)) == pytest.approx(320_000, abs=2_000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with MediaReader(path) as reader:
        assert sum(map(len, reader.blocks())) == pytest.approx(160_000, abs=32_000)
        assert reader.truncated == Truncated(declared=pytest.approx(20, abs=0.1), decoded=reader.position)


def test_recording_that_stopped(tmp_path: Path) -> None:
    """A camera that lost power writes no index: nothing can be read, and the sentence says that this is why."""
    path = write(tmp_path / "a.mp4", [(0, tone(5))], "aac")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(Reject, match=r"a\.mp4 cannot be read: it is cut off before its index"):
        MediaReader(path)


def spoil(path: Path, start: float, end: float) -> None:
    """Overwrite a part of the file, from one share of its length to another."""
    data = bytearray(path.read_bytes())
    data[int(start * len(data)) : int(end * len(data))] = bytes(int(end * len(data)) - int(start * len(data)))
    path.write_bytes(data)


def test_scratch_in_the_middle(tmp_path: Path) -> None:
    """A second that cannot be decoded costs that second; what comes after keeps its time."""
    path = write(tmp_path / "a.mp4", [(0, np.concatenate((tone(10), np.zeros(160_000, np.int16), tone(10))))], "aac")
    whole = read(path)
    spoil(path, 0.20, 0.25)
    audio = read(path)
    assert len(audio) == pytest.approx(len(whole), abs=200)
    assert min(loudness(audio)[202:298]) > 10_000
    assert max(loudness(audio)[102:198]) < 500


@pytest.mark.parametrize("start", [0.1, 0.5])
def test_mostly_unreadable(tmp_path: Path, start: float) -> None:
    """A file of which half is zeros must not complete with half a transcript."""
    path = write(tmp_path / "a.mp4", [(0, tone(20))], "aac", options={"movflags": "faststart"})
    spoil(path, start, 1)
    with pytest.raises(Reject, match=r"a\.mp4 is damaged"):
        read(path)


def test_nothing_but_damage(tmp_path: Path) -> None:
    """A short clip of which nothing can be decoded is not "no speech"."""
    path = write(tmp_path / "a.mp4", [(0, tone(3))], "aac")
    data = bytearray(path.read_bytes())
    start, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    data[start:end] = bytes(end - start)
    path.write_bytes(data)
    with pytest.raises(Reject, match="none of it can be decoded"):
        read(path)


def test_closed_on_the_way(tmp_path: Path) -> None:
    """A cancelled job closes the file under its decoder: an error and not a crash, nor an early end."""
    reader = MediaReader(write(tmp_path / "a.flac", [(0, tone(20))], "flac"))
    blocks = reader.blocks()
    next(blocks)
    reader.close()
    with pytest.raises(RuntimeError, match="closed"):
        next(blocks)
