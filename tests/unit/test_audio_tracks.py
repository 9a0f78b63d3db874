"""Which track is transcribed: the requested one, one in the job's language, the main one, the spoken one."""

from pathlib import Path

import numpy as np
import pytest
from av.stream import Disposition
from numpy.typing import NDArray

from schemas.transcript import Track
from tests.audio_files import RATE, Sounding, speech, speech_seconds, write_tracks
from v2t_stream.audio.decode import MediaReader
from v2t_stream.audio.probe import PLACES, SECONDS
from v2t_stream.errors import Reject

VOICE = speech()


def track(
    sound: NDArray[np.float64] | float = 0.0, language: str = "", title: str = "", disposition: int = 0
) -> Sounding:
    """Speech, or noise of a loudness, as a track of the same length."""
    wave = np.random.default_rng(0).standard_normal(len(VOICE)) * sound if isinstance(sound, float) else sound
    metadata = {key: value for key, value in (("language", language), ("title", title)) if value}
    return Sounding(wave, metadata=metadata, disposition=disposition)


def taken(path: Path, **asked: str | None) -> int:
    """The number of the track that was decoded, after a look that it is really that one."""
    with MediaReader(path, **asked) as reader:
        (number,) = [track.number for track in reader.tracks if track.taken]
        assert sum(map(len, reader.blocks()))
        return number


CONTAINERS = [("mka", "flac"), ("mp4", "aac"), ("mov", "pcm_s16le"), ("ts", "aac"), ("nut", "aac")]


@pytest.mark.parametrize(("suffix", "codec"), CONTAINERS)
@pytest.mark.parametrize("spoken", [1, 2, 3])
def test_the_track_with_the_speech_is_taken(spoken: int, suffix: str, codec: str, tmp_path: Path) -> None:
    """A recorder with several inputs: the first is not connected, and the transcript is empty."""
    tracks = [track(VOICE if n == spoken else 0.0 if n == 1 else 0.01) for n in (1, 2, 3)]
    path = write_tracks(
        tmp_path / f"a.{suffix}", tracks, codec, container_format={"ts": "mpegts"}.get(suffix), rate=RATE
    )
    with MediaReader(path) as reader:
        audio = np.concatenate(list(reader.blocks()))
        assert [track.taken for track in reader.tracks] == [n == spoken for n in (1, 2, 3)]
    assert speech_seconds(audio) > 3
    assert len(audio) == pytest.approx(len(VOICE), abs=2_100)  # AAC has a run-up


@pytest.mark.parametrize(("suffix", "codec"), CONTAINERS[:2])
@pytest.mark.parametrize(("language", "number"), [("de", 2), ("en", 1), ("fr", 3), (None, 1), ("ja", 1)])
def test_the_track_in_the_language_of_the_job_is_taken(
    language: str | None, number: int, suffix: str, codec: str, tmp_path: Path
) -> None:
    """A film in three languages is transcribed in the wrong one, by a model that was told another."""
    tracks = [track(VOICE, "eng"), track(VOICE, "ger"), track(VOICE, "fra")]
    path = write_tracks(tmp_path / f"a.{suffix}", tracks, codec)
    assert taken(path, language=language) == number


@pytest.mark.parametrize(
    ("asked", "number"),
    [("1", 1), ("2", 2), (" 3 ", 3), ("de", 2), ("deu", 2), ("ger", 2), ("German", 2), ("fr", 3), ("fre", 3)],
)
def test_the_track_that_is_asked_for_is_taken(asked: str, number: int, tmp_path: Path) -> None:
    """What the user chooses by hand stands, whatever we think of it."""
    tracks = [track(VOICE, "en-US"), track(0.0, "deu"), track(0.001, "fra", "Commentary", Disposition.comment)]
    path = write_tracks(tmp_path / "a.mka", tracks, "flac")
    assert taken(path, track=asked, language="en") == number


@pytest.mark.parametrize("asked", ["0", "4", "-1", "ja", "klingon", "", "1.5", "9" * 30, "²"])
def test_a_track_that_is_not_there_is_refused_with_those_that_are(asked: str, tmp_path: Path) -> None:
    """The user does not know what to choose from."""
    tracks = [track(VOICE, "eng"), track(VOICE, "deu", "Kommentar"), track(VOICE)]
    path = write_tracks(tmp_path / "a.mka", tracks, "flac")
    with pytest.raises(Reject) as caught:
        MediaReader(path, track=asked)
    assert str(caught.value) == (
        f"a.mka has no audio track {asked!r}: choose 1 (eng, 1 channel) or 2 (deu, 'Kommentar', 1 channel) or "
        "3 (1 channel), by its number or its language"
    )


ASIDES = {
    "comment": track(VOICE, "eng", disposition=Disposition.comment),
    "for the blind": track(VOICE, "eng", disposition=Disposition.visual_impaired),
    "a title": track(VOICE, "eng", "Director's Commentary"),
    "audio description": track(VOICE, "eng", "English Audio Description"),
    "AD": track(VOICE, "eng", "English (AD)"),
    "Hörfilm": track(VOICE, "eng", "Hörfilmfassung"),
    "Kommentar": track(VOICE, "eng", "Kommentar des Regisseurs"),
    "audiodescription": track(VOICE, "eng", "Audiodescription"),
}


@pytest.mark.parametrize("aside", ASIDES)
@pytest.mark.parametrize("language", [None, "en"])
def test_a_commentary_that_comes_first_is_not_taken(aside: str, language: str | None, tmp_path: Path) -> None:
    """What the director says about the film is transcribed in place of the film."""
    first = ASIDES[aside]
    flags = first.disposition | Disposition.default
    tracks = [first._replace(disposition=flags), track(VOICE, "eng", "Surround 5.1")]
    assert taken(write_tracks(tmp_path / "a.mkv", tracks, "flac"), language=language) == 2


def test_a_commentary_alone_is_taken(tmp_path: Path) -> None:
    """There is something to transcribe after all."""
    path = write_tracks(tmp_path / "a.mkv", [track(VOICE, title="Commentary")], "flac")
    assert taken(path) == 1


@pytest.mark.parametrize("title", ["Advanced", "Adam", "Recommended mix", "Stereo"])
def test_a_title_that_only_looks_like_a_commentary_is_no_commentary(title: str, tmp_path: Path) -> None:
    """The main track is passed over for a word in its name."""
    path = write_tracks(tmp_path / "a.mkv", [track(VOICE, title=title), track(VOICE)], "flac")
    assert taken(path) == 1


def test_every_track_is_listed(tmp_path: Path) -> None:
    """A transcript in the wrong language does not say that there was another track."""
    stereo = Sounding(np.stack((VOICE, VOICE)), "stereo", metadata={"language": "fra", "title": "Version\nfrançaise"})
    path = write_tracks(tmp_path / "a.mka", [track(VOICE, "eng", "Original"), stereo], "flac")
    with MediaReader(path, language="fr") as reader:
        assert reader.sound.tracks == reader.tracks
        assert reader.tracks == (
            Track(number=1, language="eng", title="Original", channels=1),
            Track(number=2, language="fra", title="Version française", channels=2, taken=True),
        )


def test_speech_anywhere_in_a_long_track_is_found(tmp_path: Path) -> None:
    """A panel starts after an hour of an empty hall: the start alone says nothing of a track."""
    pause = np.random.default_rng(0).standard_normal(150 * RATE) * 1e-3
    spoken = np.concatenate((pause, np.tile(VOICE, 20)))
    path = write_tracks(tmp_path / "a.mka", [Sounding(pause), Sounding(spoken)], "flac")
    assert taken(path) == 2


def test_only_some_places_of_a_track_are_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To decode all tracks of a film in order to choose one takes as long as to transcribe it."""
    heard: list[int] = []

    def count(_: object, samples: NDArray[np.int16]) -> float:
        heard.append(len(samples))
        return 0.0

    monkeypatch.setattr("v2t_stream.audio.vad.SileroVad.speech_seconds", count)
    sound = np.tile(VOICE, 60)
    path = write_tracks(tmp_path / "a.mka", [Sounding(sound), Sounding(sound)], "flac")
    with MediaReader(path) as reader:
        assert reader.tracks[0].taken
    assert sum(heard) <= 2 * PLACES * (SECONDS + 1) * RATE
