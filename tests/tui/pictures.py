"""A screen as text that can be compared: its characters, and for each of them a letter for its style."""

import re
import string
from typing import Final
from xml.etree import ElementTree as ET

from rich.cells import cell_len

from tui.app import Monitor

_WIDE, _HIGH = 12.2, 24.4  # of a character in the screenshot
_SVG: Final = "{http://www.w3.org/2000/svg}"
_MARKS: Final = {"bold": "bold", "italic": "italic", "underline": "underline", "line-through": "strike"}


def picture(app: Monitor) -> str:
    """The screen's text; below it, for each character, a letter for its style, and what the letters mean."""
    for widget in app.screen.query("Input, TextArea"):
        widget.cursor_blink = False  # type: ignore[attr-defined]  # both have it
    (width, height), svg = app.size, ET.fromstring(app.export_screenshot())  # noqa: S314  # from Textual itself
    rules = dict(
        re.findall(r"\.(\S+-r\d+) \{ (.*?) \}", "".join(style.text or "" for style in svg.iter(f"{_SVG}style")))
    )
    text = [[" "] * width for _ in range(height)]
    front = [["-"] * width for _ in range(height)]
    back = [["-"] * width for _ in range(height)]
    for rect in svg.iter(f"{_SVG}rect"):
        if rect.get("shape-rendering"):
            x, y = round(float(rect.attrib["x"]) / _WIDE), round(float(rect.attrib["y"]) / _HIGH)
            for column in range(x, x + round(float(rect.attrib["width"]) / _WIDE)):
                back[y][column] = rect.attrib["fill"]
    for piece in svg.iter(f"{_SVG}text"):
        if rule := rules.get(piece.get("class", "")):
            x, y = round(float(piece.attrib["x"]) / _WIDE), round((float(piece.attrib["y"]) - 20) / _HIGH)
            for character in (piece.text or "").replace("\xa0", " ").rstrip("\n"):
                text[y][x : x + 1] = [character]
                front[y][x] = _described(rule)
                x += cell_len(character)
                if cell_len(character) == 2:
                    text[y][x - 1] = ""
    styles = [[f"{front[y][x]} on {back[y][x]}" for x in range(width)] for y in range(height)]
    legend: dict[str, str] = {}
    for style in (style for line in styles for style in line):
        legend.setdefault(style, (string.ascii_letters + string.digits)[len(legend)])
    return "\n".join(
        [
            *("".join(line).rstrip() for line in text),
            "",
            *("".join(legend[style] for style in line) for line in styles),
            "",
            *(f"{letter} {style}" for style, letter in legend.items()),
            "",
        ]
    )


def _described(rule: str) -> str:
    colour = re.search(r"#\w+", rule)
    return " ".join([colour[0] if colour else "-", *(name for css, name in _MARKS.items() if f": {css}" in rule)])
