"""Fetching a model's files from the Hugging Face Hub, with its failures told as sentences."""

from collections.abc import Sequence
from pathlib import Path

from v2t_stream.errors import Reject, Retry

_NETWORK_DELAY = 60.0  # seconds until a download is tried again


def fetch(repository: str, file: str, *, beside: Sequence[str] = (), model: str) -> Path:
    """The cached `file` of `repository`, downloaded with those matching `beside` where it is not there yet.

    `file` is to be the largest: an interrupted download is known by its absence. Raises Reject where there is no such
    repository, Retry where it cannot be reached.
    """
    from huggingface_hub import errors, snapshot_download  # noqa: PLC0415  heavy: only where a model is not a path

    reason = f"the repository has no {file}"
    for offline in (True, False):  # a cached model needs no network, and starts no slower for a bad one
        try:
            # Not hf_hub_download, which takes 23 s to give up where there is no network.
            folder = snapshot_download(repository, allow_patterns=[file, *beside], local_files_only=offline)
        except errors.LocalEntryNotFoundError as error:
            reason = _innermost(error)
        except errors.GatedRepoError:
            raise Reject(
                f"the model {model!r} is kept behind a form: accept it at https://hf.co/{repository}, "
                "then log in with `hf auth login`"
            ) from None
        except (errors.RepositoryNotFoundError, errors.HFValidationError):
            raise Reject(
                f"there is no model {model!r}: neither a path here, nor a known name, "
                f"nor public at https://hf.co/{repository}"
            ) from None
        except Exception as error:  # noqa: BLE001  the hub's client lets its HTTP library's errors through
            reason = _innermost(error)
        else:
            if (path := Path(folder) / file).exists():
                return path
    raise Retry(
        f"the model {model!r} is not on this machine and cannot be downloaded from https://hf.co/{repository} "
        f"({reason}): check the network, or give the path of a copy",
        delay=_NETWORK_DELAY,
    )


def _innermost(error: BaseException) -> str:
    """The first line of the error that began it: the outer ones say only that something else failed."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return next(iter(str(error).splitlines()), type(error).__name__)
