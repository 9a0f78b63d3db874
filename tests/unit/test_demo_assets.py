"""The demo model, its clip and the evaluation clips, as files: no engine is loaded here."""

import json
import re
import zipfile
from pathlib import Path

import pytest

from v2t_stream import demo
from v2t_stream.errors import NoDemo

DEMO = Path(demo.__file__).parent
DATA = Path(__file__).parents[1] / "data"


def known_words() -> set[str]:
    """The words that are one token of the demo model's tokenizer; a leading space is spelled Ġ."""
    tokenizer = json.loads((DEMO / "faster-whisper" / "tokenizer.json").read_text(encoding="utf-8"))
    return {token.removeprefix("Ġ") for token in tokenizer["model"]["vocab"]}


def words(text: str) -> list[str]:
    return re.findall(r"[A-Za-z']+", text)


@pytest.mark.parametrize("engine", ["faster-whisper", "whisper-cpp"])
def test_each_engine_has_a_model(engine: str) -> None:
    """Else `model = "demo"` fails on a fresh install with a file that is not there."""
    path = demo.model_path(engine)
    assert (path / "model.bin" if path.is_dir() else path).stat().st_size > 1_000_000


def test_an_engine_without_a_demo_model_gives_a_sentence() -> None:
    """Else asking a third party's engine for the demo model gives a KeyError."""
    with pytest.raises(NoDemo, match=r"'parakeet' has no demo model"):
        demo.model_path("parakeet")


def test_the_download_stays_small(tmp_path: Path) -> None:
    """Else every install downloads more for a model that is only for show."""
    archive = tmp_path / "demo.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in DEMO.rglob("*"):
            if path.is_file() and path.suffix != ".pyc":
                packed.write(path, path.relative_to(DEMO))
    assert archive.stat().st_size < 6_000_000
    assert demo.CLIP.stat().st_size < 400_000
    assert sum(path.stat().st_size for path in DATA.iterdir()) < 3_000_000


def test_the_clip_says_only_what_the_model_knows() -> None:
    """Else the demonstration shows wrong words although all works."""
    assert set(words(demo.reference())) <= known_words()


def test_the_times_of_the_clip_are_in_order() -> None:
    """Else what is measured against them (word times, subtitles) is measured wrongly."""
    segments = json.loads((DEMO / "clip.json").read_text(encoding="utf-8"))["segments"]
    assert " ".join(segment["text"] for segment in segments) == demo.reference()
    times = [time for segment in segments for time in (segment["start"], segment["end"])]
    assert times == sorted(times)
    assert 60 <= times[-1] <= 90


def test_every_evaluation_clip_has_its_reference() -> None:
    """Else an accuracy test silently skips a clip, or compares it with words that were never said."""
    references = json.loads((DATA / "references.json").read_text(encoding="utf-8"))
    assert set(references) == {path.name for path in DATA.iterdir() if path.suffix in (".flac", ".ogg")}
    said = {word for sentences in references.values() for sentence in sentences for word in words(sentence["text"])}
    assert said <= known_words()
    assert references["noise.flac"] == []


def test_the_card_says_what_the_model_is_for() -> None:
    """Else someone transcribes an interview with 103 words and reports a bug."""
    card = (DEMO / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "demonstration and testing only" in card
