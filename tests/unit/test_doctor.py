"""How doctor judges a machine, including machines that no test can have."""

import asyncio
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from v2t_stream.broker.connection import Connection
from v2t_stream.doctor import Finding, accelerator, broker, examine, first, in_thread, machine, model
from v2t_stream.doctor.accelerator import Machine, judge
from v2t_stream.errors import BrokerError, Denied, SettingsError
from v2t_stream.models.folder import Manifest, ModelFile
from v2t_stream.models.source import SourceFailed, Wanted
from v2t_stream.settings import Settings
from v2t_stream.settings.home import make_folder
from v2t_stream.transcription.providers import load

PLAIN = Machine(engine="faster-whisper", wanted="auto", device="cpu", threads=8)
CARD = PLAIN._replace(card=True, gpus=1, cublas=True, capability=(8, 9), ctranslate2=True)
MAC = PLAIN._replace(apple=True)


@pytest.mark.parametrize(
    ("found", "status", "says"),
    [
        (PLAIN, "ok", "no NVIDIA card"),
        (CARD._replace(device="cuda"), "ok", "faster-whisper on cuda"),
        (CARD._replace(gpus=0, hidden=True), "warn", "CUDA_VISIBLE_DEVICES"),
        (CARD._replace(gpus=0, driver="no driver (libcuda.so.1) is installed"), "warn", "nvidia-smi"),
        (CARD._replace(cublas=False), "warn", "--extra cuda"),
        (CARD._replace(capability=(3, 5)), "warn", "capability 3.5"),
        (CARD._replace(ctranslate2=False), "warn", "built without CUDA"),
        (CARD._replace(engine="whisper-cpp"), "warn", "V2T_ENGINE=faster-whisper"),
        (CARD._replace(wanted="cpu"), "ok", "on cpu"),
        (PLAIN._replace(wanted="cuda", device="cuda"), "fail", "V2T_DEVICE=cuda cannot work: no NVIDIA card"),
        (CARD._replace(wanted="cuda", device="cuda", cublas=False), "fail", "no cuBLAS 12"),
        (PLAIN._replace(wanted="metal", device="metal"), "fail", "not a Mac"),
        (MAC, "warn", "V2T_ENGINE=whisper-cpp"),
        (MAC._replace(engine="whisper-cpp", device="metal", metal=True), "ok", "whisper-cpp on metal"),
        (MAC._replace(engine="whisper-cpp", metal=False), "warn", "built without Metal"),
    ],
)
def test_it_tells_why_a_better_accelerator_is_not_used(found: Machine, status: str, says: str) -> None:
    """Else an expensive card is idle, and its owner looks for the reason in the wrong place."""
    finding = judge(found)
    assert finding.status == status
    assert says in f"{finding.found} {finding.advice}"


def test_it_looks_at_this_machine_without_an_engine_s_help() -> None:
    """Else doctor itself fails if a driver is broken."""
    assert accelerator.look(Settings()).status in ("ok", "warn")


async def test_what_goes_wrong_in_one_check_is_its_finding() -> None:
    """Else one check that breaks or hangs hides what all others found."""

    async def refused() -> Finding:
        raise BrokerError("the NATS server at x refused STREAM.INFO.Y: no such thing")

    async def denied() -> Finding:
        raise Denied("the user viewer may not look at streams (publish $JS.API.INFO): use an operator's")

    async def broken() -> Finding:
        raise ValueError("a bug")

    async def hanging() -> Finding:
        await asyncio.Event().wait()
        raise AssertionError

    checks = [("refused", refused), ("denied", denied), ("broken", broken), ("hanging", hanging)]
    found = await examine([*checks, in_thread("python", machine.python)], patience=2)
    assert [(finding.name, finding.status) for finding in found] == [
        ("refused", "fail"),
        ("denied", "warn"),
        ("broken", "fail"),
        ("hanging", "fail"),
        ("python", "ok"),
    ]
    assert found[1].advice == "use an operator's"
    assert "ValueError: a bug" in found[2].found


def test_doctor_names_an_old_yt_dlp_and_how_to_update_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else YouTube fails for a reason that takes a minute to fix."""
    for installed, status in (("2099.1.1", "ok"), ("2020.1.1", "warn")):
        monkeypatch.setattr(machine, "version", {"yt-dlp": installed, "yt-dlp-ejs": "0.8.0"}.__getitem__)
        finding = machine.downloads()
        assert finding.status == status
        assert "deno 2" in finding.found
    assert "uv sync -P yt-dlp" in finding.advice


def test_doctor_names_a_full_disk_before_a_job_finds_it(tmp_path: Path) -> None:
    """Else the first large download ends in the middle."""
    home = str(tmp_path / "not" / "there" / "yet")
    assert machine.disk(Settings(data_dir=home, max_bytes=1)).status == "ok"
    finding = machine.disk(Settings(data_dir=home, max_bytes=1 << 60))
    assert (finding.status, "V2T_DATA_DIR" in finding.advice) == ("warn", True)


async def finding_of(look: Callable[[], Finding]) -> Finding:
    (found,) = await examine([in_thread("data", look)])
    return found


async def test_doctor_writes_to_the_data_folder_and_leaves_nothing(tmp_path: Path) -> None:
    """Else the first command finds out that nothing can be written there."""
    (tmp_path / "file").touch()
    for home, why in (
        (tmp_path / "file", "a file is in its place"),
        (tmp_path / "file" / "below", "a file is in its place"),
        (tmp_path / ("long" * 70), "its path is too long"),
        (Path("/proc/v2t"), "cannot be written"),
    ):
        found = await finding_of(lambda home=home: machine.data(Settings(data_dir=str(home))))
        assert (found.status, why in found.found) == ("fail", True), found
        assert load(Settings(data_dir=str(home)))  # which says nothing, so that the sentence is about the folder
        with pytest.raises(SettingsError, match=f"the data folder {home} cannot be written .*: set V2T_DATA_DIR"):
            make_folder(home, "broker")
    fine = await finding_of(lambda: machine.data(Settings(data_dir=str(tmp_path / "not" / "yet"))))
    assert (fine.status, "does not exist yet" in fine.found) == ("ok", True)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


async def judged(settings: Settings) -> Finding:
    return await model.judge(asyncio.create_task(model.look(settings)))


async def test_doctor_looks_for_the_model_of_the_first_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the first job waits for minutes for a model that cannot come."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("v2t_stream.models.hub.cached", lambda _: None)
    settings = Settings(data_dir=str(tmp_path))

    async def away(_: object) -> None:
        raise SourceFailed("https://hub: no route to host")

    monkeypatch.setattr("v2t_stream.models.hub.HubModel.find", away)
    found = await judged(settings)
    assert (found.status, "the hub cannot be reached" in found.found) == ("warn", True)
    assert "v2t models pull small" in found.advice
    kept = tmp_path / "models" / "faster-whisper" / "tiny"
    kept.mkdir(parents=True)
    (kept / "model.bin").write_bytes(b"x")
    files = (ModelFile("model.bin", 1, "0" * 64),)
    manifest = Manifest(engine="faster-whisper", name="tiny", files=files, source="x")
    (kept / ".manifest.json").write_bytes(msgspec.json.encode(manifest))
    assert "--model tiny" in (await judged(settings)).advice
    here = await judged(msgspec.structs.replace(settings, model="tiny"))
    assert (here.status, here.found) == ("ok", "tiny of faster-whisper is here; on this machine: tiny, demo")
    (tmp_path / "models" / "faster-whisper" / "tiny").rename(tmp_path / "models" / "faster-whisper" / "large-v3")
    manifest = msgspec.structs.replace(manifest, name="large-v3")
    (tmp_path / "models/faster-whisper/large-v3/.manifest.json").write_bytes(msgspec.json.encode(manifest))
    assert (await judged(msgspec.structs.replace(settings, model="large"))).status == "ok"  # its other name
    assert (await judged(msgspec.structs.replace(settings, model="demo"))).found == "demo of faster-whisper is here"
    wrong = await judged(msgspec.structs.replace(settings, model="smal"))
    assert (wrong.status, "did you mean small" in wrong.found) == ("fail", True)
    gone = await judged(msgspec.structs.replace(settings, model="/gone/model"))
    assert (gone.status, "/gone/model does not exist" in gone.found) == ("fail", True)

    async def there(_: object) -> SimpleNamespace:
        return SimpleNamespace(files=[Wanted("model.bin", 484_000_000)])

    monkeypatch.setattr("v2t_stream.models.hub.HubModel.find", there)
    fetched = await judged(settings)
    assert (fetched.status, "the first job fetches it from the hub (484.0 MB)" in fetched.found) == ("ok", True)


HERE = model.Model("small", "faster-whisper", "here")
OK = Finding("accelerator", "ok", "faster-whisper on cpu, 8 threads: no NVIDIA card")


@pytest.mark.parametrize(
    ("findings", "found", "kept", "url", "says"),
    [
        (
            [OK],
            HERE,
            False,
            "",
            "start a broker and all stages .* by the model small, faster-whisper on cpu, 8 threads,",
        ),
        ([OK], HERE, True, "", "hand FILE to the v2t up that runs here, transcribe"),
        ([OK], HERE._replace(state="hub", size=10**9), False, "", r"fetch the model small \(1.00 GB\)"),
        (
            [OK],
            HERE._replace(state="away"),
            False,
            "",
            "would not get far: the model small is not here .* --model demo",
        ),
        ([OK, Finding("data", "fail", "it is full")], HERE, False, "", "would fail: it is full"),
        (
            [OK, Finding("data", "fail", "it is full")],
            None,
            False,
            "nats://me:hush@hub",
            "send FILE to the broker at nats://hub,",
        ),
        ([OK, Finding("broker", "fail", "no answer")], HERE, False, "nats://hub", "would fail: no answer"),
        ([OK, Finding("nodes", "warn", "none is running")], HERE, False, "nats://hub", "and wait there, because"),
        ([OK, Finding("nodes", "warn", "1, but no convert")], HERE, False, "nats://hub", "and wait there, because"),
        ([OK, Finding("nodes", "warn", "releases 1, 2")], HERE, False, "nats://hub", "whose nodes transcribe it"),
        ([OK], model.Model("", "house", "service"), False, "", "have the service house transcribe it, write"),
        (
            [OK],
            model.Model("", "openai", "service", remote=True),
            False,
            "",
            "transcribe it, which needs --remote, write",
        ),
    ],
)
def test_doctor_says_what_the_first_command_would_do(
    findings: list[Finding], found: model.Model | None, *, kept: bool, url: str, says: str
) -> None:
    """Else a new user reads a dozen ticks, and does not know whether to begin."""
    after = first.command(Settings(nats_url=url), findings, found, kept=kept)
    assert re.search(says, after.found), after.found
    assert "hush" not in after.found


def test_doctor_points_from_a_former_providers_file_to_the_way_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else whoever comes from the former system writes the file anew, or misses the services."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert not machine.providers(Settings(data_dir=str(tmp_path))).advice
    (tmp_path / ".tiktok-whisper").mkdir()
    (tmp_path / ".tiktok-whisper" / "providers.yaml").touch()
    assert "v2t providers migrate ~/.tiktok-whisper" in machine.providers(Settings(data_dir=str(tmp_path))).advice


def test_a_secret_that_others_can_read_is_reported_and_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else every user of the machine can read the cookies of a logged-in browser."""
    cookies = tmp_path / "cookies.txt"
    settings = Settings(data_dir=str(tmp_path), cookies=str(cookies))
    assert machine.secrets(settings).status == "fail"
    cookies.write_text("hush")
    cookies.chmod(0o644)
    finding = machine.secrets(settings)
    assert (finding.status, finding.advice) == ("warn", f"chmod go-rwx {cookies}")
    cookies.chmod(0o600)
    assert machine.secrets(settings).status == "ok"
    (tmp_path / "providers.yaml").write_text("providers: [{type: openai}]")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert "OPENAI_API_KEY" in machine.secrets(settings).found
    monkeypatch.setenv("OPENAI_API_KEY", "hush")
    assert "hush" not in str(machine.secrets(settings))


@pytest.mark.parametrize(
    ("off", "status", "says"),
    [(0, "ok", "within"), (-60, "warn", "ahead of the broker's"), (60, "warn", "behind the broker's")],
)
async def test_a_slow_answer_makes_no_clock_wrong(off: float, status: str, says: str) -> None:
    """Else a user on a slow line is told to fix two correct clocks."""

    async def user_info(_: float) -> dict[str, Any]:
        told = datetime.now(UTC) + timedelta(seconds=off)
        await asyncio.sleep(0.2)  # on its way
        return {"data": {}, "server": {"time": told.isoformat()}}

    finding = await broker.clock(cast(Connection, SimpleNamespace(user_info=user_info)), apart=0.05)
    assert (finding.status, says in finding.found) == (status, True)


@pytest.mark.parametrize(
    ("off", "status", "says"),
    [(0, "ok", "within"), (-60, "warn", "ahead of the store's"), (60, "warn", "behind the store's")],
)
def test_a_store_that_tells_whole_seconds_has_no_wrong_clock(
    off: float, status: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else every second check warns about a correct clock."""

    def request(*_: object, **__: object) -> SimpleNamespace:
        told = datetime.now(UTC) + timedelta(seconds=off)
        time.sleep(0.2)  # on its way
        return SimpleNamespace(headers={"Date": format_datetime(told, usegmt=True)})

    monkeypatch.setattr("urllib3.request", request)
    finding = broker.store_clock(Settings(minio_endpoint="store"), apart=0.05)
    assert (finding.status, says in finding.found) == (status, True)
