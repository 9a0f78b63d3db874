"""One running pipeline for all tests that only use it; those that break something start their own (tests.harness)."""

import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from hypothesis import HealthCheck, settings

from tests.harness import Node, Server, broker, node, shared_broker
from tests.patience import PATIENCE
from tests.serving import Serving, serving
from v2t_stream.broker.connect import connect
from v2t_stream.broker.connection import Connection

# A file's tests run in one process. The longest files come first, so that none starts when the others are done.
_LONG: Final = {
    *("test_models", "test_fetch_host", "test_outages", "test_chaos", "test_faults", "test_nodes"),
    *("test_cli", "test_tui", "test_lists", "test_fleet", "test_bad_input"),
}
MAX_DURATION: Final = 720  # seconds of media that the running pipeline takes
_SHOWN: pytest.StashKey[list[str]] = pytest.StashKey()
_CONFIG_HOME: pytest.StashKey[str] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--chaos",
        action="store_true",
        help="faults for six minutes, not half a minute",
    )
    parser.addoption("--snapshots", action="store_true", help="write anew what the monitor's screens should look like")
    parser.addoption("--chaos-seed", type=int, help="what is struck, and what people do, as a run before printed it")

    parser.addoption("--fuzz", type=float, default=20, help="seconds in all for mutated media and messages")
    parser.addoption("--fuzz-seed", type=int, default=1, help="what was mutated how, as a run before printed it")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_SHOWN] = []
    # A shell that runs the tests in the background ignores Ctrl-C for all its children, even if a test sends it, and
    # `nohup` ignores that the terminal is gone. What is handled here is not ignored by the processes of the tests.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)
    # The config.toml of whoever runs the tests must not decide what they find.
    os.environ.pop("V2T_CONFIG", None)
    own = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "uv" / "uv.toml"
    if own.exists():  # uv fetches what two tests need, perhaps from a mirror that it names
        os.environ.setdefault("UV_CONFIG_FILE", str(own))
    os.environ["XDG_CONFIG_HOME"] = config.stash[_CONFIG_HOME] = tempfile.mkdtemp(prefix="v2t-tests-config-")
    # Container images set it: then each of thousands of processes would compile all its imports.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    # How long an example takes depends more on the machine than on the code.
    settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("any machine")


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(config.stash[_CONFIG_HOME], ignore_errors=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if rows := config.stash[_SHOWN]:
        terminalreporter.section("faults")
        for row in rows:
            terminalreporter.line(row)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.stem not in _LONG)


@pytest.fixture
def shown(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Prints at the end of the run what a fault test injected and counted."""

    def show(injected: str, counted: str) -> None:
        request.config.stash[_SHOWN].append(f"injected: {injected}; counted: {counted}")

    return show


class Pipeline(NamedTuple):
    url: str
    node: Node


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """A broker with all stages running on it."""
    folder = tmp_path_factory.mktemp("pipeline")
    with (
        shared_broker(folder / "nats") as server,
        node(server.url, folder / "home", V2T_MAX_BYTES="50000000", V2T_MAX_DURATION=str(MAX_DURATION)) as machine,
    ):
        yield Pipeline(server.url, machine)


@pytest.fixture(scope="session")
def server(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """An HTTP server on the running pipeline."""
    with serving(pipeline.url, tmp_path_factory.mktemp("serve")) as running:
        yield running


@pytest.fixture
async def nats(tmp_path: Path) -> AsyncIterator[tuple[Server, Connection]]:
    """A broker that the test may break, and a connection to it."""
    async with broker(tmp_path / "nats") as running:
        yield running


@pytest.fixture
async def connection(pipeline: Pipeline) -> AsyncIterator[Connection]:
    """A connection to the running pipeline."""
    async with await connect(pipeline.url, name="test", patience=PATIENCE) as connection:
        yield connection
