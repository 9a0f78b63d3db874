"""What went wrong with a link, as one sentence for the user, and whether a later try may help."""

import contextlib
import errno
import re
from collections.abc import Iterator
from dataclasses import dataclass

from v2t_stream.errors import Reject, Retry
from v2t_stream.fetch.media import too_large
from v2t_stream.fetch.ytdlp import (
    CertificateVerifyError,
    ExtractorError,
    HTTPError,
    RequestError,
    TransportError,
    UnsupportedError,
    YoutubeDLError,
    broke_off,
    causes,
    got_nothing,
    short,
)
from v2t_stream.settings import Settings

_NEEDS_LOGIN = re.compile(r"--cookies|private|sign in|log in", re.IGNORECASE)


@dataclass
class Transfer:
    """A link, and how much of what it leads to is here."""

    url: str  # for people, so without passwords
    settings: Settings
    received: int = 0  # bytes
    expected: float | None = None

    # -- the sentences

    @contextlib.contextmanager
    def translating(self) -> Iterator[None]:
        """Raise Reject or Retry, with a sentence, for whatever yt-dlp raises."""
        try:
            yield
        except (Reject, Retry):
            raise
        except (YoutubeDLError, OSError, ValueError, MemoryError) as error:  # ValueError: not a valid host name
            raise self._translated(error) from error
        except Exception as error:  # what an extractor raises at a page that is not what it expects
            raise self._broken(f"{type(error).__name__}: {short(error)}") from error

    def _translated(self, error: BaseException) -> Reject | Retry:
        chain = causes(error)
        for translate in (_ours, self._machine, self._network, self._transfer, self._site):
            for cause in chain:
                if translation := translate(cause):
                    return translation
        return Reject(f"{self.url} cannot be downloaded: {short(error)}")

    def _machine(self, cause: BaseException) -> Reject | Retry | None:
        """What this machine has no room for."""
        match cause:
            case OSError(errno=errno.ENOSPC | errno.EDQUOT):
                return self.disk_full()
            case OSError(errno=errno.EFBIG):  # the limit that v2t_stream.fetch.fetch_child sets
                return Reject(too_large(self.url, max(self.received, self.settings.max_bytes), self.settings))
            case MemoryError():
                return Reject(f"{self.url} takes too much memory to read: no page or list is usually that large")
        return None

    def disk_full(self) -> Retry:
        return Retry(
            f"the disk of {self.settings.node} is full, so {self.url} could not be saved: "
            f"free space in {self.settings.home}"
        )

    def _network(self, cause: BaseException) -> Reject | Retry | None:
        match cause:
            case HTTPError(redirect_loop=True):
                return Reject(f"{self.url} redirects in a circle: check the link")
            case HTTPError(status=status, reason=reason):
                return self._refused(status, reason)
            case CertificateVerifyError():
                return Reject(
                    f"{self.url} has a certificate that cannot be trusted ({short(cause)}): check the address, and "
                    "this machine's clock"
                )
            case TransportError():
                return Retry(f"{self.url} cannot be reached ({short(cause)}): check the address and the network")
            case RequestError():
                return Reject(
                    f"{self.url} leads to an address that cannot be fetched ({short(cause)}): only http and https can"
                )
        return None

    def _refused(self, status: int, reason: str) -> Reject | Retry:
        match status:
            case 404 | 410:
                return Reject(f"{self.url} does not exist (HTTP {status}): check the link")
            case 401 | 403:
                return Reject(
                    f"{self.url} refused access (HTTP {status}): if it needs a login, set V2T_COOKIES to a cookie file"
                )
            case _ if status in (408, 429) or status >= 500:
                return Retry(f"{self.url} cannot answer now (HTTP {status}): try again later")
        return Reject(f"{self.url} was refused (HTTP {status} {reason}): check the link")

    def _transfer(self, cause: BaseException) -> Reject | Retry | None:
        if broke_off(cause):
            whole = f" of {self.expected / 1e6:.1f}" if self.expected else ""
            return Retry(
                f"{self.url} broke off after {self.received / 1e6:.1f}{whole} MB at each try: check the network"
            )
        return self.empty() if got_nothing(cause) else None

    def empty(self) -> Reject:
        return Reject(f"{self.url} gave an empty file (0 bytes): check the link")

    def _site(self, cause: BaseException) -> Reject | None:
        match cause:
            case UnsupportedError():
                return self.no_media()
            case ExtractorError(expected=True) if _NEEDS_LOGIN.search(cause.orig_msg):
                return Reject(
                    f"{self.url} cannot be downloaded: {short(cause)}; if you may see it, set V2T_COOKIES to a "
                    "cookie file"
                )
            case ExtractorError(expected=True):
                return Reject(f"{self.url} cannot be downloaded: {short(cause)}; check in a browser whether it plays")
            case ExtractorError():
                return self._broken(short(cause))
        return None

    def no_media(self) -> Reject:
        return Reject(f"no video or audio was found at {self.url}: check that the page plays one")

    def _broken(self, reason: str) -> Reject:
        return Reject(
            f"{self.url} cannot be downloaded: {reason}; if it plays in a browser, update yt-dlp: "
            "pip install -U 'yt-dlp[default]'"
        )


def _ours(cause: BaseException) -> Reject | Retry | None:
    """What one of our own limits, or the guard of this process, has already said."""
    return cause if isinstance(cause, Reject | Retry) else None
