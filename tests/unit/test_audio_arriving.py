"""A file that is read while it arrives gives what the whole file gives."""

import itertools
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.audio_files import RATE, Samples, Sounding, speech, write_tracks
from tests.harness import DATA
from tests.unit.test_audio_formats import FORMS, Form, written
from v2t_stream.audio.arriving import Arriving, ArrivingReader
from v2t_stream.audio.decode import MediaReader
from v2t_stream.errors import Reject

ONE_WAY = {"wav", "flac", "mp3", "ac3", "eac3", "aac", "ogg", "mka", "mkv", "webm", "m4a", "mp4", "mov", "3gp", "ts"}
WAITS = {"caf", "aiff", "w64", "avi", "wma"}
FIELD = DATA / "field"
_PADDING = 0.06  # seconds that FFmpeg cuts off the end of an MP3 only if it may jump


@contextmanager
def arriving(folder: Path, data: bytes, step: int) -> Iterator[Arriving]:
    """A file to which another thread adds so many bytes at a time."""
    with closing(Arriving(folder / "arriving")) as file:

        def add() -> None:
            for start in range(0, len(data), step):
                file.add(data[start : start + step])
            file.end()

        adding = threading.Thread(target=add)
        adding.start()
        try:
            yield file
        finally:
            adding.join()


def sound(reader: MediaReader) -> Samples:
    with reader:
        return np.concatenate(list(reader.blocks()))


def same(path: Path, folder: Path, step: int) -> ArrivingReader:
    """Check that both readers hear the same."""
    whole = MediaReader(path)
    expected = sound(whole)
    with arriving(folder, path.read_bytes(), step) as file:
        reader = ArrivingReader(file, path.name)
        heard = sound(reader)
    assert abs(len(heard) - len(expected)) <= _PADDING * RATE
    length = min(len(heard), len(expected)) - round(_PADDING * RATE)
    assert np.array_equal(heard[:length], expected[:length])
    assert reader.truncated == whole.truncated
    assert reader.tracks == whole.tracks
    return reader


@pytest.mark.parametrize("form", [form for form in FORMS if form.suffix in ONE_WAY], ids=Form.__str__)
def test_each_kind_of_file_sounds_the_same(form: Form, tmp_path: Path) -> None:
    """Words have other times, or are other words, if the file was read while it arrived."""
    same(written(form, tmp_path), tmp_path, 1000)


@pytest.mark.parametrize("form", [form for form in FORMS if form.suffix in WAITS], ids=Form.__str__)
def test_other_kinds_wait_until_all_is_there(form: Form, tmp_path: Path) -> None:
    """A file that can only be read by jumping is taken for damaged, or read wrongly."""
    with (
        arriving(tmp_path, written(form, tmp_path).read_bytes(), 1000) as file,
        pytest.raises(Reject),  # so its job reads it again when all of it is there
    ):
        ArrivingReader(file, "a")


@pytest.mark.parametrize("name", ["chained_mono_then_stereo.opus", "late_audio_h264.mkv"])
def test_odd_files_sound_the_same(name: str, tmp_path: Path) -> None:
    """The second song of a recorded station is lost, or stands at another second."""
    same(FIELD / name, tmp_path, 4096)


@pytest.mark.parametrize("form", [form for form in FORMS if form.suffix in {"wav", "flac", "mkv", "mp4"}][:4])
def test_a_file_that_was_cut_off_before_it_was_sent_says_so(form: Form, tmp_path: Path) -> None:
    """Half of a recording passes for the whole, only because it was read while it arrived."""
    path = written(form, tmp_path, 20)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    assert same(path, tmp_path, 3000).truncated is not None


def test_several_tracks_wait_until_they_can_be_compared(tmp_path: Path) -> None:
    """The silent first track is taken, because nobody could look further."""
    tracks = [Sounding(np.zeros(5 * RATE)), Sounding(speech())]
    path = write_tracks(tmp_path / "a.mkv", tracks, "libopus", rate=48_000)
    with (
        arriving(tmp_path, path.read_bytes(), 1000) as file,
        pytest.raises(Reject, match="its tracks have to be compared"),
    ):
        ArrivingReader(file, path.name)


@pytest.mark.parametrize("size", [90_000, 200_000, 200_113, 350_017])
def test_all_that_has_come_is_heard(size: int, tmp_path: Path) -> None:
    """The words of half a minute wait for the next bytes, which may be long in coming."""
    data, heard = (DATA / "3min.ogg").read_bytes(), threading.Event()
    seconds = 180 * size / len(data) - 10  # a block, and what its encoder puts together

    def listen(reader: ArrivingReader) -> None:
        for _ in reader.blocks():
            if reader.position > seconds:
                heard.set()

    with closing(Arriving(tmp_path / "arriving")) as file:
        file.add(data[:size])
        with ArrivingReader(file, "a") as reader:
            listening = threading.Thread(target=listen, args=[reader])
            listening.start()
            assert heard.wait(60)
            file.add(data[size:])
            file.end()
            listening.join()


def test_a_reader_that_nobody_needs_ends(tmp_path: Path) -> None:
    """A stage that stops waits for a sender that may be away for an hour."""
    data = (DATA / "5s.flac").read_bytes()
    with closing(Arriving(tmp_path / "arriving")) as file:
        file.add(data[: len(data) // 2])
        with ArrivingReader(file, "a") as reader:
            heard: list[Samples] = []
            reading = threading.Thread(target=lambda: heard.extend(itertools.islice(reader.blocks(), 100)))
            reading.start()
            file.end()
            reading.join(60)
            assert not reading.is_alive()


@given(
    data=st.binary(max_size=300),
    cuts=st.lists(st.integers(0, 300), max_size=5),
    reads=st.lists(st.tuples(st.integers(0, 100), st.integers(0, 310)), max_size=8),
)
def test_any_read_gives_what_the_whole_file_gives(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, cuts: list[int], reads: list[tuple[int, int]]
) -> None:
    """The decoder gets other bytes than the sender sent."""
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    with closing(Arriving(tmp_path_factory.mktemp("arriving") / "file")) as file:

        def add() -> None:
            for start, end in itertools.pairwise(places):
                file.add(data[start:end])
            file.end()

        adding = threading.Thread(target=add)
        adding.start()
        for length, at in reads:
            assert file.read(length, at) == data[at : at + length]
            some = file.read(length, at, least=1)
            assert data[at : at + length].startswith(some)
            assert some or not data[at : at + length]
        adding.join()
