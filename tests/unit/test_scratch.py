"""The folders of current work."""

import os
import socket
import subprocess
from pathlib import Path

from v2t_stream.host.scratch import scratch


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    """Else every crash in a download leaves gigabytes behind, or deletes a file that another process uses."""
    dead = subprocess.Popen(["true"])
    dead.wait()
    here = socket.gethostname()
    kept = {f"{here}-{os.getppid()}-download", f"elsewhere-{dead.pid}-download"}
    for name in (f"{here}-{dead.pid}-download", *kept):
        (tmp_path / "scratch" / name).mkdir(parents=True)
    folder = scratch(tmp_path, "convert")
    assert {path.name for path in (tmp_path / "scratch").iterdir()} == {folder.name, *kept}
