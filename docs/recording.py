"""A recording of `v2t demo` for the README, from a real run: `uv run python -m docs.recording`.

The picture is one SVG that plays once, in real time. Where nothing moves, it shows the end.
"""

import os
import pty
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

PICTURE = Path(__file__).parent / "images" / "demo.svg"
COLUMNS, ROWS = 76, 19
LETTER, LINE, EDGE = 8.43, 20, 16  # pixels
TYPED = 1.2  # seconds until the command is typed


class Line(NamedTuple):
    at: float  # seconds after the start
    text: str


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {"HOME": home, "XDG_DATA_HOME": home, "COLUMNS": str(COLUMNS)}
        lines = [Line(at, text.replace(home, "~/.local/share")) for at, text in recorded("-m", "v2t_stream", "demo")]
    PICTURE.write_text(drawn([Line(0.0, "$ uv run v2t demo"), *lines]))
    print(PICTURE)


def recorded(*arguments: str) -> list[Line]:
    """What Python writes to a terminal, with the time of each line."""
    begun, pending = time.monotonic(), b""
    lines: list[Line] = []

    def read(terminal: int) -> bytes:
        nonlocal pending
        data = os.read(terminal, 4096)
        *whole, pending = (pending + data).split(b"\r\n")
        lines.extend(Line(TYPED + time.monotonic() - begun, line.decode()) for line in whole)
        return data

    if code := os.waitstatus_to_exitcode(pty.spawn([sys.executable, *arguments], read)):
        raise SystemExit(f"{' '.join(arguments)} ended with {code}")
    return lines


def drawn(lines: Sequence[Line]) -> str:
    """A terminal in which the lines come one after the other, and the first ones scroll out of sight."""
    end = lines[-1].at
    steps = [(line.at / end, max(0, shown - ROWS) * LINE) for shown, line in enumerate(lines, 1)]
    scroll = "".join(f"{share:.2%}{{transform:translateY(-{up}px)}}" for share, up in steps)
    texts = "".join(
        f'<text x="{EDGE}" y="{(place + 1) * LINE}" style="animation-delay:{line.at:.2f}s">{escape(line.text)}</text>'
        for place, line in enumerate(lines)
    )
    width, height = round(COLUMNS * LETTER + 2 * EDGE), ROWS * LINE + 2 * EDGE
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height + LINE}" width="{width}">'
        "<style>text{font:14px ui-monospace,Menlo,Consolas,monospace;fill:#e6edf3;white-space:pre;"
        "animation:come 1ms backwards}@keyframes come{from{visibility:hidden}}"
        f"#all{{transform:translateY(-{steps[-1][1]}px);animation:up {end:.2f}s step-end}}@keyframes up{{{scroll}}}"
        "@media(prefers-reduced-motion){text,#all{animation:none}}</style>"
        f'<rect width="{width}" height="{height + LINE}" rx="8" fill="#0d1117"/>'
        '<circle cx="20" cy="18" r="6" fill="#ff5f57"/><circle cx="40" cy="18" r="6" fill="#febc2e"/>'
        '<circle cx="60" cy="18" r="6" fill="#28c840"/>'
        f'<svg y="{LINE + EDGE}" width="{width}" height="{ROWS * LINE + EDGE // 2}"><g id="all">{texts}</g></svg>'
        "</svg>\n"
    )


def without_fonts(svg: str) -> str:
    """Without the fonts that a browser would fetch from another host."""
    return re.sub(r"@font-face \{.*?\}\n?", "", svg, flags=re.DOTALL)


if __name__ == "__main__":
    main()
