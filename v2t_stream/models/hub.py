"""Models from the Hugging Face Hub, or from the server that HF_ENDPOINT names.

The client's own snapshot_download discards a partial file when it is cancelled, and does not check the bytes. So this
module takes the same steps one by one, and the client's logins, proxies and settings still apply. One of them is
private: see _download.
"""

import fnmatch
import logging
import threading
from pathlib import Path
from typing import Self

import platformdirs

from v2t_stream.errors import Reject
from v2t_stream.host.threads import in_thread
from v2t_stream.models import Origin
from v2t_stream.models.folder import Manifest, ModelFile, sha256_of
from v2t_stream.models.source import OnBytes, SourceFailed, Wanted, arrived

_BLOCK = 1 << 20  # bytes per write; the default of ten times that freezes a progress bar on a slow line
_PATIENCE = 10.0  # seconds to wait for the hub's answer about a repository


class HubModel:
    """See source.Source."""

    def __init__(self, origin: Origin, url: str, revision: str, files: tuple[Wanted, ...]) -> None:
        self.source = url
        self.revision = revision  # the commit
        self.files = files
        self._repository = origin.repository

    @classmethod
    async def find(cls, origin: Origin) -> Self:
        """Raises SourceFailed if the hub cannot be reached, and Reject if the model does not exist."""
        return await in_thread(lambda: cls._find(origin))

    async def fetch(self, file: Wanted, part: Path, on_bytes: OnBytes) -> None:
        """See source.Source."""
        sink = _Sink(part, on_bytes)
        try:
            await in_thread(lambda: self._fetch(file, sink))
        finally:
            sink.close()

    @classmethod
    def _find(cls, origin: Origin) -> Self:
        from huggingface_hub import HfApi, errors  # noqa: PLC0415  heavy: only where a model is fetched

        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it warns of each try; we report the last
        logging.getLogger("httpx2").setLevel(logging.WARNING)  # it logs each address, and some are signed
        api = HfApi()
        address = f"{api.endpoint}/{origin.repository}"
        try:
            info = api.model_info(origin.repository, files_metadata=True, timeout=_PATIENCE)
        except errors.GatedRepoError:
            raise Reject(
                f"the model {origin.name!r} requires consent: accept its terms at {address}, "
                "then log in with `hf auth login`"
            ) from None
        except (errors.RepositoryNotFoundError, errors.HFValidationError):
            raise Reject(
                f"unknown model {origin.name!r}: it is not a path here, a known name or public at {address}"
            ) from None
        except Exception as error:  # the hub's client lets its HTTP library's errors through
            raise SourceFailed(f"{api.endpoint}: {_innermost(error)}") from error
        files = tuple(
            Wanted(file.rfilename, file.size or 0, file.lfs.sha256 if file.lfs else "", file.blob_id or "")
            for file in info.siblings or ()
            if _is_part_of(origin, file.rfilename)
        )
        if origin.file not in [file.name for file in files]:
            raise Reject(f"{address} holds no {origin.file}: it is not a model of {origin.engine}")
        return cls(origin, address, info.sha or "", files)

    def _fetch(self, file: Wanted, sink: "_Sink") -> None:
        from huggingface_hub import hf_hub_url  # noqa: PLC0415  as above

        try:
            _download(hf_hub_url(self._repository, file.name, revision=self.revision or None), file.size, sink)
        except Exception as error:
            if error is sink.failure:
                raise
            raise SourceFailed(f"{file.name} broke off: {_innermost(error)}") from error


def _download(url: str, size: int, sink: "_Sink") -> None:
    """Download the rest of a file of `size` bytes.

    Private in huggingface_hub: http_get, the methods that it calls on its file, and that it reads DOWNLOAD_CHUNK_SIZE
    at each call. As of version 2.4.0; pyproject.toml caps the version.
    """
    from huggingface_hub import constants  # noqa: PLC0415  as above
    from huggingface_hub.file_download import http_get  # noqa: PLC0415  as above
    from huggingface_hub.utils import (  # type: ignore[attr-defined]  # noqa: PLC0415  as above; documented as theirs
        build_hf_headers,
        disable_progress_bars,
    )

    disable_progress_bars()
    constants.DOWNLOAD_CHUNK_SIZE = _BLOCK
    http_get(
        url,
        sink,  # type: ignore[arg-type]  # it needs only these methods of a file
        resume_size=sink.tell(),
        expected_size=size,
        headers=build_hf_headers(),
    )


class _Sink:
    """A file that grows at its end until it is closed; later writes fail."""

    def __init__(self, path: Path, on_bytes: OnBytes) -> None:
        self._here = arrived(path)
        self._file = path.open("ab")
        self._on_bytes = on_bytes
        self._turn = threading.Lock()
        self.failure: OSError | None = None  # set if the disk failed, not the network

    def write(self, data: bytes) -> int:
        with self._turn:
            try:
                self._file.write(data)
                self._file.flush()
            except OSError as error:
                self.failure = error
                raise
            self._here += len(data)
            self._on_bytes(self._here)
        return len(data)

    def seek(self, offset: int) -> int:
        """Only records the place for truncate, the one call that follows: writes go to the end."""
        self._here = offset
        return offset

    def truncate(self) -> int:
        with self._turn:
            return self._file.truncate(self._here)

    def tell(self) -> int:
        return self._here

    def close(self) -> None:
        with self._turn:
            self._file.close()


def cached(origin: Origin) -> Path | None:
    """The folder of a model that another program has fetched for itself; None if there is none."""
    if origin.kept_by:
        own = Path(platformdirs.user_data_dir(origin.kept_by)) / "models"
        if (own / origin.file).is_file():
            return own
    from huggingface_hub import snapshot_download  # noqa: PLC0415  as above

    try:
        patterns = [origin.file, *origin.beside]
        folder = Path(snapshot_download(origin.repository, allow_patterns=patterns, local_files_only=True))
    except Exception:  # noqa: BLE001  with any error of the cache, the model is not in it
        return None
    return folder if (folder / origin.file).exists() else None  # the largest, so the last to arrive


def files_of(origin: Origin, folder: Path) -> list[Path]:
    """The files in `folder` that belong to the model."""
    return [path for path in sorted(folder.iterdir()) if _is_part_of(origin, path.name)]


def describe(origin: Origin, folder: Path) -> Manifest:
    """The manifest of a model in another program's folder. It reads all files."""
    files = tuple(ModelFile(path.name, path.stat().st_size, sha256_of(path)) for path in files_of(origin, folder))
    return Manifest(engine=origin.engine, name=origin.name, files=files, source=str(folder))


def _is_part_of(origin: Origin, name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in (origin.file, *origin.beside))


def _innermost(error: BaseException) -> str:
    """The first line of the original error: the outer ones say only that something else failed."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return next(iter(str(error).splitlines()), type(error).__name__)
