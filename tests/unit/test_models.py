import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from v2t_stream.cli.models import models
from v2t_stream.engines.descriptor import ALIASES
from v2t_stream.errors import SettingsError
from v2t_stream.models import names, origin, problem
from v2t_stream.models.fetching import Pace, Transfer

# In processes of their own: the engines must not share one.
FASTER_WHISPER = (
    "from faster_whisper.utils import _MODELS; print(*(f'{name}={place}' for name, place in _MODELS.items()))"
)
WHISPER_CPP = "from pywhispercpp.constants import AVAILABLE_MODELS; print(*AVAILABLE_MODELS)"


def printed(program: str) -> set[str]:
    return set(
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    )


def test_the_tables_are_the_engines_own() -> None:
    """A model that an engine has gained is refused as unknown; one it has dropped is accepted, and fails later."""
    origins = [(name, origin(name, "faster-whisper")) for name in names()["faster-whisper"]]
    assert {f"{name}={found.repository}" for name, found in origins if found} == printed(FASTER_WHISPER)
    assert names()["whisper-cpp"] == printed(WHISPER_CPP) | set(ALIASES)


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
    assert problem("small-q5_1", "faster-whisper") == "faster-whisper has no model 'small-q5_1', but whisper-cpp has"


@pytest.mark.parametrize("model", ["/models/mine", "./mine", "~/mine", "org/name", "C:\\models\\mine"])
def test_places_pass(model: str) -> None:
    """A model of the user's own, on the worker's disk or on the hub, is refused where the job is submitted."""
    assert problem(model, "faster-whisper") is None


def test_a_third_partys_engine_is_not_judged() -> None:
    """An engine we do not ship can be given no model."""
    assert problem("anything", "their-engine") is None


def test_an_alias_is_the_same_model() -> None:
    """The largest model there is is fetched and kept twice."""
    for engine in names():
        large = origin("large", engine)
        assert large
        assert large == origin("large-v3", engine)
        assert large.key == f"{engine}/large-v3"


def test_a_folder_that_happens_to_have_a_models_name_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder with one called small, `--model small` fails."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small").mkdir()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "tuned").mkdir()
    found = origin("small", "faster-whisper")
    assert found
    assert found.repository == "Systran/faster-whisper-small"
    assert origin("mine/tuned", "faster-whisper") is None
    assert origin("mine/other", "faster-whisper") is not None
    assert origin("mine/other", "whisper-cpp") is None
    assert origin("anything", "their-engine") is None


@given(st.text(st.sampled_from("./\\~-:aA0 _\0\n")), st.sampled_from(["faster-whisper", "whisper-cpp"]))
def test_no_name_leads_out_of_the_folder_of_models(name: str, engine: str) -> None:
    """A job can have files written or removed anywhere."""
    if found := origin(name, engine):
        place = Path("/models") / found.key
        assert place.resolve().parent == Path("/models") / engine
        assert not place.name.startswith(".")
        assert found.key.count("/") == 1


def test_the_pace_of_a_fetch_is_that_of_the_last_seconds() -> None:
    """Else what was here before, or an hour of standing still, makes the rest look faster or slower than it is."""
    now = 0.0
    pace = Pace(lambda: now)

    def at(seconds: float, megabytes: int) -> str:
        nonlocal now
        now = seconds
        return pace.described(Transfer("small", "from the hub", megabytes * 10**6, 400 * 10**6))

    assert at(0, 100) == "100 of 400 MB (25%)"
    assert at(2, 120) == "120 of 400 MB (30%), 10.0 MB/s"
    assert at(100, 140) == "140 of 400 MB (35%), 0.2 MB/s"
    assert at(101, 160) == "160 of 400 MB (40%), 20.0 MB/s"
    assert at(102, 4) == "4 of 400 MB (1%)"  # another model


@pytest.mark.parametrize(
    ("name", "says"), [("speakers", "--speakers needs no download"), ("demo", "cannot be fetched")]
)
def test_what_is_part_of_v2t_is_not_looked_for_elsewhere(name: str, says: str) -> None:
    """Users look for a hub and a token, although they have the model already."""
    with pytest.raises(SettingsError, match=f"part of v2t itself: .*{says}"):
        models.main(["pull", name], standalone_mode=False)
