"""What a reader must know before trusting a transcript, in plain sentences: the same on every screen."""

from collections.abc import Iterable, Iterator
from typing import Final

from schemas.transcript import Doubt, Gap, Sound, Track, Transcript, Truncated, Unheard
from v2t_stream.text import one_line
from v2t_stream.units import clock, counted, length

# About one English word for every 10 s of speech; people speak 10 letters a second or more. Counted in letters, because
# many scripts do not separate words.
_FEW: Final = 0.5  # letters for each second of detected speech
_QUIET: Final = -30.0  # dBFS: a peak below this is quieter than speech is recorded at; broadcast speech peaks at -10
_VERY_QUIET: Final = -50.0  # dBFS: below this, speech drowns in the noise of 8 bits
_PLACES: Final = 4  # how many times one sentence lists


def caveats(record: Transcript, *, finished: bool = True) -> list[str]:
    """All that is missing or doubtful in a transcript, the most serious first; empty if it is complete.

    `finished`: whether no more words will come.
    """
    found = list(_missing(record))
    empty = emptiness(record) if finished else ""
    if empty:
        found.append(empty)
    elif record.sound and (left := left_out(record.sound)):
        how = f"{left[0].number} picks it" if len(left) == 1 else "N picks another"
        found.append(f"{_not_taken(left)}: --audio-track {how}")
    return found


def _missing(record: Transcript) -> Iterator[str]:
    if record.truncated:
        yield truncation(record.truncated)
    for reason, gaps in _by_reason(record.gaps).items():
        yield f"{counted(len(gaps), 'chunk')} could not be transcribed ({_places(map(_place, gaps))}): {reason}"
    if record.unheard:
        stretches = counted(len(record.unheard), "stretch", "stretches")
        yield f"no words were heard in {stretches} of speech ({_places(map(_place, record.unheard))})"
    if record.doubtful:
        places = (f"{_place(doubt)}: {one_line(doubt.reason)}" for doubt in record.doubtful)
        yield f"words in {counted(len(record.doubtful), 'place')} may never have been said ({_places(places)})"


def _by_reason(gaps: Iterable[Gap]) -> dict[str, list[Gap]]:
    found: dict[str, list[Gap]] = {}
    for gap in gaps:
        found.setdefault(one_line(gap.reason), []).append(gap)
    return found


def truncation(cut: Truncated) -> str:
    """How much of the recording exists."""
    return f"the file declares {length(cut.declared)} and ends at {length(cut.decoded)}: the recording is cut off"


def left_out(sound: Sound) -> list[Track]:
    """The audio tracks that were not transcribed."""
    return [track for track in sound.tracks if not track.taken]


def emptiness(record: Transcript) -> str:
    """For a transcript with (almost) no words: what there was to hear, and what to try. Otherwise empty."""
    letters = sum(character.isalnum() for segment in record.segments for character in segment.text)
    speech = (record.sound and record.sound.speech) or 0.0
    # Speech whose words are known to be missing has its own sentence.
    speech = max(0.0, speech - sum(gap.end - gap.start for gap in record.gaps))
    if letters and letters >= _FEW * speech:
        return ""
    what = "hardly any words were heard" if letters else "no words were heard"
    if record.sound is None:
        return f"{what} in {length(record.duration)} of media"
    heard, advice = ", ".join(_heard(record.sound, record.duration)), " or ".join(_advice(record.sound))
    return f"{what}: {heard}; {f'try {advice}' if advice else 'check how it was recorded'}"


def _heard(sound: Sound, duration: float) -> Iterator[str]:
    """The loudness, the amount of speech, and the tracks left out."""
    yield _loudness(sound)
    if sound.speech is None:
        yield f"all {length(duration)} were transcribed, without a voice detector"
    elif sound.speech:
        yield f"{length(sound.speech)} of {length(duration)} was detected as speech"
    else:
        yield f"no speech was detected in {length(duration)}"
    if left := left_out(sound):
        yield _not_taken(left)


def _loudness(sound: Sound) -> str:
    if sound.peak is None:
        return "the recording is digital silence"
    how = "very quiet" if sound.peak < _VERY_QUIET else "quiet" if sound.peak < _QUIET else "loud enough"
    level = "" if sound.level is None else f", level {sound.level:.0f} dBFS"
    return f"the recording is {how} (peak {sound.peak:.0f} dBFS{level})"


def _advice(sound: Sound) -> Iterator[str]:
    """The options that may yield words."""
    if left := left_out(sound):
        yield f"--audio-track {left[0].number}"
    if sound.speech is None or sound.speech:
        yield "a larger --model"
    elif sound.peak is not None:
        yield "a lower --vad-threshold"


def _not_taken(tracks: list[Track]) -> str:
    those = _places(map(_named, tracks))
    if len(tracks) == 1:
        return f"audio track {those} was not transcribed"
    return f"audio tracks {those} were not transcribed"


def _named(track: Track) -> str:
    """Such as 2 (deu, "Kommentar")."""
    about = [one_line(track.language, 20), f'"{one_line(track.title, 60)}"' if track.title.strip() else ""]
    told = ", ".join(filter(None, about))
    return f"{track.number} ({told})" if told else f"{track.number}"


def _place(stretch: Gap | Unheard | Doubt) -> str:
    return f"{clock(stretch.start)} to {clock(stretch.end)}"


def _places(places: Iterable[str]) -> str:
    """The first few of them."""
    named = list(places)
    more = f", and {len(named) - _PLACES} more" if len(named) > _PLACES else ""
    return ", ".join(named[:_PLACES]) + more
