import subprocess
import sys

import pytest

from v2t_stream.models import ALIASES, NAMES, problem

# In processes of their own: the engines must not share one.
FASTER_WHISPER = "from faster_whisper import available_models; print(*available_models())"
WHISPER_CPP = "from pywhispercpp.constants import AVAILABLE_MODELS; print(*AVAILABLE_MODELS)"


def printed(program: str) -> set[str]:
    return set(
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    )


def test_the_tables_are_the_engines_own() -> None:
    """A model that an engine has gained is refused as unknown; one it has dropped is accepted, and fails later."""
    assert NAMES["faster-whisper"] == printed(FASTER_WHISPER)
    assert NAMES["whisper-cpp"] == printed(WHISPER_CPP) | set(ALIASES)


@pytest.mark.parametrize("engine", ["faster-whisper", "whisper-cpp", None])
def test_the_default_and_the_demo_are_known(engine: str | None) -> None:
    """The very first command fails."""
    assert problem("small", engine) is None
    assert problem("demo", engine) is None


def test_a_misspelt_name_is_answered_with_near_ones() -> None:
    """The user is left to guess what the model is called."""
    assert str(problem("larg-v3", None)).startswith("unknown model 'larg-v3': did you mean large-v3 or ")
    assert "v2t models" in str(problem("qqqq", "whisper-cpp"))


def test_another_engines_model_is_answered_with_that_engine() -> None:
    """A name from the other engine's manual looks like a spelling mistake."""
    assert problem("small-q5_1", "faster-whisper") == "faster-whisper has no model 'small-q5_1': whisper-cpp has"


@pytest.mark.parametrize("model", ["/models/mine", "./mine", "~/mine", "org/name", "C:\\models\\mine"])
def test_places_pass(model: str) -> None:
    """A model of the user's own, on the worker's disk or on the hub, is refused where the job is submitted."""
    assert problem(model, "faster-whisper") is None


def test_a_third_partys_engine_is_not_judged() -> None:
    """An engine we do not ship can be given no model."""
    assert problem("anything", "their-engine") is None
