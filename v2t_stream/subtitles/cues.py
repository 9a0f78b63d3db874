"""The cues of a transcript in a style."""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from msgspec.structs import replace

from schemas.transcript import Segment
from v2t_stream.subtitles.cue import Cue
from v2t_stream.subtitles.shape import shaped
from v2t_stream.subtitles.style import Style
from v2t_stream.subtitles.tokens import tokens
from v2t_stream.subtitles.width import letters


def styled(said: Iterable[Segment], missing: Iterable[Segment], style: Style, language: str | None) -> Iterator[Cue]:
    """What was said and notes about what is missing, as cues that never overlap. A text must be one harmless line."""
    notes = ((True, _shown(note, style)) for note in missing)
    parts = sorted([*((False, segment) for segment in said), *notes], key=lambda part: (part[1].start, part[0]))
    stretches = [(noted, [part for _, part in group]) for noted, group in groupby(parts, lambda part: part[0])]
    ends = [group[0].start for _, group in stretches[1:]] + [math.inf]
    cues: list[Cue] = []
    for (noted, group), until in zip(stretches, ends, strict=True):
        words = [word for segment in group for word in tokens(segment, style.max_line_width)]
        cues += (cue._replace(is_missing=noted) for cue in shaped(words, style, language, until=until))
    return _apart(cues, math.ceil(style.gap * 1000))


def _shown(note: Segment, style: Style) -> Segment:
    """A note at the start of what is missing; it stays long enough to be read, and no longer than a cue may stay."""
    stays = max(note.end - note.start, letters(note.text) / style.max_cps)
    return replace(note, end=note.start + min(stays, style.max_cue))


def _apart(cues: Sequence[Cue], gap: int) -> Iterator[Cue]:
    """The cues with `gap` milliseconds between them, even if an engine heard two words at once."""
    free = 0
    for cue in cues:
        start = max(cue.start, free)
        end = max(cue.end, start + 1)  # players drop a cue that ends as it starts
        yield cue._replace(start=start, end=end)
        free = end + gap
