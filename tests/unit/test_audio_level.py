"""Loudness: quiet speech is heard, noise stays what it is, and ordinary sound is left alone."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.audio_files import RATE, Sounding, read, speech, speech_seconds, write_tracks
from v2t_stream.audio.decode import MediaReader
from v2t_stream.audio.level import Leveller

BLOCK = 4 * RATE


def levelled(wave: NDArray[np.float64]) -> NDArray[np.int16]:
    leveller = Leveller()
    blocks = [leveller.feed(wave[at : at + BLOCK].astype(np.float32)) for at in range(0, len(wave), BLOCK)]
    return np.concatenate(blocks)


def decibels(wave: NDArray[np.float64]) -> float:
    return float(20 * np.log10(np.sqrt(np.mean(np.square(wave)))))


@pytest.mark.parametrize("level", [-30, -40, -50, -60, -70, -80])
@pytest.mark.parametrize("codec", ["pcm_s24le", "flac", "pcm_f32le"])
def test_quiet_speech_is_heard_as_well_as_loud(level: float, codec: str, tmp_path: Path) -> None:
    """An interview recorded with the microphone turned down: nothing was heard in it."""
    voice = np.tile(speech(), 2)
    quiet = voice * 10 ** ((level - decibels(voice)) / 20)
    options = {"bits_per_raw_sample": "24"} if codec == "flac" else {}
    path = write_tracks(
        tmp_path / ("a.flac" if codec == "flac" else "a.wav"), [Sounding(quiet)], codec, codec_options=options
    )
    with MediaReader(path) as reader:
        audio = np.concatenate(list(reader.blocks()))
        assert reader.sound.level == pytest.approx(level, abs=1)
        assert reader.sound.peak == pytest.approx(20 * np.log10(np.abs(quiet).max()), abs=1)
    expected = speech_seconds(np.rint(voice * 32_767).astype(np.int16))
    assert speech_seconds(audio) == pytest.approx(expected, rel=0.1)
    assert np.abs(audio.astype(np.int32)).max() > 1_000


def test_ordinary_sound_is_left_alone() -> None:
    """Loudness that goes up and down is heard as such, and a recording that was good gets worse."""
    voice = np.tile(speech(), 2)
    assert np.abs(levelled(voice) - voice * 32_768).max() <= 1


@pytest.mark.parametrize("level", [-45, -60, -80, -95])
@pytest.mark.parametrize("kind", ["white", "pink", "hum", "silence", "last bit"])
def test_what_is_no_speech_is_not_made_loud(kind: str, level: float) -> None:
    """An engine makes words of amplified noise."""
    random = np.random.default_rng(0)
    white = random.standard_normal(12 * RATE)
    wave = {
        "white": white,
        "pink": np.fft.irfft(np.fft.rfft(white) / np.sqrt(np.arange(len(white) // 2 + 1) + 1)),
        "hum": np.sin(2 * np.pi * 50 * np.arange(len(white)) / RATE)
        + 0.3 * np.sign(np.sin(np.arange(len(white)) / 51)),
        "silence": white * 0,
        "last bit": (random.random(len(white)) < 0.001) / 32_768,
    }[kind]
    if kind in {"white", "pink", "hum"}:
        wave = wave * 10 ** ((level - decibels(wave)) / 20)
    audio = levelled(wave)
    assert np.abs(audio - wave * 32_768).max() <= 1
    assert not speech_seconds(audio)


def test_a_pause_is_not_made_loud() -> None:
    """The coughs of an audience in a break of some seconds are not to be transcribed as if they were speech."""
    voice = np.tile(speech(), 2)
    pause = np.random.default_rng(0).standard_normal(10 * RATE) * 1e-3
    pause[RATE : RATE + 2_000] *= 8
    audio = levelled(np.concatenate((voice, pause)))
    assert np.abs(audio[-10 * RATE :]).max() < 0.05 * 32_768


def test_direct_current_is_no_sound() -> None:
    """A cheap recorder lays a constant voltage under what it records, which is louder than the quiet speech."""
    voice = np.tile(speech(), 2)
    quiet = voice * 10 ** ((-70 - decibels(voice)) / 20) + 0.02
    expected = speech_seconds(np.rint(voice * 32_767).astype(np.int16))
    assert speech_seconds(levelled(quiet)) == pytest.approx(expected, rel=0.1)


@given(st.lists(st.tuples(st.integers(0, 70_000), st.floats(0, 2)), max_size=8), st.integers(0, 2**32))
def test_any_sound_keeps_its_length_and_its_range(blocks: list[tuple[int, float]], seed: int) -> None:
    """Samples that turn over at the end of the range are loud cracks."""
    random = np.random.default_rng(seed)
    leveller, peak = Leveller(), 0.0
    for length, loudness in blocks:
        wave = (random.standard_normal(length) * loudness).astype(np.float32)
        block = leveller.feed(wave)
        assert len(block) == length
        if length:
            peak = max(peak, float(np.abs(wave).max()))
            clipped = np.abs(wave) >= 1
            assert np.array_equal(np.sign(block[clipped]), np.sign(wave[clipped]))
    assert leveller.peak == (pytest.approx(max(-200, 20 * np.log10(peak)), abs=1e-3) if peak else None)


def test_digital_silence_has_no_loudness(tmp_path: Path) -> None:
    """An empty transcript explains itself: there was nothing."""
    path = write_tracks(tmp_path / "a.flac", [Sounding(np.zeros(RATE))], "flac")
    with MediaReader(path) as reader:
        assert sum(map(len, reader.blocks())) == RATE
        assert (reader.sound.peak, reader.sound.level) == (None, None)
    assert not read(path).any()
