"""The data folder of this machine, and what keeps it from being written."""

import errno
import os
import stat
import tempfile
from pathlib import Path
from typing import Final

from v2t_stream.errors import SettingsError

_REASONS: Final = {
    errno.ENOTDIR: "a file is in its place",
    errno.EEXIST: "a file is in its place",
    errno.EROFS: "its disk is read-only",
    errno.EACCES: "this user may not write there",
    errno.EPERM: "this user may not write there",
    errno.ENAMETOOLONG: "its path is too long",
}
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


def make_folder(home: Path, below: str = ".") -> Path:
    """Create the folder `below` the data folder `home`, for this user alone, and write into it once.

    Raises SettingsError with one sentence if that fails.
    """
    folder = home / below
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write_once(folder)
    except OSError as error:
        raise SettingsError(unwritable(home, error)) from error
    return folder


def look(home: Path) -> None:
    """Write once where the data folder is or would be, and leave nothing there. Raises SettingsError."""
    try:
        _write_once(next(folder for folder in (home, *home.parents) if _is_folder(folder)))
    except OSError as error:
        raise SettingsError(unwritable(home, error)) from error


def unwritable(home: Path, error: OSError) -> str:
    """That the data folder cannot be written, why, and what to do."""
    if error.errno in _FULL:
        return f"the disk of the data folder {home} is full: free some space, or set V2T_DATA_DIR to another disk"
    why = _REASONS.get(error.errno or 0, error.strerror or str(error))
    return f"the data folder {home} cannot be written ({why}): set V2T_DATA_DIR to a folder of yours"


def _is_folder(path: Path) -> bool:
    """False if there is nothing. Raises OSError if nothing can be made there either."""
    try:
        if not stat.S_ISDIR(path.stat().st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "")
    except FileNotFoundError:
        return False
    return True


def _write_once(folder: Path) -> None:
    """A permission alone does not say that a disk takes bytes."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"v2t")
        file.flush()
        os.fsync(file.fileno())
