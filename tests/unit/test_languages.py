"""The languages that we offer, and those that the engines know."""

import subprocess
import sys

import pytest

from schemas.options import LANGUAGES


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
