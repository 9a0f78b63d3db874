"""Malicious media: it opens no other files, decodes no pictures, and fits into memory."""

import io
import socket
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.unit.test_audio_decode import read, tone, wav, write
from v2t_stream.audio.damage import Damage
from v2t_stream.audio.decode import MediaReader
from v2t_stream.audio.parts import Part
from v2t_stream.audio.source import _File, open_media
from v2t_stream.errors import Reject

LISTS = {
    "HLS": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n",
    "HLS, a variant": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=64000\n{}\n",
    "HLS, a key": (
        '#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXT-X-KEY:METHOD=AES-128,URI="{0}"\n#EXTINF:9,\n{0}\n#EXT-X-ENDLIST\n'
    ),
    "HLS, a part of a file": (
        '#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:10\n#EXT-X-MAP:URI="{0}"\n#EXTINF:9,\n#EXT-X-BYTERANGE:9@0\n{0}\n'
    ),
    "ffconcat": "ffconcat version 1.0\nfile '{}'\n",
    "ffconcat with a protocol": "ffconcat version 1.0\nfile 'subfile,,start,0,end,0,,:{}'\n",
    "DASH": (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT5S"'
        '><Period><AdaptationSet mimeType="audio/wav"><Representation id="1" bandwidth="64000"><BaseURL>{}</BaseURL>'
        "</Representation></AdaptationSet></Period></MPD>"
    ),
    "SDP": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\na=control:{}\n",
    "ASX": '<asx version="3.0"><entry><ref href="{}"/></entry></asx>',
    "RealMedia's list": "{}\n",
    "PLS": "[playlist]\nFile1={}\nNumberOfEntries=1\n",
    "QuickTime's list": '<?xml version="1.0"?><?quicktime type="application/x-quicktime-media-link"?><embed src="{}"/>',
    "IMF": (
        '<?xml version="1.0"?><CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016">'
        "<Id>urn:uuid:{}</Id></CompositionPlaylist>"
    ),
    "AviSynth": 'DirectShowSource("{}")\n',
    "VobSub": "# VobSub index file, v7 (do not modify this line!)\nid: en, index: 0\n# {}\n",
}
NAMES = ("a.mp4", "a.m3u8", "a.ffconcat", "a.mpd", "a.sdp", "a.nut", "a.idx", "a.avs")


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Where nobody must call."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0)
        yield listening


@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize("target", ["file", "relative", "http", "tcp"])
def test_a_list_of_other_resources_opens_none(kind: str, target: str, tmp_path: Path, listener: socket.socket) -> None:
    """An upload has another's file, or what an address within the network says, as its transcript."""
    secret = wav(tmp_path / "secret.wav", tone(1)[:, np.newaxis], 16_000)
    assert len(read(secret)) == 16_000  # it would be media
    port = listener.getsockname()[1]
    targets = {"file": f"file://{secret}", "relative": "secret.wav", "http": f"http://127.0.0.1:{port}/secret.wav"}
    text = LISTS[kind].format(targets.get(target, f"tcp://127.0.0.1:{port}"))
    for name in NAMES:
        (tmp_path / name).write_text(text)
        with pytest.raises(Reject, match="is not audio or video of a known kind"):
            MediaReader(tmp_path / name)
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_no_protocol_is_left_to_a_format_that_would_use_one(tmp_path: Path, listener: socket.socket) -> None:
    """A format that comes to FFmpeg tomorrow, or that we take for harmless, opens what it likes."""
    path = tmp_path / "a.m3u8"
    path.write_text(LISTS["HLS"].format(f"http://127.0.0.1:{listener.getsockname()[1]}/a.ts"))
    with path.open("rb") as file, pytest.raises(av.FFmpegError):
        av.open(file, options={"protocol_whitelist": "none"})
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_no_picture_is_ever_decoded(tmp_path: Path) -> None:
    """A film of one picture of 20,000 by 20,000 points takes gigabytes, to find out that its sound is AAC."""
    path = tmp_path / "film.mkv"
    with av.open(path, "w") as container:
        pictures = container.add_stream("mjpeg", rate=1)
        pictures.width, pictures.height, pictures.pix_fmt = 32, 32, "yuvj420p"
        sound = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for n in range(3):
            picture = av.VideoFrame(32, 32, "yuvj420p")
            picture.pts, picture.time_base = n, Fraction(1, 1)
            container.mux(pictures.encode(picture))
            frame = av.AudioFrame.from_ndarray(tone(1)[np.newaxis], format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 16_000, n * 16_000, Fraction(1, 16_000)
            container.mux(sound.encode(frame))
    with av.open(path) as decoded:
        assert decoded.streams.video[0].codec_context.pix_fmt == "yuvj420p"  # what only a decoded picture tells
    container, closing = open_media(path, Part(0, path.stat().st_size), "film.mkv")
    stream = container.streams.audio[0]
    with closing:
        assert container.streams.video[0].codec_context.pix_fmt is None
        assert sum(frame.samples for frame in container.decode(stream)) == 48_000
        assert container.streams.video[0].codec_context.pix_fmt is None


def test_a_file_is_read_as_a_damaged_header_asks(tmp_path: Path) -> None:
    """An index that points before the file, or a packet of 2 GB in a file of 30 KB, is the end of the stage."""
    path = tmp_path / "a.bin"
    path.write_bytes(b"0123456789")
    with _File(io.FileIO(path)) as file:
        assert file.seek(-5) == file.seek(0, 9) == -1
        assert file.read(1 << 60) == b"0123456789"
        assert file.seek(4) == 4
        assert file.read(2) == b"45"


@pytest.mark.parametrize(
    ("rate", "channels"), [(1, 1), (100, 2), (999, 1), (800_000, 1), (2**31 - 1, 1), (96_000, 65), (8_000, 1_000)]
)
def test_a_form_in_which_nothing_records_is_refused(rate: int, channels: int, tmp_path: Path) -> None:
    """A file of a megabyte is twelve days, or a second of it more than memory."""
    path = wav(tmp_path / "a.wav", np.zeros((2000, channels), np.int16), rate)
    with pytest.raises(Reject, match=r"a\.wav has (an impossible audio format|an audio track, but none)"):
        read(path)


def test_a_long_frame_comes_in_blocks(tmp_path: Path) -> None:
    """One packet that holds an hour is an hour in memory, before anybody asks whether it may be so long."""
    path = tmp_path / "a.mov"
    with av.open(path, "w") as container:
        stream = container.add_stream("pcm_u8", rate=1_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 3_600_000), np.uint8), format="u8", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 1_000, 0, Fraction(1, 1_000)
        container.mux(stream.encode(frame))
    with MediaReader(path) as reader:
        sizes = [len(block) for block in reader.blocks()]
    assert sum(sizes) == 3600 * 16_000
    assert max(sizes) < 5 * 16_000


def test_of_a_thousand_tracks_no_more_than_a_hundred_are_opened(tmp_path: Path) -> None:
    """Each track has buffers of its own."""
    path = tmp_path / "a.mka"
    with av.open(path, "w") as container:
        streams = [container.add_stream("pcm_s16le", rate=16_000, layout="mono") for _ in range(120)]
        for stream in streams:
            frame = av.AudioFrame.from_ndarray(tone(0.1)[np.newaxis], format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 16_000, 0, Fraction(1, 16_000)
            container.mux(stream.encode(frame))
    container, closing = open_media(path, Part(0, path.stat().st_size), "a.mka")
    with closing:
        assert len(container.streams) == 100


def test_packets_that_give_nothing_come_to_an_end() -> None:
    """A file of empty packets is read for hours, for no word."""
    damage = Damage("a.mkv")
    for _ in range(3):
        for _ in range(9_000):
            damage.passed(0)
        damage.passed(1)
    for _ in range(10_000):
        damage.passed(0)
    with pytest.raises(Reject, match=r"a\.mkv has an audio track, but none of it can be decoded"):
        damage.passed(0)


def test_gaps_do_not_come_at_once(tmp_path: Path) -> None:
    """A few packets, each an hour after the last, are twelve hours of silence in memory."""
    path = write(tmp_path / "a.mkv", [(n * 3_500, tone(0.1)) for n in range(4)], "pcm_s16le")
    with MediaReader(path) as reader:
        assert max(map(len, reader.blocks())) < 5 * 16_000
        assert reader.position == pytest.approx(3 * 3_500, abs=1)
