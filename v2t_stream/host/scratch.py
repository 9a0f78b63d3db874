"""A folder for the files a stage has in work, on the disk of the data directory."""

import contextlib
import os
import shutil
import socket
from pathlib import Path


def scratch(home: Path, stage: str) -> Path:
    """Make this process's folder below `home`, and remove those of processes that were killed in their work."""
    root = home / "scratch"
    root.mkdir(parents=True, exist_ok=True)
    here = f"{socket.gethostname()}-"  # containers may share the disk, and not their process numbers
    for left in root.glob(f"{here}*"):
        if not _is_alive(left.name.removeprefix(here).partition("-")[0]):
            shutil.rmtree(left, ignore_errors=True)
    folder = root / f"{here}{os.getpid()}-{stage}"
    folder.mkdir(exist_ok=True)
    return folder


def _is_alive(pid: str) -> bool:
    if not pid.isdigit():
        return False
    with contextlib.suppress(PermissionError):  # somebody else's, so it lives
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return False
    return True
