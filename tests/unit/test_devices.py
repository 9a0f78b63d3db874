import subprocess
import sys
from pathlib import Path

import pytest

from schemas.options import Device
from v2t_stream.engines.registry import engine
from v2t_stream.host import devices


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A Linux machine without any accelerator."""
    monkeypatch.setattr(devices, "_has_metal", lambda: False)
    monkeypatch.setattr(devices, "_has_coreml", lambda: False)
    monkeypatch.setattr(devices, "cuda_count", lambda: 0)
    return monkeypatch


def best(name: str) -> Device:
    return devices.detect(engine(name).devices)


def test_a_plain_machine_computes_on_its_processor(machine: pytest.MonkeyPatch) -> None:
    """A machine without an accelerator is asked for one and does nothing."""
    assert devices.detect() == best("faster-whisper") == best("whisper-cpp") == "cpu"


def test_each_engine_gets_a_device_it_can_use(machine: pytest.MonkeyPatch) -> None:
    """On a Mac faster-whisper, which has no Metal, cannot start at all."""
    machine.setattr(devices, "_has_metal", lambda: True)
    assert devices.detect() == best("whisper-cpp") == best("their-engine") == "metal"
    assert best("faster-whisper") == "cpu"


def test_coreml_needs_a_build_with_it(machine: pytest.MonkeyPatch) -> None:
    """Every Mac claims a neural engine that its whisper.cpp cannot reach."""
    machine.setattr(devices, "_has_metal", lambda: True)
    machine.setattr(devices, "_has_coreml", lambda: True)
    assert best("whisper-cpp") == "coreml"


def test_a_gpu_without_cublas_is_not_used_and_says_why(machine: pytest.MonkeyPatch) -> None:
    """Every chunk fails at the first computation, or the GPU idles and nobody knows why."""
    machine.setattr(devices, "cuda_count", lambda: 1)
    machine.setattr(devices, "preload_cuda", lambda: False)
    devices.cuda_problem.cache_clear()
    assert devices.detect() == "cpu"
    assert "v2t-stream[cuda]" in str(devices.cuda_problem())
    machine.setattr(devices, "preload_cuda", lambda: True)
    devices.cuda_problem.cache_clear()
    assert devices.detect() == best("faster-whisper") == "cuda"
    assert best("whisper-cpp") == "cpu"
    devices.cuda_problem.cache_clear()


def test_looking_imports_no_engine() -> None:
    """Every command of the terminal waits for an engine to load."""
    program = (
        "import sys; from v2t_stream.host import devices; devices.detect(); devices.threads();"
        "print(sorted({'ctranslate2', 'faster_whisper', '_pywhispercpp', 'torch', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"


def test_cublas_is_found_in_its_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`pip install v2t-stream[cuda]` changes nothing, for the wheel's folder is on no search path."""
    library = tmp_path / "nvidia" / "cublas" / "lib" / "libcublas.so.12"
    library.parent.mkdir(parents=True)
    library.touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert devices._wheel_libraries("cublas") == [library]
    assert devices._wheel_libraries("cublasLt") == []


def test_threads_are_within_the_machine() -> None:
    """An engine is given no thread, or spins on cores it does not have."""
    assert devices.threads() >= 1


@pytest.mark.parametrize(
    ("membership", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "250000 100000"}, 2),  # in a container
        ("0::/\n", {"cpu.max": "50000 100000"}, 1),
        ("0::/\n", {"cpu.max": "max 100000"}, sys.maxsize),
        ("0::/a/b\n", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "max 100000"}, 3),  # a limit above counts
        (
            "4:memory:/x\n2:cpu,cpuacct:/x\n",
            {"cpu/x/cpu.cfs_quota_us": "400000", "cpu/x/cpu.cfs_period_us": "100000"},
            4,
        ),
        ("2:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, sys.maxsize),
        (None, {}, sys.maxsize),  # not Linux
    ],
)
def test_a_containers_share_counts(tmp_path: Path, membership: str | None, files: dict[str, str], cores: int) -> None:
    """With 64 cores seen and 2 allowed, the engine starts 64 threads, which wait for each other."""
    for name, content in files.items():
        (tmp_path / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cgroup" / name).write_text(content)
    if membership is not None:
        (tmp_path / "self").write_text(membership)
    assert devices._cgroup_cores(tmp_path / "cgroup", tmp_path / "self") == cores
