"""`v2t serve` as its users run it: a process on a free loopback port."""

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.patience import PATIENCE


class Serving:
    """A server and its process."""

    def __init__(self, url: str, process: subprocess.Popen[str]) -> None:
        self.url = url
        self.process = process


@contextlib.contextmanager
def serving(broker: str, home: Path, *arguments: str, **environment: str) -> Iterator[Serving]:
    """A server on `broker` while the block runs."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("V2T_", "NATS_"))}
    process = subprocess.Popen(
        [sys.executable, "-m", "v2t_stream", "serve", "--port", "0", *arguments],
        env={
            **inherited,
            "V2T_DATA_DIR": str(home),
            "V2T_ALLOW_ADDRESSES": "127.0.0.1",
            "NATS_URL": broker,
            **environment,
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    try:
        assert process.stdout
        line = process.stdout.readline()
        found = re.search(r"http://\S+?(?=;)", line)
        assert found, line
        yield Serving(found[0], process)
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)
