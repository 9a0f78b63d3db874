"""/healthz and /readyz tell the truth about a process, even if its loop hangs or its broker is gone."""

import asyncio
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.harness import ALL_STAGES, Server, broker, free_ports, node
from tests.patience import PATIENCE
from tests.prometheus import fetch
from v2t_stream.broker.connect import connect
from v2t_stream.cli.metrics import Where, fleet_served
from v2t_stream.monitoring.endpoint import Health, served
from v2t_stream.monitoring.metrics import FleetCollector
from v2t_stream.monitoring.survey import Surveyor


async def until(url: str, status: int, says: str = "") -> None:
    """Wait until the answer is the expected one."""
    last: tuple[int, str] = (0, "")
    try:
        async with asyncio.timeout(PATIENCE):
            while not (last[0] == status and says in last[1]):
                last = await asyncio.to_thread(fetch, url)
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(f"{url}: {last}")


def stage(url: str, home: Path, port: int, *more: str, **environment: str) -> "subprocess.Popen[bytes]":
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("V2T_")}
    return subprocess.Popen(
        [sys.executable, "-m", "v2t_stream", "stage", *more, "--metrics-port", str(port)],
        env=inherited | {"NATS_URL": url, "V2T_DATA_DIR": str(home)} | environment,
        stderr=subprocess.PIPE,
    )


async def test_a_stage_without_its_broker_is_not_ready_and_with_it_again_is(tmp_path: Path) -> None:
    """Else an orchestrator sends it traffic, or restarts it, while it only waits for its broker."""
    port = free_ports()
    async with broker(tmp_path / "nats") as (server, _):
        with stage(server.url, tmp_path / "home", port, "intake") as process:
            try:
                await until(f"http://127.0.0.1:{port}/readyz", 200)
                await until(f"http://127.0.0.1:{port}/healthz", 200)
                server.kill()
                await until(f"http://127.0.0.1:{port}/readyz", 503, "the broker is away")
                await until(f"http://127.0.0.1:{port}/healthz", 200)  # it may well come back
                server.start()
                await until(f"http://127.0.0.1:{port}/readyz", 200)
                assert fetch(f"http://127.0.0.1:{port}/else")[0] == 404
            finally:
                process.terminate()


async def test_a_stage_that_loads_its_model_is_not_ready(tmp_path: Path) -> None:
    """Else it counts as ready although the first chunk would wait for minutes."""
    (tmp_path / "slow").mkdir()
    (tmp_path / "slow" / "slow.py").write_text(
        "import time\nfrom pathlib import Path\nclass Slow:\n    def __init__(self, **_):\n"
        f"        while not Path({str(tmp_path / 'go')!r}).exists():\n            time.sleep(0.05)\n"
    )
    package = tmp_path / "slow" / "slow-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Name: slow\nVersion: 1\n")
    (package / "entry_points.txt").write_text("[v2t.transcribers]\nslow = slow:Slow\n")
    port = free_ports()
    root = Path(__file__).parents[2]
    engine = {"PYTHONPATH": f"{tmp_path / 'slow'}:{root}", "V2T_ENGINE": "slow", "V2T_WARM": "true", "V2T_MODEL": "x"}
    async with broker(tmp_path / "nats") as (server, _):
        with stage(server.url, tmp_path / "home", port, "transcribe", **engine) as process:
            try:
                await until(f"http://127.0.0.1:{port}/readyz", 503, "the model is loading")
                await until(f"http://127.0.0.1:{port}/healthz", 200)
                (tmp_path / "go").touch()
                await until(f"http://127.0.0.1:{port}/readyz", 200)
            finally:
                process.terminate()


async def test_a_wedged_loop_is_unhealthy(tmp_path: Path) -> None:
    """Else a hanging stage counts as healthy, because the thread that answers still runs."""
    port = free_ports()
    async with (
        broker(tmp_path / "nats") as (_, connection),
        served("127.0.0.1", port, Health(connection.client, lambda: "", wedged=1.5)),
    ):
        await until(f"http://127.0.0.1:{port}/healthz", 200)
        with ThreadPoolExecutor(1) as thread:
            asking = thread.submit(_ask_after, 3.0, f"http://127.0.0.1:{port}/healthz")
            while not asking.done():  # as a bug would: without giving the loop back
                time.sleep(0.1)  # noqa: ASYNC251
        status, text = asking.result()
        assert (status, text.startswith("the event loop has been stuck for")) == (503, True)
        await until(f"http://127.0.0.1:{port}/healthz", 200)


def _ask_after(seconds: float, url: str) -> tuple[int, str]:
    time.sleep(seconds)
    return fetch(url)


async def test_a_broker_that_stays_away_makes_unhealthy(tmp_path: Path) -> None:
    """Else nobody learns that a node does nothing any more."""
    port = free_ports()
    server = Server(tmp_path / "nats")
    server.start()
    try:
        async with (
            await connect(server.url, name="test") as connection,
            served("127.0.0.1", port, Health(connection.client, lambda: "", lost=1.0)),
        ):
            server.kill()
            await until(f"http://127.0.0.1:{port}/healthz", 503, "the broker has been away for")
            server.start()
            await until(f"http://127.0.0.1:{port}/healthz", 200)
            await connection.close()
            await until(f"http://127.0.0.1:{port}/healthz", 503, "the connection to the broker is closed")
    finally:
        server.stop()


async def told(url: str) -> dict[str, float]:
    """How many processes of each stage the metrics show."""
    _, text = await asyncio.to_thread(fetch, url)
    samples = [one for family in text_string_to_metric_families(text) for one in family.samples]
    return {one.labels["stage"]: one.value for one in samples if one.name == "v2t_node_processes"}


async def test_the_fleets_metrics_are_refused_where_they_cannot_be_known(tmp_path: Path) -> None:
    """Else yesterday's numbers look like today's."""
    port = free_ports()
    async with (
        broker(tmp_path / "nats") as (server, connection),
        fleet_served(Where("127.0.0.1", port), connection, node="m4"),
    ):
        await until(f"http://127.0.0.1:{port}/metrics", 200, 'v2t_queue_workers{queue="intake"} 0.0')
        await until(f"http://127.0.0.1:{port}/readyz", 503, "not working: intake, download, convert, transcribe")
        with node(server.url, tmp_path / "home", V2T_NODE="m4"):
            await until(f"http://127.0.0.1:{port}/readyz", 200)
            async with asyncio.timeout(PATIENCE):  # a process that is silent for a while is left out
                while await told(f"http://127.0.0.1:{port}/metrics") != dict.fromkeys(ALL_STAGES, 1.0):
                    await asyncio.sleep(0.05)
    port, loop = free_ports(), asyncio.get_running_loop()
    async with broker(tmp_path / "other") as (server, connection):
        fleet = FleetCollector(Surveyor(connection).look, loop, "", patience=2.0)
        async with served("127.0.0.1", port, Health(connection.client, lambda: ""), fleet):
            await until(f"http://127.0.0.1:{port}/metrics", 200)
            with server.frozen():
                await until(f"http://127.0.0.1:{port}/metrics", 503)


async def test_a_taken_port_gives_a_sentence(tmp_path: Path) -> None:
    """Else the stage ends with a traceback, again and again."""
    async with broker(tmp_path / "nats") as (server, connection):
        port = free_ports()
        async with fleet_served(Where("127.0.0.1", port), connection):
            with stage(server.url, tmp_path / "home", port, "intake") as process:
                assert process.stderr
                said = await asyncio.to_thread(process.stderr.read)
                assert await asyncio.to_thread(process.wait) == 1
    assert b"choose another --metrics-port or --metrics-host" in said
    assert b"Traceback" not in said
