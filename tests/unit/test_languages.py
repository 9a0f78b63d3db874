"""The languages that we offer, and those that the engines know."""

import subprocess
import sys

import pytest

from schemas.options import LANGUAGES
from v2t_stream.languages import code_of, name_of


@pytest.mark.parametrize(
    "program",
    [
        "from faster_whisper.tokenizer import _LANGUAGE_CODES; print(*_LANGUAGE_CODES)",
        "from _pywhispercpp import *; print(*map(whisper_lang_str, range(whisper_lang_max_id() + 1)))",
    ],
)
def test_every_language_we_offer_is_known(program: str) -> None:
    """A language that the settings accept fails on the machine."""
    known = subprocess.check_output([sys.executable, "-c", program], text=True).split()
    assert set(known) == LANGUAGES


def test_every_language_has_the_name_that_whisper_gives_it() -> None:
    """Programs look the language of an answer up by its English name, and find none."""
    names = {code: name_of(code) for code in LANGUAGES}
    assert len({*names.values()}) == len(LANGUAGES)
    assert all(code_of(name) == code for code, name in names.items())
    assert [names[code] for code in ("en", "zh", "ht", "yue", "jw")] == [
        *("english", "chinese", "haitian creole", "cantonese", "javanese")
    ]
