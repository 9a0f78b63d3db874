"""Files that end early or have holes: we transcribe what is there, and say that it is incomplete."""

import os
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from schemas.transcript import Truncated
from tests.audio_files import RATE, Sounding, beeps, onsets, write_tracks
from v2t_stream.audio.decode import MediaReader
from v2t_stream.errors import Reject


def wav(path: Path, riff: int, data: int, *, head: bytes = b"RIFF", more: bytes = b"") -> Path:
    """Write three seconds, and these sizes."""
    samples = (beeps(3) * 32_767).astype("<i2").tobytes()
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    path.write_bytes(
        head + struct.pack("<I", riff) + b"WAVE" + more + form + b"data" + struct.pack("<I", data) + samples
    )
    return path


@pytest.mark.parametrize(
    "size",
    [0, 0x7FFFFFFF, 0x7FFFFFFF - 36, 0x7FFFF000, 0x7F000000, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFF - 44, 0xFFFFFFDB],
)
def test_a_wav_whose_size_was_left_open_is_whole(size: int, tmp_path: Path) -> None:
    """A recording from a pipe says that it is 37 hours long, and was cut off after three seconds."""
    with MediaReader(wav(tmp_path / "a.wav", size, size)) as reader:
        assert sum(map(len, reader.blocks())) == 3 * RATE
        assert reader.truncated is None


@pytest.mark.parametrize("seconds", [3, 6])
def test_a_large_wav(seconds: int, tmp_path: Path) -> None:
    """In the form for more than 4 GiB the size stands elsewhere."""
    size = seconds * 2 * RATE
    sizes = struct.pack("<4sIQQQI", b"ds64", 28, size + 72, size, size // 2, 0)
    path = wav(tmp_path / "a.wav", 0xFFFFFFFF, 0xFFFFFFFF, head=b"RF64", more=sizes)
    with MediaReader(path) as reader:
        assert sum(map(len, reader.blocks())) == 3 * RATE
        assert reader.truncated == (Truncated(declared=6, decoded=3) if seconds == 6 else None)


@pytest.mark.parametrize("seconds", [4, 3_600, 30_000])
def test_a_wav_that_declares_more_than_there_is_is_cut_off(seconds: int, tmp_path: Path) -> None:
    """However much is missing."""
    size = seconds * 2 * RATE
    with MediaReader(wav(tmp_path / "a.wav", 36 + size, size)) as reader:
        assert sum(map(len, reader.blocks())) == 3 * RATE
        assert reader.truncated is not None
        assert (reader.truncated.declared, reader.truncated.decoded) == (seconds, 3)


def test_other_heads_that_were_left_open(tmp_path: Path) -> None:
    """What was piped through a program that could not go back is whole."""
    whole = {
        suffix: write_tracks(tmp_path / f"a.{suffix}", [Sounding(beeps(5))], codec).read_bytes()
        for suffix, codec in (("flac", "flac"), ("au", "pcm_s16be"), ("aiff", "pcm_s16be"), ("caf", "pcm_s16le"))
    }
    flac = bytearray(whole["flac"])
    flac[21] &= 0xF0
    flac[22:26] = bytes(4)
    au = bytearray(whole["au"])
    au[8:12] = b"\xff" * 4
    aiff = bytearray(whole["aiff"])
    at = aiff.index(b"COMM") + 10
    aiff[at : at + 4] = struct.pack(">I", 0x7F000000 // 2)
    at = aiff.index(b"SSND") + 4
    aiff[at : at + 4] = struct.pack(">I", 0x7F000008)
    caf = bytearray(whole["caf"])
    at = caf.index(b"data") + 4
    caf[at : at + 8] = b"\xff" * 8
    for suffix, data in {"flac": flac, "au": au, "aiff": aiff, "caf": caf}.items():
        path = tmp_path / f"b.{suffix}"
        path.write_bytes(data)
        with MediaReader(path) as reader:
            assert sum(map(len, reader.blocks())) == pytest.approx(5 * RATE, abs=100), suffix
            assert reader.truncated is None, suffix


@pytest.mark.parametrize(("suffix", "pictures"), [("mkv", "mpeg4"), ("mp4", "mpeg4"), ("flv", "flv"), ("avi", "mpeg4")])
def test_pictures_that_go_on_after_the_sound_do_not_make_it_cut_off(suffix: str, pictures: str, tmp_path: Path) -> None:
    """A film whose credits are silent is called incomplete."""
    path = write_tracks(
        tmp_path / f"a.{suffix}",
        [Sounding(beeps(6, 44_100))],
        "libmp3lame",
        rate=44_100,
        pictures=30,
        picture_codec=pictures,
    )
    for patched in (path.read_bytes(), path.read_bytes().replace(b"DURATION", b"DURATIOM")):
        path.write_bytes(patched)  # not all writers of Matroska note how long each track is
        with MediaReader(path) as reader:
            assert sum(map(len, reader.blocks())) / RATE == pytest.approx(6, abs=0.1)
            assert reader.truncated is None
    path.write_bytes(patched[: len(patched) * 5 // 100])
    if suffix in {"mkv", "flv"}:
        with MediaReader(path) as reader:
            assert sum(map(len, reader.blocks())) / RATE < 4
            assert reader.truncated is not None


@pytest.mark.parametrize("change", ["grows", "is written again"])
def test_a_file_that_changes_is_not_taken_for_whole(change: str, tmp_path: Path) -> None:
    """A recording that still runs: the transcript ends where the copy was at that moment."""
    path = write_tracks(tmp_path / "a.wav", [Sounding(beeps(30))], "pcm_s16le")
    with MediaReader(path) as reader:
        blocks = reader.blocks()
        next(blocks)
        if change == "grows":
            with path.open("ab") as file:
                file.write(bytes(3_200))
        else:
            os.utime(path, (1, 1))
        with pytest.raises(Reject, match=r"^a\.wav changed while it was being read, such as a recording in progress"):
            list(blocks)


def test_hundreds_of_joined_pieces_do_not_drift(tmp_path: Path) -> None:
    """Each piece is an eighth of a second longer than it says: after five hours the words come minutes late."""
    piece = 2.0
    path = tmp_path / "piece.m4a"
    write_tracks(path, [Sounding(beeps(piece + 1, RATE)[RATE:])], "aac", rate=RATE)
    joined = tmp_path / "joined.mka"
    with av.open(path) as source, av.open(joined, "w") as target:
        packets = [bytes(packet) for packet in source.demux(audio=0) if packet.size]
        stream = target.add_stream_from_template(source.streams.audio[0])
        last = -16
        for n in range(500):
            for k, data in enumerate(packets):
                packet = av.Packet(data)
                packet.stream, packet.time_base = stream, Fraction(1, RATE)
                # As joining does: where the last piece is not over, right behind its last packet.
                last = max(last + 16, round(n * piece * RATE) + k * 1024)
                packet.pts = packet.dts = last
                packet.duration = 1024
                target.mux(packet)
    at = 0
    found: list[float] = []
    with MediaReader(joined) as reader:
        for block in reader.blocks():
            found += [at / RATE + one for one in onsets(block)]
            at += len(block)
    assert at / RATE == pytest.approx(1_000, abs=0.2)
    assert len(found) == pytest.approx(1_000, abs=2)
    off = [(one - 0.064 + 0.5) % 1 - 0.5 for one in found]  # AAC's run-up, which nothing in the file tells of
    assert max(map(abs, off)) < 0.1


def test_two_files_in_one_are_not_cut_off(tmp_path: Path) -> None:
    """What was joined with `cat` has the head of the first, whose length is that of the first."""
    one = write_tracks(tmp_path / "a.flac", [Sounding(beeps(6))], "flac").read_bytes()
    other = write_tracks(tmp_path / "b.flac", [Sounding(beeps(4))], "flac").read_bytes()
    path = tmp_path / "joined.flac"
    path.write_bytes(one + other)
    with MediaReader(path) as reader:
        audio = np.concatenate(list(reader.blocks()))
        assert reader.truncated is None
    assert len(audio) / RATE == pytest.approx(10, abs=0.05)
    assert onsets(audio) == pytest.approx([1, 2, 3, 4, 5, 7, 8, 9], abs=0.05)
