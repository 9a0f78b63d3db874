"""What this machine computes on, and why not on something better."""

import ctypes
import os
import platform
import sys
from pathlib import Path
from typing import Final, NamedTuple

from schemas.options import Device
from v2t_stream.doctor import Finding
from v2t_stream.engines.registry import engine, engines
from v2t_stream.host import devices, whispercpp
from v2t_stream.settings import Settings

NAME: Final = "accelerator"
_NVIDIA: Final = "0x10de"  # PCI's number of the vendor
_DISPLAY: Final = "0x03"  # and of graphics cards, as the class begins
_OLDEST: Final = (5, 0)  # compute capability that CUDA 12's libraries have code for
_MAJOR, _MINOR = 75, 76  # CUdevice_attribute of its two numbers
_EXTRA: Final = "install the extra: uv run --extra cuda v2t …, or pip install 'v2t-stream[cuda]'"


class Machine(NamedTuple):
    """What was found. When a step fails, the fields of the later steps keep these defaults."""

    engine: str
    wanted: str  # V2T_DEVICE
    device: str  # what the engine will use
    threads: int
    apple: bool = False  # a Mac with Apple silicon
    metal: bool | None = None  # whether whisper.cpp is built with it; None: not asked
    card: bool = False  # there is an NVIDIA card on the bus
    driver: str = ""  # why it does not work; empty if it does
    gpus: int = 0  # that the driver lets this process use
    hidden: bool = False  # CUDA_VISIBLE_DEVICES hides them all
    cublas: bool = False
    capability: tuple[int, int] | None = None  # of the first GPU
    ctranslate2: bool | None = None  # whether it sees a GPU


def look(settings: Settings) -> Finding:
    """Blocks while it loads NVIDIA's driver."""
    return judge(_machine(settings))


def judge(found: Machine) -> Finding:
    """Which device is used, and what keeps a better one from being used."""
    using = f"{found.engine} on {found.device}"
    if found.device == "cpu":
        using += f", {found.threads} threads"
    trouble, advice = _trouble(found)
    if found.wanted not in ("auto", "cpu") and trouble:
        return Finding(NAME, "fail", f"V2T_DEVICE={found.wanted} cannot work: {trouble}", advice)
    if found.device == "cpu" and found.wanted == "auto" and advice:
        return Finding(NAME, "warn", f"{using}: {trouble}", advice)
    return Finding(NAME, "ok", f"{using}: {trouble}" if trouble and found.device == "cpu" else using)


def _trouble(found: Machine) -> tuple[str, str]:
    """Why neither CUDA nor Metal is used, and what to do; without advice there is nothing to fix."""
    reasons = _of_a_mac(found) if found.apple else _of_a_card(found)
    return next(((why, advice) for holds, why, advice in reasons if holds), ("", ""))


def _of_a_mac(found: Machine) -> list[tuple[bool, str, str]]:
    return [
        (
            "metal" not in engine(found.engine).devices,
            f"{found.engine} cannot use Metal",
            f"V2T_ENGINE={_another('metal')} uses this Mac's GPU",
        ),
        (
            found.metal is False,
            "this whisper.cpp was built without Metal",
            "uv pip install --reinstall --only-binary :all: pywhispercpp",
        ),
    ]


def _of_a_card(found: Machine) -> list[tuple[bool, str, str]]:
    """In order: each step needs the one before."""
    wants_none = found.wanted in ("auto", "cpu")
    capability = ".".join(map(str, found.capability or ()))
    return [
        (found.wanted in ("metal", "coreml"), "this is not a Mac with Apple silicon", "unset V2T_DEVICE"),
        (
            not found.card and not found.gpus,
            "no NVIDIA card and no Apple GPU here",
            "" if wants_none else "unset V2T_DEVICE",
        ),
        (found.hidden, "CUDA_VISIBLE_DEVICES hides the NVIDIA card", "unset it, or name a card"),
        (
            bool(found.driver),
            f"there is an NVIDIA card, but {found.driver}",
            "install NVIDIA's driver (nvidia-smi must list the card)",
        ),
        (
            "cuda" not in engine(found.engine).devices,
            f"there is an NVIDIA card, but {found.engine} cannot use CUDA",
            f"V2T_ENGINE={_another('cuda')} uses it",
        ),
        (not found.cublas, "there is an NVIDIA card, but no cuBLAS 12", _EXTRA),
        (
            found.capability is not None and found.capability < _OLDEST,
            f"CUDA 12 does not support the card's compute capability {capability}",
            "set V2T_DEVICE=cpu",
        ),
        (
            found.ctranslate2 is False,
            "there is an NVIDIA card, but this CTranslate2 was built without CUDA",
            "uv pip install --reinstall ctranslate2",
        ),
    ]


def _another(device: Device) -> str:
    """An engine that can use the device."""
    return next(name for name, each in engines().items() if device in each.devices)


def _machine(settings: Settings) -> Machine:
    wanted = settings.device
    apple = sys.platform == "darwin" and platform.machine() == "arm64"
    found = Machine(
        engine=settings.engine,
        wanted=wanted,
        device=devices.detect(engine(settings.engine).devices) if wanted == "auto" else wanted,
        threads=settings.threads or devices.threads(),
        apple=apple,
        metal=whispercpp.has_metal() if apple and settings.engine == "whisper-cpp" else None,
        card=_has_card(),
        gpus=devices.cuda_count(),
    )
    if not found.gpus:
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "unset") in ("", "-1")
        return found._replace(hidden=found.card and hidden, driver=_driver_trouble())
    found = found._replace(cublas=devices.preload_cuda(), capability=_capability())
    if found.cublas and settings.engine == "faster-whisper":
        import ctranslate2  # noqa: PLC0415  # heavy, and only where there is a GPU

        found = found._replace(ctranslate2=ctranslate2.get_cuda_device_count() > 0)
    return found


def _has_card() -> bool:
    """Whether there is an NVIDIA card on the bus, whatever drives it (Linux)."""
    for device in Path("/sys/bus/pci/devices").glob("*"):
        try:
            vendor, kind = (device / "vendor").read_text().strip(), (device / "class").read_text().strip()
        except OSError:
            continue
        if vendor == _NVIDIA and kind.startswith(_DISPLAY):
            return True
    return Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists()


def _driver_trouble() -> str:
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no driver (libcuda.so.1) is installed"
    code = driver.cuInit(0)
    return f"its driver does not start (cuInit: error {code})" if code else "its driver shows this process no GPU"


def _capability() -> tuple[int, int] | None:
    driver = ctypes.CDLL("libcuda.so.1")
    numbers = []
    for attribute in (_MAJOR, _MINOR):
        value = ctypes.c_int(0)
        if driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, 0) != 0:
            return None
        numbers.append(value.value)
    return numbers[0], numbers[1]
