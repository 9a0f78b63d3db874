import subprocess
import sys

import pytest

# Eight threads that live side by side, then what glibc has to say of its heaps.
_THREADS = """
import ctypes, threading
from v2t_stream.host.memory import share_heaps
{call}
together = threading.Barrier(8)
def allocate():
    together.wait()
    bytearray(10_000)
    together.wait()
threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc = ctypes.CDLL(None)
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
libc.fflush(None)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other C libraries than glibc have no such setting")
def test_threads_share_two_heaps() -> None:
    """The memory of a stage grows with each thread that ever decoded something."""
    heaps = {}
    for call in ("", "share_heaps()"):
        told = subprocess.run([sys.executable, "-c", _THREADS.format(call=call)], capture_output=True, check=True)
        heaps[call] = told.stdout.count(b"<heap nr=")
    assert heaps[""] > 2
    assert heaps["share_heaps()"] <= 2
