"""The styles of subtitles: how wide, how long and how fast a cue may be."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta


class Style(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of a cue. `--max-line-width` and the other options change one limit of a style."""

    max_line_width: Annotated[int, Meta(ge=8, le=200, description="letters in a line; a full-width character is 2.6")]
    max_lines: Annotated[int, Meta(ge=1, le=4, description="lines in a cue")]
    max_cps: Annotated[float, Meta(gt=0, description="letters a second; a full-width character counts as two")]
    min_cue: Annotated[float, Meta(ge=0, description="seconds that a cue stays at least")]
    max_cue: Annotated[float, Meta(gt=0, description="seconds that a cue stays at most")]
    min_gap: Annotated[float, Meta(ge=0, description="seconds between two cues; default: two frames")] | None = None
    fps: Annotated[float, Meta(gt=0, le=240, description="frames a second; cues start and end on frames")] | None = None

    @property
    def gap(self) -> float:
        """Seconds between two cues."""
        return _FRAMES / (self.fps or _SLOWEST) if self.min_gap is None else self.min_gap


_FRAMES: Final = 2  # between two cues
_SLOWEST: Final = 24.0  # frames a second of cinema, on which two frames last longest

# Netflix's Timed Text Style Guide, "General Requirements" and "English": 42 letters, two lines, 20 letters a second for
# adults, 5/6 s to 7 s, two frames between cues. Its guides for Chinese and Korean: 16 full-width characters a line.
# The BBC's guidelines are close: 37 to 42 letters, two lines, 160 to 180 words a minute.
BROADCAST: Final = Style(max_line_width=42, max_lines=2, max_cps=20, min_cue=5 / 6, max_cue=7)
# One short line at a time, as people read it in upright video on a phone.
SOCIAL: Final = Style(max_line_width=24, max_lines=1, max_cps=30, min_cue=0.3, max_cue=3, min_gap=0)

PLAIN: Final = "plain"  # a cue for each segment, as it was heard
STYLES: Final[dict[str, Style | None]] = {"broadcast": BROADCAST, "social": SOCIAL, PLAIN: None}
