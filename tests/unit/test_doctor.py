"""How doctor judges a machine, including machines that no test can have."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from v2t_stream.broker.connection import Connection
from v2t_stream.doctor import Finding, accelerator, broker, examine, in_thread, machine
from v2t_stream.doctor.accelerator import Machine, judge
from v2t_stream.errors import BrokerError, Denied
from v2t_stream.settings import Settings

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
