"""Which channels are heard: the mix, unless the speech is not in it."""

from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.audio_files import RATE, Sounding, read, speech, speech_seconds, write_tracks
from v2t_stream.audio import mixdown
from v2t_stream.audio.mixdown import mix_weights

Wave = NDArray[np.float64]


@pytest.fixture(scope="module")
def voice() -> Wave:
    return np.tile(speech(), 2)


@pytest.fixture(scope="module")
def expected(voice: Wave) -> float:
    """Seconds of speech in it."""
    return speech_seconds(np.rint(voice * 32_767).astype(np.int16))


def music(length: int, seed: int = 0, loudness: float = 0.25) -> Wave:
    """Chords, of a few seconds each, which nobody takes for speech."""
    random = np.random.default_rng(seed)
    t = np.arange(length) / RATE
    chords = random.choice([220, 247, 262, 294, 330, 349, 392, 440], (length // (2 * RATE) + 1, 3))
    tones = np.sin(2 * np.pi * np.repeat(chords, 2 * RATE, axis=0)[:length].T * t)
    return loudness * tones.sum(axis=0) / 3


def noise(length: int, loudness: float, seed: int = 0) -> Wave:
    return np.random.default_rng(seed).standard_normal(length) * loudness


MIXES = {
    "the same in both": lambda voice: (voice, voice),
    "one upside down": lambda voice: (voice, -voice),
    "one upside down and half as loud": lambda voice: (voice, -voice / 2),
    "one upside down, each with its own noise": lambda voice: (
        voice + noise(len(voice), 0.002, 1),
        noise(len(voice), 0.002, 2) - voice,
    ),
    "left, and silence": lambda voice: (voice, voice * 0),
    "right, and silence": lambda voice: (voice * 0, voice),
    "left, and loud music": lambda voice: (voice / 10, music(len(voice))),
    "right, and a loud hum": lambda voice: (noise(len(voice), 0.4), voice / 8),
    "upside down from the middle on": lambda voice: (
        voice,
        np.where(np.arange(len(voice)) < len(voice) / 2, voice, -voice),
    ),
    "two people, one on either side": lambda voice: (
        np.where(np.arange(len(voice)) < len(voice) / 2, voice, 0) + noise(len(voice), 0.001, 1),
        np.where(np.arange(len(voice)) < len(voice) / 2, 0, voice) + noise(len(voice), 0.001, 2),
    ),
}


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("codec", ["flac", "aac"])
def test_a_voice_in_stereo_is_heard(mix: str, codec: str, voice: Wave, expected: float, tmp_path: Path) -> None:
    """The mix of both channels is silence, or music, and the transcript is empty."""
    channels = np.stack(MIXES[mix](voice))
    path = write_tracks(tmp_path / "a.mka", [Sounding(channels, "stereo")], codec)
    assert speech_seconds(read(path)) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("layout", ["5.1", "5.1(side)", "7.1", "3.0", "quad", "2.1"])
@pytest.mark.parametrize("others", ["silence", "music", "upside down"])
def test_a_voice_in_one_channel_of_many_is_heard(
    layout: str, others: str, voice: Wave, expected: float, tmp_path: Path
) -> None:
    """In a film people speak in the centre channel, under music from all sides."""
    names = [channel.name for channel in av.AudioLayout(layout).channels]
    spoken = names.index("FC") if "FC" in names else 1
    channels = np.zeros((len(names), len(voice)))
    for n in range(len(names)):
        if others == "music":
            channels[n] = music(len(voice), n, 0.5)
    channels[spoken] = voice if others != "music" else voice / 10
    if others == "upside down":
        channels[0] -= voice / (mix_weights(layout, len(names))[0] / mix_weights(layout, len(names))[spoken])
    if np.abs(channels).max() > 1:
        channels /= np.abs(channels).max()
    codec = "aac" if layout in {"5.1", "7.1"} and others == "music" else "pcm_f32le"
    path = write_tracks(tmp_path / "a.mka", [Sounding(channels, layout)], codec)
    assert speech_seconds(read(path)) == pytest.approx(expected, rel=0.1)


def test_an_ordinary_recording_is_not_looked_at_closer(
    voice: Wave, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every stereo file would take longer for the few that are wired wrongly."""
    monkeypatch.setattr(mixdown, "speech_seconds", lambda *_: pytest.fail("it was looked at"))
    room = noise(len(voice), 0.01)
    channels = np.stack((voice + room, voice * 0.7 + room))
    assert len(read(write_tracks(tmp_path / "a.flac", [Sounding(channels, "stereo")], "flac")))


def test_music_for_hours_is_looked_at_ever_less(voice: Wave, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where channels are unlike for good reasons, to hear each would cost more than to decode them."""
    looks = 0

    def count(wave: NDArray[np.float32], rate: int) -> float:
        nonlocal looks
        looks += 1
        return 2.0

    monkeypatch.setattr(mixdown, "speech_seconds", count)
    mixer = mixdown.Mixdown("stereo", 2, RATE)
    block = [music(4 * RATE, seed).astype(np.float32) for seed in (1, 2)]
    for _ in range(900):  # an hour
        mixer.mix(block)
    assert looks < 4 * 40


@pytest.mark.parametrize("codec", ["pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le"])
def test_every_form_of_samples_has_its_loudness(codec: str, voice: Wave, tmp_path: Path) -> None:
    """A form that is read wrongly is noise."""
    path = write_tracks(tmp_path / "a.wav", [Sounding(np.stack((voice, voice)), "stereo")], codec)
    audio = read(path) / 32_768
    assert len(audio) == len(voice)
    assert np.sqrt(np.mean(np.square(audio - voice))) < 0.01
