"""Our set-up of MinIO's SDK client: its patience, and what its exceptions mean to people."""

import errno
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Self

import urllib3
from minio import Minio
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from urllib3 import BaseHTTPResponse
from urllib3.connectionpool import ConnectionPool
from urllib3.exceptions import HTTPError, MaxRetryError, ReadTimeoutError, ResponseError, SSLError

from v2t_stream.errors import Forbidden, InvalidKey, ObjectMissing, StoreAway, StoreError, VersionGone
from v2t_stream.settings import Settings

_CONNECT: Final = 5.0  # seconds
_PAUSE: Final = 2.0  # seconds between two tries, at most
_AGAIN: Final = (500, 502, 503, 504)  # a server that is starting, ending or overloaded
_BUSY: Final = ("SlowDown", "SlowDownRead", "SlowDownWrite", "ServiceUnavailable", "XMinioServerNotInitialized")
_NO_SPACE: Final = (
    *("XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "EntityTooLarge"),
    *("InsufficientStorage", "QuotaExceeded"),
)
_NO_NAME: Final = (
    *("KeyTooLongError", "KeyTooLong", "InvalidURI", "XMinioInvalidObjectName", "XMinioInvalidResourceName"),
    # On a server that keeps objects as files, a file cannot also be a folder.
    *("ObjectParentIsFile", "ExistingObjectIsDirectory", "XMinioParentIsObject", "XMinioObjectExistsAsDirectory"),
)
UNSUPPORTED: Final = ("NotImplemented", "MethodNotAllowed")  # the SDK's names for a 501 without a body
_UNKNOWN_KEY: Final = "{where} does not know the access key: correct MINIO_ACCESS_KEY"
_REFUSALS: Final = {
    "InvalidAccessKeyId": _UNKNOWN_KEY,
    "XAdminUserNotFound": _UNKNOWN_KEY,
    "SignatureDoesNotMatch": "{where} rejects the secret key: correct MINIO_SECRET_KEY",
    "AccessDenied": "{where} does not allow this to the user of MINIO_ACCESS_KEY: allow it there, or use another user",
    "RequestTimeTooSkewed": (
        "this machine's clock and that of {where} are more than 15 minutes apart: correct the wrong one"
    ),
    # It has dropped the upload, and may have told another part why.
    "NoSuchUpload": "{where} ended the upload without a reason, usually because its disk is full: free space there",
}


def open_client(settings: Settings, *, connections: int, timeout: float) -> Minio:
    """The client of MINIO_ENDPOINT. `timeout`: seconds without an answer until a call fails.

    Raises ValueError if the endpoint or the region is invalid.
    """
    return Minio(
        endpoint=settings.minio_endpoint,
        access_key=settings.minio_access_key,
        secret_key=settings.minio_secret_key,
        secure=settings.minio_secure,
        region=settings.minio_region or None,
        http_client=urllib3.PoolManager(
            maxsize=connections,
            timeout=urllib3.Timeout(connect=min(_CONNECT, timeout), read=timeout),
            retries=_Patience(seconds=timeout),
        ),
    )


class _Patience(urllib3.Retry):
    """Retries while the server is away, until `seconds` after the first failure; gives up on a hung one at once."""

    def __init__(self, *, seconds: float = 30.0, until: float = math.inf, **options: Any) -> None:
        options |= {
            "total": None,
            "backoff_factor": 0.05,
            "backoff_max": _PAUSE,
            "status_forcelist": _AGAIN,
            "allowed_methods": None,  # all of them: each request is safe to repeat
            "respect_retry_after_header": False,  # MinIO says 60 s but needs one
            "raise_on_status": False,  # to get the server's own words
        }
        super().__init__(**options)
        self._seconds = seconds
        self._until = until

    def new(self, **options: Any) -> Self:
        until = min(self._until, time.monotonic() + self._seconds)
        return super().new(seconds=self._seconds, until=until, **options)

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: ConnectionPool | None = None,
        _stacktrace: TracebackType | None = None,
    ) -> Self:
        if isinstance(error, ReadTimeoutError):
            raise error
        return super().increment(method, url, response, error, _pool, _stacktrace)

    def is_exhausted(self) -> bool:
        return time.monotonic() > self._until


@contextmanager
def explained(action: str, endpoint: str) -> Iterator[None]:
    """Turn foreign exceptions into StoreError: what could not be done, why, and what to do."""
    where = f"MinIO at {endpoint}"
    try:
        yield
    except StoreError:
        raise
    except S3Error as error:
        raise _refused(error, action, endpoint) from error
    except (ServerError, InvalidResponseError) as error:
        if isinstance(error, ServerError) and error.status_code in _AGAIN[1:]:
            raise StoreAway(f"could not {action}: {where} is busy or failing ({error}): try again later") from error
        why = f"the server at {endpoint} does not speak S3: check MINIO_ENDPOINT and MINIO_SECURE"
        raise StoreError(f"could not {action}: {why}") from error
    except HTTPError as error:
        raise _unreachable(error, action, where) from error
    except OSError as error:
        what = ": free space there" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise StoreError(f"could not {action}: {error.strerror or error}{what}") from error
    except (MinioException, ValueError) as error:  # ValueError: an invalid name or endpoint
        raise StoreError(f"could not {action}: {error}") from error


def _refused(error: S3Error, action: str, endpoint: str) -> StoreError:
    where = f"MinIO at {endpoint}"
    what = error.object_name or action
    match error.code:
        case "NoSuchKey":
            return ObjectMissing(
                f"could not {action}: the store has no object {what}: it expired, was deleted or was never stored"
            )
        case "NoSuchVersion":
            return VersionGone(f"could not {action}: {what} was replaced, or this version was deleted")
        case "NoSuchBucket":
            return no_bucket(error.bucket_name or "", endpoint)
        case code if code in _NO_NAME:
            return InvalidKey(f"could not {action}: {where} does not accept that object name ({error.message})")
        case code if code in _BUSY:
            return StoreAway(f"could not {action}: {where} is busy or failing ({error.message}): try again later")
    kind = Forbidden if error.code == "AccessDenied" else StoreError
    return kind(f"could not {action}: {_said(error, where)}")


def no_bucket(bucket: str, endpoint: str) -> StoreError:
    return Forbidden(
        f"MinIO at {endpoint} has no bucket {bucket}: create the buckets with v2t topology apply, or correct "
        "MINIO_BUCKET_PREFIX"
    )


def _said(error: S3Error, where: str) -> str:
    """What the server's refusal means, and what to do."""
    if error.code in _NO_SPACE:
        return f"{where} has no room left ({error.message}): free space there"
    if names_no_notifier(error):
        return f"{where} is not set up to announce uploads to NATS: start it with MINIO_NOTIFY_NATS_ENABLE_V2T=on"
    known = _REFUSALS.get(error.code or "")
    return known.format(where=where) if known else f"{where} refused it ({error.code}: {error.message})"


def names_no_notifier(error: S3Error) -> bool:
    return error.code == "InvalidArgument" and "ARN" in (error.message or "")


def _unreachable(error: HTTPError, action: str, where: str) -> StoreError:
    reason: BaseException | None = error
    if isinstance(error, MaxRetryError):
        reason = error.reason
    if isinstance(reason, SSLError):
        return StoreError(
            f"could not {action}: {where} does not offer TLS, or its certificate is not trusted: check MINIO_SECURE "
            "and the certificate"
        )
    if isinstance(reason, ResponseError):
        why = f"{where} is busy or failing ({reason}): try again later"
    elif isinstance(reason, ReadTimeoutError):
        why = f"{where} did not answer: is it up?"
    else:
        why = f"no {where} answers: start it, or correct MINIO_ENDPOINT"
    return StoreAway(f"could not {action}: {why}")
