"""The README and docs/ as the tests read them: their commands and their links."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = (
    *(
        ROOT / name
        for name in ("README.md", "CONTRIBUTING.md", "v2t_stream/demo/MODEL_CARD.md", "tests/data/README.md")
    ),
    *sorted((ROOT / "docs").rglob("*.md")),
)
_FENCED: Final = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_CODE: Final = re.compile(r"`([^`\n]+)`")
_REMARK: Final = re.compile(r"(^|\s)#\s.*$", re.MULTILINE)
_ENDS: Final = ";|&()\n"  # of a command
_ASSIGNMENT: Final = re.compile(r"[A-Z_0-9]+=")
_LINK: Final = re.compile(r"\]\(([^)\s]+)\)")
_HEADING: Final = re.compile(r"^#+ (.+)$", re.MULTILINE)


class Command(NamedTuple):
    page: str
    words: tuple[str, ...]  # without variables before it and without `uv run`

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join(self.words)}"


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def commands() -> Iterator[Command]:
    """Every command in a block of shell."""
    for page in PAGES:
        for _, language, text in _FENCED.findall(page.read_text()):
            if language == "sh":
                yield from (Command(name(page), words) for words in _split(text))


def mentions() -> Iterator[Command]:
    """Every command of v2t in a sentence or a table. It may lack arguments."""
    for page in PAGES:
        text = _FENCED.sub("", page.read_text())
        if page.name == "from-temporal.md":  # the first column has the commands of another program
            text = re.sub(r"^\| .*? \| ", "| ", text, flags=re.MULTILINE)
        for code in _CODE.findall(text):
            if re.match(r"(uv run .*)?v2t ", code):
                yield from (Command(name(page), words) for words in _split(code) if words[0] == "v2t")


def _split(text: str) -> Iterator[tuple[str, ...]]:
    """Shell as commands."""
    lexer = shlex.shlex(_REMARK.sub(r"\1", text.replace("\\\n", " ")), posix=True, punctuation_chars=_ENDS)
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t\r", True, ""
    words: list[str] = []
    for word in (*lexer, "\n"):
        if not set(word) <= set(_ENDS):
            words.append(word)
            continue
        if bare := _bare(words):
            yield bare
        words = []


def _bare(words: list[str]) -> tuple[str, ...]:
    while words and _ASSIGNMENT.match(words[0]):
        words = words[1:]
    if words[:2] == ["uv", "run"]:
        words = words[2:]
        while words[0] in {"--extra", "--group"}:
            words = words[2:]
    return tuple(words)


def links() -> Iterator[tuple[str, Path, str]]:
    """Every link to a file of ours: the page, the file, and the heading or nothing."""
    for page in PAGES:
        for target in _LINK.findall(_FENCED.sub("", page.read_text())):
            if not re.match(r"[a-z]+:", target):
                path, _, heading = target.partition("#")
                yield name(page), (page.parent / path).resolve() if path else page, heading


def anchors(page: Path) -> set[str]:
    """What a link may name after #, as GitHub spells headings."""
    headings = _HEADING.findall(_FENCED.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
