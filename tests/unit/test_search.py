"""The search index: what is found in which words, and what a broken file does."""

import sqlite3
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.message import encode
from schemas.transcript import Segment, Speaker, Word
from tests import builders
from v2t_stream.search.file import VERSION, is_broken, path_for, remove
from v2t_stream.search.folding import folded, unfolded
from v2t_stream.search.index import Index, Line, Lines
from v2t_stream.search.looking import look
from v2t_stream.search.query import expression

SAID = {
    "english": "Call me Ishmael. Some years ago — don't ask",
    "french": "Un café très naïf à Besançon",
    "composed of parts": "cafe\u0301 noir",
    "german": "Die Straße nach Köln",
    "vietnamese": "Xin chào Nguyễn",
    "chinese": "我们在北京学习中文很有意思。",
    "beyond": "𠮷野家で😀牛丼を食べた",
    "japanese": "東京タワーに行きました。OpenAIのモデル",
    "korean": "학교에서 한국어를 공부합니다",
    "thai": "สวัสดีครับ ผมชื่อสมชาย",
    "hindi": "मैं हिन्दी बोलता हूँ",
    "arabic": "مرحبا بالعالم",
    "hostile": "a\x00b \x01c\x02 \u200bd",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "index.sqlite"


@pytest.fixture
def index(path: Path) -> Iterator[Index]:
    made = Index(path)
    yield made
    made.close()


def lines(*texts: str) -> Lines:
    return Lines(tuple(Line(n, n + 1, text) for n, text in enumerate(texts)))


def marked(path: Path, words: str) -> dict[str, list[str]]:
    """By job what is marked in its text."""
    return {hit.job: [hit.text[begin:end] for begin, end in hit.marks] for hit in look(path, words, limit=100).hits}


@pytest.mark.parametrize(
    ("words", "marks"),
    [
        ("ISHMAEL", {"english": ["Ishmael"]}),
        ("me call", {"english": ["Call", "me"]}),
        ('"me call"', {}),
        ('"call me"', {"english": ["Call me"]}),
        ("“call me”", {"english": ["Call me"]}),
        ('"call me', {"english": ["Call me"]}),
        ("ish*", {"english": ["Ishmael"]}),
        ("ish", {}),
        ('"call me ish*"', {"english": ["Call me Ishmael"]}),
        ('"call me ish"*', {"english": ["Call me Ishmael"]}),
        ("don't", {"english": ["don't"]}),
        ("— ishmael !", {"english": ["Ishmael"]}),
        ("ishmael ahab", {}),
        ("cafe", {"french": ["café"], "composed of parts": ["café"]}),
        ("CAFÉ NAIF", {"french": ["café", "naïf"]}),
        ("besancon", {"french": ["Besançon"]}),
        ("koln", {"german": ["Köln"]}),
        ("nguyen", {"vietnamese": ["Nguyễn"]}),
        ("北京", {"chinese": ["北京"]}),
        ("京", {"chinese": ["京"], "japanese": ["京"]}),
        ("北京学习", {"chinese": ["北京学习"]}),
        ("学习 北京", {"chinese": ["北京学习"]}),
        ("京北", {}),
        ("タワー", {"japanese": ["タワー"]}),
        ("openai", {"japanese": ["OpenAI"]}),
        ("OpenAIのモデル", {"japanese": ["OpenAIのモデル"]}),
        ("牛丼", {"beyond": ["牛丼"]}),
        ("𠮷野", {"beyond": ["𠮷野"]}),
        ("학교", {"korean": ["학교"]}),
        ("สวัสดี", {"thai": ["สวัสดี"]}),
        ("हिन्दी", {"hindi": ["हिन्दी"]}),
        ("بالعالم", {"arabic": ["بالعالم"]}),
        ("*", {}),
        ('"', {}),
        ("AND", {}),
    ],
)
def test_what_was_said_is_found_however_it_is_written(
    index: Index, path: Path, words: str, marks: dict[str, list[str]]
) -> None:
    """People who type no accents, or whose script has no spaces, do not find what was said; or the wrong is marked."""
    for job, text in SAID.items():
        index.replace(job, job, "", lines(text))
    assert marked(path, words) == marks


@given(st.text(st.characters() | st.sampled_from('"*:(){}^-+ \0\u200b'), max_size=60))
def test_no_query_is_an_error(words: str) -> None:
    """What somebody types is taken for the index's own language, and the search fails."""
    _anything(words)


@pytest.mark.parametrize(
    "words", ["a " * 500, '"' * 1000, "a* " * 333, "{text}: x", "NEAR(a b)", "x" * 1000, "a\ud800b"]
)
def test_no_odd_query_is_an_error(words: str) -> None:
    """The same, of what chance hardly finds."""
    _anything(words)


def _anything(words: str) -> None:
    with sqlite3.connect(":memory:") as connection:
        connection.execute("CREATE VIRTUAL TABLE said USING fts5 (text, owner)")
        if wanted := expression(words, words):
            connection.execute("SELECT * FROM said WHERE said MATCH ?", (wanted,)).fetchall()
    connection.close()


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("日本語กำé ")))
def test_a_text_comes_back_as_it_was(text: str) -> None:
    """What is shown of a transcript is not what it says."""
    assert unfolded(folded(text)) == (unicodedata.normalize("NFC", text).replace("\u200b", ""), [])


def test_only_what_counts_is_found(index: Index, path: Path) -> None:
    """The words of an older transcript, or of a job that is gone, are found at wrong places."""
    index.replace("a", "one", "", lines("", "first words", "second words"))
    index.replace("empty", "none", "", lines())
    index.replace("b", "two", "", lines("other words"))
    index.replace("a", "three", "", lines("new words"))
    assert {(hit.job, hit.n) for hit in look(path, "words", limit=9).hits} == {("a", 0), ("b", 0)}
    assert index.known() == {"a": "three", "b": "two", "empty": "none"}
    index.drop(["a", "nothing"])
    index.replace("c", "four", "", lines("", "late words"))
    found = look(path, "words", limit=9).hits
    assert {(hit.job, hit.n, hit.start) for hit in found} == {("b", 0, 0), ("c", 1, 1)}
    assert [hit.job for hit in look(path, "words", limit=9, jobs=["c", "x"]).hits] == ["c"]
    assert len(look(path, "words", limit=1).hits) == 1


def test_nobody_finds_the_jobs_of_others(index: Index, path: Path) -> None:
    """A key that may see only its own jobs reads everything by searching."""
    index.replace("hers", "one", "ann1", lines("secret words"))
    index.replace("his", "two", "bob2", lines("secret words, ann1"))
    index.replace("nobody's", "three", "", lines("secret words"))
    assert [hit.job for hit in look(path, "words", limit=9, owner="ann1").hits] == ["hers"]
    assert look(path, "bob2", limit=9, owner="bob2").hits == []
    assert look(path, "words", limit=9, owner="").hits == []


def test_the_best_comes_first(index: Index, path: Path) -> None:
    """Whoever searches reads through long rambling before what is about it."""
    index.replace("a", "one", "", lines("whale " + "and then something else " * 20, "The white whale, the whale!"))
    assert [hit.n for hit in look(path, "whale", limit=9).hits] == [1, 0]


def test_speakers_have_their_names() -> None:
    """The answer to who said it is A."""
    segments = [
        Segment(start=0, end=1, text="Yes", speaker=label, words=(Word(start=0, end=1, text="Yes"),)) for label in "AB"
    ]
    people = (Speaker(label="A", name="Ann"), Speaker(label="B"))
    record = encode(builders.transcript(*segments, speakers=people))
    assert [line.speaker for line in Lines.of(record).segments] == ["A", "B"]


@pytest.mark.parametrize("damage", ["other", "text", "half", "version"])
def test_an_index_that_cannot_be_used_is_made_anew(path: Path, damage: str) -> None:
    """One bad block, or the index of another release, ends search for good."""
    first = Index(path)
    for n in range(50):
        first.replace(f"job{n}", "one", "", lines(*["some words"] * 50))
    first.close()
    data = path.read_bytes()
    if damage == "version":
        with sqlite3.connect(path) as connection:
            connection.execute(f"PRAGMA user_version = {VERSION + 1}")
        connection.close()
        assert look(path, "words", limit=1) == ([], False)
    else:
        path.write_bytes({"other": b"", "text": b"text" * 5000, "half": data[: len(data) // 2]}[damage])
    index = Index(path)
    try:
        assert index.is_new
        assert index.known() == {}
        index.replace("job", "one", "", lines("some words"))
        assert len(look(path, "words", limit=9).hits) == 1
    finally:
        index.close()


def test_a_bad_block_is_noticed(path: Path) -> None:
    """Search fails for ever with a block that only some words need."""
    index = Index(path)
    for n in range(100):
        index.replace(f"job{n}", "one", "", lines(*[f"word{n} word{n}{m} some words" for m in range(50)]))
    index.close()
    data = bytearray(path.read_bytes())
    data[4096 * 4 :] = b"\xee" * (len(data) - 4096 * 4)
    path.write_bytes(data)
    with pytest.raises(sqlite3.DatabaseError) as caught:
        _look_everywhere(path)
    assert is_broken(caught.value)


def _look_everywhere(path: Path) -> None:
    for n in range(100):
        look(path, f"word{n}", limit=9)


def test_readers_know_whether_all_is_in_the_index(path: Path) -> None:
    """Somebody hears that nobody said it, while the index is still being made."""
    assert look(path, "words", limit=9) == ([], False)
    index = Index(path)
    assert look(path, "words", limit=9) == ([], False)
    index.set_complete(yes=True)
    assert look(path, "words", limit=9) == ([], True)
    index.set_complete(yes=False)
    assert look(path, "words", limit=9) == ([], False)
    assert index.is_there
    remove(path)
    assert not index.is_there
    index.close()


def test_each_broker_has_an_index_of_its_own(tmp_path: Path) -> None:
    """Whoever uses two brokers finds the words of one in the other, or has each index made over and over."""
    paths = {path_for(tmp_path, broker) for broker in ("", "nats://a", "nats://b")}
    assert len(paths) == 3
