"""The metrics of real stages as a real Prometheus reads them: every panel has data, every alert sees what it is for."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from schemas.requests import SubmitRequest
from tests.harness import DATA, broker, ended, free_ports, served
from tests.patience import PATIENCE
from tests.prometheus import MONITORING, Prometheus, fetch, program, prometheus
from v2t_stream.broker.connection import Connection
from v2t_stream.jobs.submission import submit

DASHBOARD = json.loads((MONITORING / "grafana/dashboards/v2t.json").read_text())
ALERTS = {
    rule["alert"]: rule["expr"]
    for group in yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
}


@contextlib.contextmanager
def v2t(log: Path, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """One of our commands that runs until stopped."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("V2T_")}
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [sys.executable, "-m", "v2t_stream", *arguments],
            env=inherited | environment,
            stdout=output,
            stderr=output,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()


class Monitored(NamedTuple):
    connection: Connection
    prometheus: Prometheus
    node: "subprocess.Popen[bytes]"
    port: int  # of the node; its stages have the five that follow
    media: str  # where DATA is served

    async def until_found(self, expression: str, **labels: str) -> None:
        """Wait until Prometheus finds something; with `labels`, exactly one series with these."""
        async with asyncio.timeout(PATIENCE):
            while not (found := await asyncio.to_thread(self.prometheus.query, expression)) or (
                labels and [labels] != [{name: one["metric"].get(name) for name in labels} for one in found]
            ):
                await asyncio.sleep(0.2)

    async def until_quiet(self) -> None:
        """Wait until no alert's expression finds anything; a late reading may make one find something for a moment."""
        give_up = time.monotonic() + PATIENCE
        while firing := [name for name, rule in ALERTS.items() if await asyncio.to_thread(self.prometheus.query, rule)]:
            assert time.monotonic() < give_up, firing
            await asyncio.sleep(0.2)


@pytest.fixture
async def monitored(tmp_path: Path) -> AsyncIterator[Monitored]:
    """A broker with monitoring, a node with metrics, the fleet's metrics, and a Prometheus that reads them all."""
    program("prometheus")
    port = free_ports(8)
    async with broker(tmp_path / "nats", f"http: 127.0.0.1:{port + 7}") as (server, connection):
        environment = {
            "NATS_URL": server.url,
            "V2T_MODEL": "demo",
            "V2T_NODE": "m4",
            "V2T_ALLOW_ADDRESSES": "127.0.0.1",
        }
        monitor = f"http://127.0.0.1:{port + 7}"
        with (
            served(DATA) as media,
            v2t(
                tmp_path / "fleet.log",
                *("metrics", "--port", str(port + 6), "--broker-monitor", monitor),
                **environment,
                V2T_DATA_DIR=str(tmp_path / "fleet"),
            ),
            v2t(
                tmp_path / "node.log",
                *("node", "--metrics-port", str(port)),
                **environment,
                V2T_DATA_DIR=str(tmp_path / "node"),
            ) as node,
            prometheus(
                tmp_path / "prometheus", f"127.0.0.1:{port + 6}", [f"127.0.0.1:{port + n}" for n in range(6)]
            ) as reader,
        ):
            async with asyncio.timeout(PATIENCE):
                while (await asyncio.to_thread(fetch, f"http://127.0.0.1:{port}/readyz"))[0] != 200:
                    assert node.poll() is None, (tmp_path / "node.log").read_text()
                    await asyncio.sleep(0.2)
            yield Monitored(connection, reader, node, port, media)


async def test_every_panel_has_data_and_every_alert_sees_what_it_is_for(monitored: Monitored) -> None:
    """Else the owner looks at empty panels, or an alert never comes."""
    await monitored.until_found("count(up == 1) >= 8")  # both collectors, five stages, itself
    good, _ = await submit(monitored.connection, SubmitRequest(url=f"{monitored.media}/3min.ogg"))
    assert (await ended(monitored.connection, good)).state == "completed"
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            await monitored.until_found(target["expr"].replace("$__rate_interval", "5m"))
    await monitored.until_quiet()
    await monitored.until_found(f"sum(v2t_download_bytes_total) == {(DATA / '3min.ogg').stat().st_size}")

    bad, _ = await submit(monitored.connection, SubmitRequest(url=f"{monitored.media}/none.mp3"))
    assert (await ended(monitored.connection, bad)).state == "failed"
    await monitored.until_found(ALERTS["DeadLetters"])
    await monitored.until_found('v2t_jobs{state="failed"} == 1')
    await monitored.until_found('v2t_jobs{state="completed"} == 1')

    await submit(monitored.connection, SubmitRequest(url=f"{monitored.media}/20s-1.flac", accelerator="cuda"))
    await monitored.until_found(ALERTS["NoWorker"], queue="transcribe-cuda")
    await monitored.until_found(ALERTS["OldestChunk"].replace("3600", "1"))
    await monitored.until_found(ALERTS["StoreNearlyFull"].replace("0.85", "0"))
    await monitored.until_found(ALERTS["DiskNearlyFull"].replace("0.9", "0"))

    monitored.node.kill()  # a power cut
    await monitored.until_found(ALERTS["NodeLost"], node="m4")
    await monitored.until_found(ALERTS["Unready"])


def test_the_rules_fire_when_they_should_and_only_then() -> None:
    """Else somebody is called at night for nothing, or not at all."""
    promtool = program("promtool")
    for command in (["check", "config", "prometheus.yml"], ["test", "rules", "alerts.test.yml"]):
        run = subprocess.run([promtool, *command], cwd=MONITORING, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout + run.stderr


def test_every_alert_has_a_case() -> None:
    """Else an alert that can never fire passes."""
    cases = yaml.safe_load((MONITORING / "alerts.test.yml").read_text())["tests"]
    fired = {test["alertname"] for case in cases for test in case.get("alert_rule_test", ()) if test["exp_alerts"]} | {
        sample["labels"].split('alertname="')[1].split('"')[0]
        for case in cases
        for test in case.get("promql_expr_test", ())
        for sample in test["exp_samples"]
    }
    assert fired == set(ALERTS)
