"""What each module may import, in fresh interpreters."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENGINES = {"faster_whisper", "ctranslate2", "pywhispercpp", "_pywhispercpp", "onnxruntime", "av", "yt_dlp"}


def imported(statement: str) -> set[str]:
    """The top-level modules a fresh interpreter has after `statement`, run in the repository's root."""
    code = f"import sys\n{statement}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_nats_is_nats_py_from_the_root_too() -> None:
    """Else our folder of server configuration shadows the client library and nothing starts."""
    code = "import nats, nats.js; print(nats.__file__)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "site-packages" in run.stdout


def test_help_loads_next_to_nothing() -> None:
    """Else every `v2t --help` and every completion takes a second."""
    heavy = ENGINES | {"nats", "numpy", "rich", "msgspec"}
    assert not imported("from v2t_stream.cli import cli; cli(['--help'], standalone_mode=False)") & heavy


@pytest.mark.parametrize("stage", ["intake", "aggregate", "download", "transcribe"])
def test_a_stage_loads_no_engine_before_it_has_work(stage: str) -> None:
    """Else five processes hold five copies of what only one needs."""
    heavy = ENGINES - ({"av"} if stage == "transcribe" else set())
    assert not imported(f"import stages.{stage}") & heavy


@pytest.mark.parametrize("module", ["v2t_stream.cli.node", "v2t_stream.cli.metrics", "v2t_stream.runtime.worker"])
def test_what_is_not_asked_for_is_not_loaded(module: str) -> None:
    """Else every stage loads metrics, traces and tables that it does not use."""
    assert not imported(f"import {module}") & {"prometheus_client", "opentelemetry", "rich"}


def test_what_nats_py_wants_for_websockets_is_loaded_when_it_is_used() -> None:
    """Every command and stage starts half as fast again; or the monitor in a browser finds no web server."""
    assert "yarl" not in imported("import v2t_stream.cli.job")  # which aiohttp imports with its first lines
    for use in (
        "import aiohttp; aiohttp.ClientSession",
        "from aiohttp import web; web.Application",
        "import aiohttp.web",
    ):
        assert "yarl" in imported(f"import v2t_stream.cli.job; {use}")


@pytest.mark.parametrize(
    "module",
    [
        "v2t_stream.cli.job",
        "v2t_stream.cli.etl",
        "v2t_stream.cli.convert",
        "stages.intake",
        "stages.aggregate",
        "tui.app",
    ],
)
def test_a_process_without_samples_loads_no_numpy(module: str) -> None:
    """Every command that only asks takes a fifth of a second longer."""
    assert "numpy" not in imported(f"import {module}")
