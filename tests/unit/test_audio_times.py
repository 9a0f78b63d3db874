"""Times: believable timestamps count, impossible ones do not."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.audio_files import RATE, Sounding, beeps, onsets, read, write_tracks
from v2t_stream.audio.clock import Clock
from v2t_stream.audio.decode import MediaReader
from v2t_stream.audio.line import Line

FRAME = 0.02  # seconds, in the tests of the clock


def run(clock: Clock, timestamps: list[float], seconds: float = FRAME) -> list[float]:
    """Where each frame comes to stand."""
    places = []
    for at, following in zip(timestamps, [*timestamps[1:], None], strict=True):
        clock.shift(at, seconds, following)
        places.append(clock.now - seconds)
    return places


@given(st.integers(0, 2**32), st.lists(st.floats(-0.015, 0.015), min_size=1, max_size=300))
def test_jitter_moves_nothing(seed: int, jitter: list[float]) -> None:
    """A click at every packet of a telephone's recording, whose timestamps are never quite right."""
    clock = Clock(0.0)
    shifts = [clock.shift(n * FRAME + off * (n > 0), FRAME, None) for n, off in enumerate(jitter)]
    assert not any(shifts)


@given(
    st.lists(st.tuples(st.integers(50, 150), st.floats(-0.4, 3000.0)), min_size=1, max_size=8),
    st.floats(-100, 1e5),
)
def test_every_true_jump_is_followed(jumps: list[tuple[int, float]], zero: float) -> None:
    """After a gap, or where files were joined with an overlap, all times would be off by it."""
    timestamps, at = [], zero
    for frames, jump in jumps:
        timestamps += [at + n * FRAME for n in range(frames)]
        at += frames * FRAME + jump
    timestamps += [at + n * FRAME for n in range(100)]
    places = run(Clock(zero), timestamps)
    for jump_at in range(99, len(places), 1):
        assert places[jump_at] == pytest.approx(timestamps[jump_at] - zero, abs=0.1001)
    assert places[-1] == pytest.approx(timestamps[-1] - zero, abs=0.021)


@given(st.integers(5, 100), st.floats(-1e5, 1e5).filter(lambda off: abs(off) > 0.2))
def test_one_wrong_timestamp_moves_nothing(place: int, off: float) -> None:
    """A single damaged packet puts everything behind it at a wrong time."""
    timestamps = [n * FRAME for n in range(200)]
    timestamps[place] += off
    places = run(Clock(0.0), timestamps)
    assert places == pytest.approx([n * FRAME for n in range(200)], abs=1e-6)


@given(st.floats(100, 1e6))
def test_a_stream_that_was_put_together_goes_on_however_its_timestamps_jump(back: float) -> None:
    """A broadcast with advertisements has two clocks by turns: after each the words would come hours late."""
    timestamps = [first + n * FRAME for first in (back + 1e4, 1e4, back + 1e4, 1e4) for n in range(100)]
    timestamps[300:] = [one + 4 for one in timestamps[300:]]
    assert run(Clock(timestamps[0]), timestamps)[-1] == pytest.approx(399 * FRAME, abs=1e-4)


@given(st.floats(0.6, 1e6))
def test_timestamps_that_start_anew_go_on(back: float) -> None:
    """The second half of a joined stream is dropped, as it has the times of the first."""
    timestamps = [1e6 + n * FRAME for n in range(100)]
    timestamps += [timestamps[-1] + FRAME - back + n * FRAME for n in range(100)]
    assert run(Clock(1e6), timestamps) == pytest.approx([n * FRAME for n in range(200)], abs=1e-4)


@pytest.mark.parametrize("seconds", [0.01, 0.02, 0.026, 0.064, 0.1])
def test_timestamps_that_stand_still_take_nothing_away(seconds: float) -> None:
    """Some writers give every packet the same time; to honour that would leave one packet of the whole recording."""
    places = run(Clock(0.0), [0.0] * 200, seconds)
    assert places[-1] == pytest.approx(199 * seconds, abs=0.2)


def test_a_slow_clock_is_followed() -> None:
    """A recorder's sound card is off by a thousandth: after three hours the words come ten seconds late."""
    timestamps = [n * FRAME * 1.001 for n in range(100_000)]
    places = run(Clock(0.0), timestamps)
    assert np.abs(np.subtract(places, timestamps)).max() < 0.05


@given(st.lists(st.tuples(st.integers(6_400, 20_000), st.integers(-6_400, 70_000)), max_size=12))
def test_the_line_has_samples_where_they_were_put(steps: list[tuple[int, int]]) -> None:
    """Samples that are lost or doubled where sound is taken back put all that follows at wrong times."""
    line, out, expected = Line(), [], np.zeros(0, np.float32)
    for n, (length, move) in enumerate(steps):
        wave = np.full(length, n + 1, np.float32)
        out += line.add(wave)
        expected = np.concatenate((expected, wave))
        out += line.move_to(len(expected) + move)
        expected = expected[:move] if move < 0 else np.concatenate((expected, np.zeros(move, np.float32)))
        assert line.end == len(expected)
    out += line.finish()
    assert np.array_equal(np.concatenate([*out, np.zeros(0, np.float32)]), expected)
    assert all(len(wave) <= 4 * RATE for wave in out)


def test_of_an_overlap_that_is_longer_than_what_is_held_the_rest_is_left_out_of_what_comes() -> None:
    """The times behind a join are off by what could no longer be taken back."""
    line = Line()
    out = [*line.add(np.ones(10_000, np.float32)), *line.move_to(2_000), *line.add(np.full(5_000, 2, np.float32))]
    assert line.end == 7_000
    samples = np.concatenate([*out, *line.finish()])
    assert samples.tolist() == [1] * 3_600 + [2] * 3_400


@pytest.mark.parametrize("gap", [0.15, 20.0, 3_700.0])
@pytest.mark.parametrize(("suffix", "codec"), [("mkv", "aac"), ("ts", "aac"), ("mp4", "aac"), ("nut", "libopus")])
def test_after_a_gap_in_the_timestamps_times_are_true(gap: float, suffix: str, codec: str, tmp_path: Path) -> None:
    """A recorder that was switched off for an hour: all that is said afterwards stands an hour early."""
    rate = 48_000
    track = Sounding(beeps(12, rate), jumps=[(6.6, gap)])
    path = write_tracks(
        tmp_path / f"a.{suffix}", [track], codec, rate=rate, container_format={"ts": "mpegts"}.get(suffix)
    )
    with MediaReader(path) as reader:
        found: list[float] = []
        at = 0.0
        for block in reader.blocks():
            found += [at + onset for onset in onsets(block)]
            at += len(block) / RATE
        assert reader.position == pytest.approx(12 + gap, abs=0.1)
        assert reader.truncated is None
    merged = [one for n, one in enumerate(found) if n == 0 or one - found[n - 1] > 0.35]
    assert merged == pytest.approx([1, 2, 3, 4, 5, 6, *(second + gap for second in range(7, 12))], abs=0.05)


@pytest.mark.parametrize("rate", [44_100, 48_000])
@pytest.mark.parametrize(("first", "second"), [(50_000.0, 10.0), (94_000.0, 5.0), (10.0, 5.0), (10.0, 9_000.0)])
def test_a_stream_whose_timestamps_jump_is_as_long_as_its_sound(
    first: float, second: float, rate: int, tmp_path: Path
) -> None:
    """Two recordings of a broadcast in one file: 22 seconds are refused as 25 hours, or the second is left out."""
    data = b""
    for n, start in enumerate((first, second)):
        track = Sounding(beeps(11, rate), start=start)
        path = tmp_path / f"{n}.ts"
        options = {"muxdelay": "0", "muxpreload": "0"}
        data += write_tracks(path, [track], "aac", rate=rate, container_format="mpegts", options=options).read_bytes()
    path = tmp_path / "joined.ts"
    path.write_bytes(data)
    audio = read(path)
    gap = second - first - 11 if second > first else 0
    if gap:
        audio = np.concatenate((audio[: 11 * RATE], audio[round((11 + gap) * RATE) :]))
    assert len(audio) / RATE == pytest.approx(22, abs=0.1)
    assert onsets(audio) == pytest.approx([*range(1, 11), *range(12, 22)], abs=0.06)


@pytest.mark.parametrize(
    ("suffix", "pictures"),
    [("mkv", "mpeg4"), ("mkv", "mpeg2video"), ("ts", "mpeg2video"), ("mp4", "mpeg4"), ("flv", "flv"), ("nut", "mpeg4")],
)
def test_sound_that_starts_after_the_pictures_starts_so_late(suffix: str, pictures: str, tmp_path: Path) -> None:
    """Subtitles counted from the sound come seconds before the lips move."""
    path = write_tracks(
        tmp_path / f"a.{suffix}",
        [Sounding(beeps(4, 44_100), start=4.1)],
        "libmp3lame",
        rate=44_100,
        pictures=12,
        picture_codec=pictures,
        container_format={"ts": "mpegts"}.get(suffix),
    )
    with MediaReader(path) as reader:
        audio = np.concatenate(list(reader.blocks()))
        assert reader.truncated is None  # the pictures go on: nothing is missing
    assert onsets(audio) == pytest.approx([5.1, 6.1, 7.1], abs=0.05)
