"""pywhispercpp's private binding, as of version 1.5.1; pyproject.toml caps the version."""

from typing import Any


def binding() -> Any:
    """The native module. It is heavy, so only a process that computes should ask for it."""
    import _pywhispercpp  # noqa: PLC0415  # heavy

    return _pywhispercpp


def has_metal() -> bool:
    """Whether this build can use Metal."""
    return "metal" in str(binding().whisper_print_system_info()).lower()
