"""A picture of `v2t demo` for the README, from a real run in a terminal: `uv run python -m docs.recording`."""

import io
import os
import pty
import re
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

IMAGES = Path(__file__).parent / "images"
WIDTH = 100  # columns
COMMAND = ("v2t", "demo")


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {"HOME": home, "XDG_DATA_HOME": home, "COLUMNS": str(WIDTH)}
        shown = said(sys.executable, "-m", "v2t_stream", *COMMAND[1:])
    console = Console(record=True, width=WIDTH, file=io.StringIO(), color_system="truecolor", force_terminal=True)
    console.print(Text("$ uv run " + " ".join(COMMAND), style="bold"))
    console.print(Text.from_ansi(shown.replace(home, "~/.local/share").strip()))
    path = IMAGES / "demo.svg"
    path.write_text(without_fonts(console.export_svg(title=" ".join(COMMAND))))
    print(path)


def said(*command: str) -> str:
    """What a command writes to a terminal."""
    written = bytearray()

    def read(terminal: int) -> bytes:
        data = os.read(terminal, 4096)
        written.extend(data)
        return data

    code = os.waitstatus_to_exitcode(pty.spawn(command, read))
    if code:
        raise SystemExit(f"{' '.join(command)} ended with {code}")
    return written.decode().replace("\r\n", "\n")


def without_fonts(svg: str) -> str:
    """Without the fonts that a browser would fetch from another host."""
    return re.sub(r"@font-face \{.*?\}\n?", "", svg, flags=re.DOTALL)


if __name__ == "__main__":
    main()
