"""What compose.yaml starts, started here without its containers: the same commands, settings and health checks."""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compose import ROOT, services
from tests.harness import MinioServer, broker, free_ports, program
from tests.patience import PATIENCE
from v2t_stream.broker.connect import connect
from v2t_stream.broker.embedded import server_path
from v2t_stream.errors import BrokerError, Denied
from v2t_stream.fleet.presence import fleet
from v2t_stream.topology.applied import is_applied
from v2t_stream.topology.stages import STAGES
from v2t_stream.topology.streams import JOBS

SERVICES = services()


def environment(service: str, **changed: str) -> dict[str, str]:
    """A service's own on top of this machine's, with no store but the broker's."""
    own = {name: value for name, value in SERVICES[service]["environment"].items() if not name.startswith("MINIO_")}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("V2T_")}
    return inherited | own | changed


def v2t(service: str, command: list[str], **changed: str) -> tuple[int, str]:
    """Run the image's entry point with `command` to its end; the exit code and what it said."""
    run = subprocess.run(
        [sys.executable, "-m", "v2t_stream", *command],
        env=environment(service, **changed),
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
    )
    return run.returncode, run.stdout


def health(service: str, **changed: str) -> tuple[int, str]:
    """What a service's health check says."""
    _, program, *arguments = SERVICES[service]["healthcheck"]["test"]
    assert program == "v2t"
    return v2t(service, arguments, **changed)


def start(service: str, log: Path, **changed: str) -> subprocess.Popen[bytes]:
    """A service's command, until it is stopped."""
    own = {"0.0.0.0": "127.0.0.1", "9464": str(free_ports())}  # noqa: S104  # here all share one host
    words = [own.get(word, word) for word in SERVICES[service]["command"]]
    command = [sys.executable, "-m", "v2t_stream", *words]
    with log.open("w") as output:
        return subprocess.Popen(command, env=environment(service, **changed), stdout=output, stderr=output)


async def test_every_stage_starts_and_its_health_check_tells_the_truth(tmp_path: Path) -> None:
    """Else a container ends at once and is started for ever, or one that hangs is called healthy."""
    stages = [row.name for row in STAGES]
    async with broker(tmp_path / "broker") as (server, connection):
        changed = {"NATS_URL": server.url, "V2T_DATA_DIR": str(tmp_path), "V2T_MODEL": "demo"}
        processes = {name: start(name, tmp_path / f"{name}.log", **changed) for name in stages}
        try:
            async with asyncio.timeout(PATIENCE):
                while {info.stage for info in await fleet(connection)} != set(stages):
                    assert all(process.poll() is None for process in processes.values())
                    await asyncio.sleep(0.1)
            async with asyncio.timeout(PATIENCE):
                for name in stages:
                    while (found := await asyncio.to_thread(health, name, **changed))[0] != 0:
                        assert "has not reported" in found[1]  # on a machine that stood still

            processes["intake"].send_signal(signal.SIGSTOP)
            async with asyncio.timeout(PATIENCE):
                while "intake" in {info.stage for info in await fleet(connection)}:
                    await asyncio.sleep(0.2)
            code, output = await asyncio.to_thread(health, "intake", **changed)
            assert code == 1
            assert re.fullmatch(r"v2t: the stage intake of the node \S+ has not reported to \S+ .+\n", output)
        finally:
            for process in processes.values():
                process.terminate()
                process.send_signal(signal.SIGCONT)
            codes = {name: process.wait(PATIENCE) for name, process in processes.items()}
    assert codes == dict.fromkeys(stages, 0)


async def test_the_topology_is_made_by_a_command_that_ends(tmp_path: Path) -> None:
    """Else the stages wait for ever for a service that never completes."""
    async with broker(tmp_path / "broker") as (server, _):
        changed = {"NATS_URL": server.url, "V2T_DATA_DIR": str(tmp_path / "home")}
        code, output = await asyncio.to_thread(v2t, "topology", SERVICES["topology"]["command"], **changed)
    assert code == 0, output


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The broker of compose.yaml, on free ports; the addresses it tells."""
    service = SERVICES["nats"]
    folder = tmp_path / "nats"
    shutil.copytree(ROOT / "nats", folder)
    config = folder / "server.conf"
    config.write_text(re.sub(r":(4222|8222)\"", ':-1"', config.read_text()))
    command = [word.replace("/etc/nats", str(folder)) for word in service["command"]]
    with subprocess.Popen(
        [server_path(), *command, "--addr", "127.0.0.1", "--ports_file_dir", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, **service["environment"]},
    ) as process:
        try:
            ports = tmp_path / f"nats-server_{process.pid}.ports"
            give_up = time.monotonic() + PATIENCE
            while not (ports.exists() and (text := ports.read_text())):
                assert process.poll() is None, "it does not start"
                assert time.monotonic() < give_up, "it does not tell its ports"
                time.sleep(0.02)
            told = json.loads(text)
            yield {"nats": told["nats"][0].removeprefix("nats://"), "http": told["monitoring"][0]}
        finally:
            process.terminate()


async def test_the_broker_has_a_user_for_each_role_and_keeps_its_streams_on_the_volume(
    nats: dict[str, str], tmp_path: Path
) -> None:
    """Else every container and neighbour may submit and purge, or the streams go with the container."""
    with pytest.raises(BrokerError, match="rejects the user"):
        await connect(f"nats://{nats['nats']}", name="test")
    code, output = await asyncio.to_thread(
        v2t, "topology", SERVICES["topology"]["command"], NATS_URL=url_of("topology", nats), V2T_DATA_DIR=str(tmp_path)
    )
    assert code == 0, output
    assert (tmp_path / "nats-data" / "jetstream").is_dir()
    async with await connect(url_of("intake", nats), name="test") as worker:
        assert await is_applied(worker, "intake")
        with pytest.raises(Denied):
            await worker.api(f"STREAM.DELETE.{JOBS}")
    minio = SERVICES["minio"]["environment"]
    for target in ("V2T", "V2TNOW"):
        login = f"{minio[f'MINIO_NOTIFY_NATS_USERNAME_{target}']}:{minio[f'MINIO_NOTIFY_NATS_PASSWORD_{target}']}"
        async with await connect(f"nats://{login}@{nats['nats']}", name="test") as notifier:
            await notifier.submit(minio[f"MINIO_NOTIFY_NATS_SUBJECT_{target}"], b"{}", target)

    address = SERVICES["nats"]["healthcheck"]["test"][-1].replace("http://127.0.0.1:8222", nats["http"])
    with await asyncio.to_thread(urllib.request.urlopen, address, timeout=5) as answer:
        assert json.load(answer) == {"status": "ok"}


def url_of(service: str, nats: dict[str, str]) -> str:
    """The broker's, as a service has it; with a password that looks like a number."""
    url: str = SERVICES[service]["environment"]["NATS_URL"]
    assert re.search(r":\de5@", url)
    return url.replace("nats:4222", nats["nats"])


@pytest.mark.minio
def test_minio_starts_and_knows_the_broker_that_is_not_there_yet(tmp_path: Path) -> None:
    """Else no upload starts a job, or the two wait for each other for ever."""
    service = SERVICES["minio"]
    port = free_ports(2)
    places = {":9000": f"127.0.0.1:{port}", ":9001": f"127.0.0.1:{port + 1}"}
    places |= {"/data": str(tmp_path / "data"), "/queue": str(tmp_path / "queue")}
    own = {name: places.get(value, value) for name, value in service["environment"].items()}
    own["MINIO_NOTIFY_NATS_ADDRESS_V2T"] = "127.0.0.1:1"
    command = [program(MinioServer.PROGRAM), *(places.get(word, word) for word in service["command"])]
    log = tmp_path / "minio.log"
    with (
        log.open("w") as output,
        subprocess.Popen(command, env={**os.environ, **own}, stdout=output, stderr=output) as process,
    ):
        try:
            give_up = time.monotonic() + PATIENCE
            while "arn:minio:sqs::V2T:nats" not in log.read_text():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < give_up, log.read_text()
                time.sleep(0.1)
            with urllib.request.urlopen(f"http://{places[':9000']}/minio/health/ready", timeout=10) as answer:
                assert answer.status == 200
        finally:
            process.terminate()
    assert (tmp_path / "queue").is_dir()
