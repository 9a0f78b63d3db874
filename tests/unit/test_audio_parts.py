"""Files with holes or several parts: the reader finds all of it, at its time, and says what is missing."""

import io
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.audio_files import RATE, Sounding, beeps, onsets, write_tracks
from v2t_stream.audio.decode import MediaReader
from v2t_stream.audio.parts import Part, PartReader, survey

LAYOUTS = ("empty_moov+default_base_moof", "empty_moov", "empty_moov+dash", "empty_moov+default_base_moof+global_sidx")


def fragmented(path: Path, flags: str, seconds: float = 20) -> Path:
    options = {"movflags": flags, "frag_duration": "1000000"}
    return write_tracks(path, [Sounding(beeps(seconds, 48_000))], "aac", rate=48_000, options=options)


def overwritten(data: bytes) -> bytes:
    return data[: len(data) * 4 // 10] + bytes(len(data) // 5) + data[len(data) * 6 // 10 :]


def scrambled(data: bytes) -> bytes:
    return data[: len(data) * 4 // 10] + np.random.default_rng(0).bytes(len(data) // 5) + data[len(data) * 6 // 10 :]


def missing(data: bytes) -> bytes:
    return data[: len(data) * 4 // 10] + data[len(data) * 6 // 10 :]


def without_fragments(data: bytes) -> bytes:
    starts = [n - 4 for n in range(len(data)) if data.startswith(b"moof", n)]
    return data[: starts[len(starts) * 4 // 10]] + data[starts[len(starts) * 6 // 10] :]


@pytest.mark.parametrize("flags", LAYOUTS)
@pytest.mark.parametrize("hole", [overwritten, scrambled, missing, without_fragments])
def test_a_hole_in_a_fragmented_mp4(hole: Callable[[bytes], bytes], flags: str, tmp_path: Path) -> None:
    """A segment that was not downloaded: all that follows was lost, and the job was completed."""
    path = fragmented(tmp_path / "a.mp4", flags)
    with MediaReader(path) as reader:
        whole = np.concatenate(list(reader.blocks()))
        assert reader.truncated is None
    assert onsets(whole) == pytest.approx(range(1, 20), abs=0.05)
    path.write_bytes(hole(path.read_bytes()))
    with MediaReader(path) as reader:
        audio = np.concatenate(list(reader.blocks()))
        assert reader.truncated is not None
        assert reader.truncated.declared == pytest.approx(20, abs=0.1)
        assert 13 < reader.truncated.decoded < 17
    found = onsets(audio)
    assert found[:6] == pytest.approx([1, 2, 3, 4, 5, 6], abs=0.05)
    assert found[-5:] == pytest.approx([15, 16, 17, 18, 19], abs=0.05)


def test_fragments_without_a_hole_are_left_as_they_are(tmp_path: Path) -> None:
    """A file that is whole is said not to be."""
    for flags in LAYOUTS:
        path = fragmented(tmp_path / "a.mp4", flags, 5)
        assert survey(path) == ((Part(0, path.stat().st_size),), False)


def test_a_silence_in_fragments_is_no_hole(tmp_path: Path) -> None:
    """A microphone that was off for a while leaves a gap in the times, and nothing is missing."""
    track = Sounding(beeps(20, 48_000), jumps=[(8.6, 20)])
    options = {"movflags": "empty_moov+default_base_moof", "frag_duration": "1000000"}
    path = write_tracks(tmp_path / "a.mp4", [track], "aac", rate=48_000, options=options)
    with MediaReader(path) as reader:
        assert sum(map(len, reader.blocks())) / RATE == pytest.approx(40, abs=0.1)
        assert reader.truncated is None


@pytest.mark.parametrize("hole", [overwritten, scrambled, missing])
@pytest.mark.parametrize(("suffix", "codec"), [("flac", "flac"), ("mka", "aac"), ("mka", "libopus"), ("mka", "flac")])
def test_a_hole_in_other_files(suffix: str, codec: str, hole: Callable[[bytes], bytes], tmp_path: Path) -> None:
    """What comes after a hole keeps its times, and the silence that stands for the hole is not called all there is."""
    noise = np.random.default_rng(0).standard_normal(20 * 48_000) * 0.01
    path = write_tracks(tmp_path / f"a.{suffix}", [Sounding(beeps(20, 48_000) + noise)], codec, rate=48_000)
    path.write_bytes(hole(path.read_bytes()))
    with MediaReader(path) as reader:
        audio = np.concatenate(list(reader.blocks()))
        assert len(audio) / RATE == pytest.approx(20, abs=0.1)
        assert reader.truncated is not None
        assert reader.truncated.declared == pytest.approx(20, abs=0.1)
        assert 12 < reader.truncated.decoded < 17
    found = onsets(audio)
    assert found[:6] == pytest.approx([1, 2, 3, 4, 5, 6], abs=0.05)
    assert found[-4:] == pytest.approx([16, 17, 18, 19], abs=0.05)


def test_what_of_an_mp4_cannot_be_decoded_is_missing(tmp_path: Path) -> None:
    """A fifth of a download was never written: the transcript has a silence there, and calls itself complete."""
    noise = np.random.default_rng(0).standard_normal(20 * 48_000) * 0.01
    sound = Sounding(beeps(20, 48_000) + noise)
    path = write_tracks(tmp_path / "a.mp4", [sound], "aac", rate=48_000, options={"movflags": "faststart"})
    path.write_bytes(overwritten(path.read_bytes()))
    with MediaReader(path) as reader:
        assert sum(map(len, reader.blocks())) / RATE == pytest.approx(20, abs=0.1)
        assert reader.truncated is not None
        assert reader.truncated.decoded == pytest.approx(16, abs=1)


@pytest.mark.parametrize(
    ("numbers", "holes"),
    [
        ([1, 2, 3], False),
        ([7, 8, 9, 10], False),
        ([2, 4, 6, 8], False),
        ([0, 0, 0, 0], False),
        ([1, 3], True),
        ([1, 2, 3, 5, 6], True),
        ([2, 4, 8, 10], True),
        ([5, 6, 1, 2, 3], False),
        ([4], False),
    ],
)
def test_the_numbers_of_fragments_tell_which_are_missing(numbers: list[int], *, holes: bool, tmp_path: Path) -> None:
    """One segment of a stream was not downloaded, and nothing else in the file shows it."""
    moof = [struct.pack(">I4sI4sII", 24, b"moof", 16, b"mfhd", 0, number) for number in numbers]
    path = tmp_path / "a.mp4"
    path.write_bytes(struct.pack(">I4s", 8, b"ftyp") + b"".join(moof))
    assert survey(path).holes == holes


def test_a_chain_of_ogg_files_is_one_recording(tmp_path: Path) -> None:
    """A radio stream has a link for each song, whatever its form."""
    links = [
        write_tracks(tmp_path / f"{n}.ogg", [Sounding(channels, layout)], codec, rate=48_000).read_bytes()
        for n, (codec, layout, channels) in enumerate(
            (
                ("libopus", "mono", beeps(3, 48_000)),
                ("libopus", "stereo", np.stack([beeps(2, 48_000)] * 2)),
                ("flac", "mono", beeps(3, 48_000)),
                ("libopus", "mono", beeps(2, 48_000)),
            )
        )
    ]
    path = tmp_path / "a.ogg"
    path.write_bytes(b"".join(links))
    with MediaReader(path) as reader:
        audio = np.concatenate(list(reader.blocks()))
        assert reader.truncated is None
    assert len(audio) / RATE == pytest.approx(10, abs=0.05)
    assert onsets(audio) == pytest.approx([1, 2, 4, 6, 7, 9], abs=0.05)


def test_a_part_is_read_as_a_file_of_its_own(tmp_path: Path) -> None:
    """What is laid over a hole must be seen wherever the reader starts and ends."""
    path = tmp_path / "a"
    path.write_bytes(bytes(range(100)))
    expected = bytearray(range(10, 90))
    expected[5:9] = b"free"
    with PartReader(io.FileIO(path), Part(10, 90, ((15, b"free"),))) as part:
        for start in range(90):
            for length in range(1, 12):
                part.seek(start)
                assert part.read(length) == bytes(expected[start : start + length])
        assert part.seek(0, os.SEEK_END) == 80
        with pytest.raises(ValueError, match="before the start"):
            part.seek(-1)


def test_a_chain_without_end_is_cut_into_so_many_parts(tmp_path: Path) -> None:
    """A file of nothing but beginnings takes the memory of the machine before it is even opened."""
    page = write_tracks(tmp_path / "a.ogg", [Sounding(beeps(1, 48_000))], "libopus", rate=48_000).read_bytes()
    first = page[: 28 + page[27]]
    other = first[:5] + bytes(1) + first[6:]
    path = tmp_path / "b.ogg"
    path.write_bytes((first + other) * 12_000)
    assert len(survey(path).parts) == 10_000
