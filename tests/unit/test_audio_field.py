"""Files from users whose transcripts were empty or wrong, each with its right result."""

from pathlib import Path

import numpy as np
import pytest

from tests.audio_files import RATE, Samples
from v2t_stream.audio.decode import MediaReader
from v2t_stream.audio.speech import SpeechFinder
from v2t_stream.audio.vad import SileroVad

FIELD = Path(__file__).parents[1] / "data" / "field"
# When the voice detector hears the sentence's four parts, in seconds from its start (as in data/real/jfk.flac).
SENTENCE = ((0.32, 2.24), (3.33, 4.35), (5.44, 7.62), (8.2, 10.5))


def heard(audio: Samples) -> list[tuple[float, float]]:
    """Stretches of speech, in seconds; those less than 0.4 s apart are one."""
    vad, finder = SileroVad(), SpeechFinder()
    found = [*finder.feed(vad.feed(audio).tolist()), *finder.feed(vad.finish().tolist()), *finder.finish(len(audio))]
    joined: list[tuple[float, float]] = []
    for stretch in found:
        start, end = stretch.onset / RATE, stretch.offset / RATE
        if joined and start - joined[-1][1] < 0.4:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def stands_at(start: float, audio: Samples) -> bool:
    """Whether the first three parts of the sentence are heard as if the recording began at `start`."""
    found = [(one - start, end - start) for one, end in heard(audio)]
    return all(
        any(abs(one[0] - part[0]) < 0.15 and abs(one[1] - part[1]) < 0.15 for one in found) for part in SENTENCE[:3]
    )


def decoded(name: str) -> tuple[Samples, MediaReader]:
    with MediaReader(FIELD / name) as reader:
        return np.concatenate(list(reader.blocks())), reader


def test_channels_that_cancel_out() -> None:
    """A cable with crossed wires: the mix of both channels is silence, and so was the transcript."""
    audio, _ = decoded("phase_inverted.flac")
    assert len(audio) == 11 * RATE
    assert stands_at(0.0, audio)


def test_sound_that_starts_late_in_matroska_with_h264() -> None:
    """All subtitles came 4.1 s early, as FFmpeg does not know when pictures start that it may not decode."""
    audio, reader = decoded("late_audio_h264.mkv")
    assert len(audio) / RATE == pytest.approx(15.09, abs=0.05)
    assert not np.abs(audio[: 4 * RATE].astype(np.int32)).max() > 100
    assert stands_at(4.086, audio)
    assert reader.truncated is None


def test_pieces_that_were_joined_by_copying() -> None:
    """Each piece ends in a filled frame and starts with a run-up: after five minutes the words came 3.4 s late."""
    audio, reader = decoded("concat_aac_drift.m4a")
    assert len(audio) / RATE == pytest.approx(600.1, abs=0.05)
    for start in (0, 300, 590):
        assert stands_at(0.064, audio[start * RATE :][: 10 * RATE])
    # To the sample: the later pieces are the first one again.
    for start in (300, 590):
        later, first = (audio[at * RATE + 2_000 :][: 8 * RATE].astype(np.int32) for at in (start, 0))
        assert np.corrcoef(later, first)[0, 1] > 0.9999
    assert reader.truncated is None


def test_a_first_track_that_is_silent() -> None:
    """A recorder with two inputs, of which the first was not connected."""
    audio, reader = decoded("first_track_silent.m4a")
    assert [track.taken for track in reader.tracks] == [False, True]
    assert stands_at(0.0, audio)


def test_a_chain_that_goes_from_mono_to_stereo() -> None:
    """A radio stream that was recorded over two programmes was refused as damaged."""
    audio, reader = decoded("chained_mono_then_stereo.opus")
    assert len(audio) == 12 * RATE
    assert stands_at(0.0, audio)
    assert reader.truncated is None
