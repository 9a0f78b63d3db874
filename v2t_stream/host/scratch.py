"""A folder for a stage's working files, on the disk of the data directory."""

import contextlib
import os
import shutil
import socket
from pathlib import Path


def scratch(home: Path, stage: str) -> Path:
    """Create this process's folder below `home`, and remove the folders of killed processes."""
    root = home / "scratch"
    root.mkdir(parents=True, exist_ok=True)
    here = f"{socket.gethostname()}-"  # containers may share the disk, but not process numbers
    for left in root.glob(f"{here}*"):
        if not _is_alive(left.name.removeprefix(here).partition("-")[0]):
            shutil.rmtree(left, ignore_errors=True)
    folder = root / f"{here}{os.getpid()}-{stage}"
    folder.mkdir(exist_ok=True)
    return folder


def _is_alive(pid: str) -> bool:
    if not pid.isdigit():
        return False
    with contextlib.suppress(PermissionError):  # another user's process, so it is alive
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return False
    return True
