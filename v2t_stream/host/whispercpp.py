"""pywhispercpp's private binding, as of version 1.5.1; pyproject.toml caps the version."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any


def binding() -> Any:
    """The native module. It is heavy, so only a process that computes should ask for it."""
    import _pywhispercpp  # noqa: PLC0415  # heavy

    return _pywhispercpp


def has_coreml() -> bool:
    """Whether this build can use Apple's neural engine; the wheels' cannot. This does not load it.

    The neural engine needs a whisper.cpp built for it, in a library beside the binding.
    """
    spec = find_spec("_pywhispercpp")
    return bool(spec and spec.origin and any(Path(spec.origin).parent.rglob("libwhisper.coreml*")))


def has_metal() -> bool:
    """Whether this build can use Metal."""
    return "metal" in str(binding().whisper_print_system_info()).lower()
