"""Finds the devices that this machine can compute on, without importing an engine."""

import ctypes
import os
import platform
import sys
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from schemas.options import Device
from v2t_stream.host import whispercpp

ANY: Final[tuple[Device, ...]] = ("cuda", "coreml", "metal", "cpu")  # the best first

# CTranslate2 opens cuBLAS by this name on first use; since 4.7 it needs no cuDNN.
_CUBLAS = "libcublas.so.12"


def detect(usable: Sequence[Device] = ANY) -> Device:
    """The first device of `usable` that this machine has."""
    for device in usable:
        if _has(device):
            return device
    return "cpu"


def _has(device: Device) -> bool:
    match device:
        case "cuda":
            return cuda_count() > 0 and cuda_problem() is None
        case "metal":
            return _has_metal()
        case "coreml":
            return _has_coreml()
        case "cpu":
            return True


def _has_metal() -> bool:
    return sys.platform == "darwin" and platform.machine() == "arm64"


def _has_coreml() -> bool:
    return _has_metal() and whispercpp.has_coreml()


@cache
def cuda_count() -> int:
    """The number of NVIDIA GPUs that this process may use, by the driver (so CUDA_VISIBLE_DEVICES applies)."""
    if sys.platform == "linux" and not (Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists()):
        return 0  # skips a driver library without a driver; /dev/dxg is WSL
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


@cache
def cuda_problem() -> str | None:
    """A sentence about why this machine's NVIDIA GPU is unusable; None if it is usable or missing."""
    if cuda_count() == 0 or preload_cuda():
        return None
    return "this machine has an NVIDIA GPU but no cuBLAS 12: pip install 'v2t-stream[cuda]', or install CUDA 12"


def preload_cuda() -> bool:
    """Load cuBLAS from its wheel or the system, so that CTranslate2 finds it by name; False if it is missing.

    Call it before CTranslate2 computes. The wheels' folders are on no search path, and LD_LIBRARY_PATH is read only
    when a process starts; but the loader finds an already loaded library by its name.
    """
    for path in _wheel_libraries("cublasLt") + _wheel_libraries("cublas"):  # the second needs the first
        ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    try:
        ctypes.CDLL(_CUBLAS, mode=ctypes.RTLD_GLOBAL)
    except OSError:
        return False
    return True


def _wheel_libraries(stem: str) -> list[Path]:
    """The files of a library in NVIDIA's wheels, which unpack to site-packages/nvidia/*/lib."""
    spec = find_spec("nvidia")
    folders = [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    return [path for folder in folders for path in sorted(folder.glob(f"*/lib/lib{stem}.so.12"))]


def threads() -> int:
    """The cores that this process may use: by its affinity and, in a container, its processor quota."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(affinity, _cgroup_cores(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup"))))


def _cgroup_cores(root: Path, membership: Path) -> int:
    """The whole cores that this process's control groups allow: the minimum over its own and its parents."""
    cores = sys.maxsize
    for group in (group for path in _groups(membership) for group in (root / path, *(root / path).parents)):
        if group.is_relative_to(root):
            for quota, period in (_quota_v2(group), _quota_v1(group)):
                if quota > 0 and period > 0:
                    cores = min(cores, max(1, quota // period))
    return cores


def _groups(membership: Path) -> list[str]:
    """The paths, relative to the mount, of the groups in /proc/self/cgroup that can limit the processor."""
    try:
        lines = [line.split(":", 2) for line in membership.read_text().splitlines()]
    except OSError:
        return []
    return [
        f"{'' if number == '0' else 'cpu'}{path}".strip("/")
        for number, controllers, path in (line for line in lines if len(line) == 3)
        if number == "0" or "cpu" in controllers.split(",")
    ]


def _quota_v2(group: Path) -> tuple[int, int]:
    try:
        quota, period = (group / "cpu.max").read_text().split()
        return int(quota), int(period)
    except (OSError, ValueError):  # no file, or "max": no limit
        return 0, 0


def _quota_v1(group: Path) -> tuple[int, int]:
    try:
        return int((group / "cpu.cfs_quota_us").read_text()), int((group / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return 0, 0
