"""A real Prometheus with the project's own configuration."""

import contextlib
import json
import math
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.harness import free_ports
from tests.patience import PATIENCE

MONITORING = Path(__file__).parents[1] / "monitoring"


def program(name: str) -> str:
    """The path of `prometheus` or `promtool`; skips the test if it is not installed."""
    if not (found := shutil.which(name)):
        pytest.skip(f"no {name} on PATH: install Debian's package prometheus")
    return found


def fetch(url: str) -> tuple[int, str]:
    """The status and the text of an answer; 0 if there is none."""
    try:
        with urllib.request.urlopen(url, timeout=15) as answer:  # noqa: S310  # loopback
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


class Prometheus:
    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, expression: str) -> list[dict[str, Any]]:
        """What it finds now, without values that are not numbers."""
        status, text = fetch(f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': expression})}")
        assert status == 200, f"{expression}: {text}"
        found: list[dict[str, Any]] = json.loads(text)["data"]["result"]
        return [one for one in found if not math.isnan(float(one["value"][1]))]


@contextlib.contextmanager
def prometheus(folder: Path, fleet: str, stages: list[str]) -> Iterator[Prometheus]:
    """A Prometheus that reads `fleet` and `stages`, each host:port, every second."""
    path = program("prometheus")
    folder.mkdir()
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    config["global"] = dict.fromkeys(config["global"], "1s")
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    port = free_ports()
    jobs["v2t-fleet"]["static_configs"] = [{"targets": [fleet]}]
    del jobs["v2t-stages"]["dns_sd_configs"]  # there are no containers for DNS to find
    jobs["prometheus"]["static_configs"] = [{"targets": [f"127.0.0.1:{port}"]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    (folder / "nodes.yml").write_text(yaml.safe_dump([{"targets": stages}]))
    shutil.copy(MONITORING / "alerts.yml", folder)
    command = [
        path,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log) as process,
    ):
        try:
            give_up = time.monotonic() + PATIENCE
            while fetch(f"http://127.0.0.1:{port}/-/ready")[0] != 200:
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < give_up, (folder / "log").read_text()
                time.sleep(0.1)
            yield Prometheus(f"http://127.0.0.1:{port}")
        finally:
            process.terminate()
