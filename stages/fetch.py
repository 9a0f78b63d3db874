"""One download by yt-dlp, with limits, and its many errors in the user's words."""

import errno
import re
from pathlib import Path
from typing import Any, Final, NamedTuple

from v2t_stream.errors import Reject, Retry
from v2t_stream.settings import Settings
from v2t_stream.text import one_line, without_signature

_GIB: Final = 1024**3
_SILENCE: Final = 20.0  # seconds without a byte until a server counts as gone


class Media(NamedTuple):
    path: Path
    title: str


class _Stopped(Exception):
    """Nobody waits for this download any more."""


class _Silent:
    """yt-dlp's log: what matters comes as an exception."""

    def debug(self, message: str) -> None: ...
    def info(self, message: str) -> None: ...
    def warning(self, message: str) -> None: ...
    def error(self, message: str) -> None: ...


class Fetch:
    """Downloads `url` into `folder`. `run` blocks; `received` and `expected` (bytes) may be read meanwhile.

    `media` is what was downloaded, once `run` has returned.
    """

    media: Media

    def __init__(self, url: str, folder: Path, settings: Settings) -> None:
        self._address = url
        self._url = without_signature(url)  # for people
        self._folder = folder
        self._settings = settings
        self.received = 0
        self.expected: float | None = None
        self.cancelled = False

    def run(self) -> None:
        """Raises Reject or Retry, each with one sentence."""
        # Its hundreds of extractors take half a second to import, which only this stage should pay.
        from yt_dlp import YoutubeDL  # noqa: PLC0415
        from yt_dlp.utils import YoutubeDLError  # noqa: PLC0415

        options: dict[str, Any] = {
            "format": "bestaudio/best",  # audio alone is a tenth of the bytes
            "outtmpl": {"default": str(self._folder / "source.%(ext)s")},
            "noplaylist": True,
            # A list is refused, so no more of it is looked up than shows that it is one: a channel can have thousands.
            "extract_flat": "in_playlist",
            "playlist_items": "1",
            "quiet": True,
            "no_warnings": True,
            "noprogress": True,
            "logger": _Silent(),
            "socket_timeout": _SILENCE,
            "retries": 3,
            "fragment_retries": 3,
            "concurrent_fragment_downloads": 4,
            "cachedir": str(self._settings.home / "cache" / "yt-dlp"),
            "cookiefile": self._settings.cookies or None,
            "progress_hooks": [self._on_progress],
        }
        try:
            with YoutubeDL(options) as downloader:
                found = downloader.extract_info(self._address, download=False)
                self._check(found)
                info = downloader.process_ie_result(found, download=True)
            path = Path(info["requested_downloads"][0]["filepath"])
            if path.stat().st_size == 0:
                raise self._empty()
        except (YoutubeDLError, OSError, ValueError) as error:  # ValueError: a host name that cannot be one
            raise self._translated(error) from error
        self.media = Media(path, info.get("title") or self._url)

    def _check(self, found: dict[str, Any]) -> None:
        """Refuse before the download what the limits do not allow."""
        if found.get("_type") in ("playlist", "multi_video"):
            raise Reject(f"{self._url} is a list of media: submit each one's own link")
        if found.get("is_live"):
            raise Reject(f"{self._url} is a live stream, which has no end: submit it when it is over")
        duration = found.get("duration")
        if duration and duration > self._settings.max_duration:
            raise Reject(
                f"{self._url} is {duration / 3600:.1f} hours long, more than the {self._settings.max_duration / 3600:g}"
                " allowed: raise V2T_MAX_DURATION (seconds)"
            )
        self._check_size(found.get("filesize") or 0)

    def _check_size(self, size: float) -> None:
        if size > self._settings.max_bytes:
            raise Reject(too_large(self._url, size, self._settings))

    def _on_progress(self, status: dict[str, Any]) -> None:
        if self.cancelled:
            raise _Stopped
        self.received = status.get("downloaded_bytes") or self.received
        self.expected = status.get("total_bytes") or status.get("total_bytes_estimate")
        self._check_size(max(self.received, status.get("total_bytes") or 0))

    def _translated(self, error: BaseException) -> Reject | Retry:
        """What yt-dlp meant. It wraps the cause in a DownloadError, and that at times in an ExtractorError."""
        causes = _causes(error)
        for translate in (self._disk, self._network, self._transfer, self._site):
            for cause in causes:
                if translation := translate(cause):
                    return translation
        return Reject(f"{self._url} cannot be downloaded: {_short(error)}")

    def _disk(self, cause: BaseException) -> Retry | None:
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return Retry(
                f"the disk of {self._settings.node} is full, so {self._url} could not be saved: "
                f"free space in {self._settings.home}"
            )
        return None

    def _network(self, cause: BaseException) -> Reject | Retry | None:
        from yt_dlp.networking.exceptions import (  # noqa: PLC0415  # heavy, as above
            CertificateVerifyError,
            HTTPError,
            RequestError,
            TransportError,
        )

        match cause:
            case HTTPError(redirect_loop=True):
                return Reject(f"{self._url} leads round in a circle of redirects: check the link")
            case HTTPError(status=status, reason=reason):
                return self._refused(status, reason)
            case CertificateVerifyError():
                return Reject(
                    f"{self._url} has a certificate that cannot be trusted ({_short(cause)}): check the address, and "
                    "this machine's clock"
                )
            case TransportError():
                return Retry(f"{self._url} cannot be reached ({_short(cause)}): check the address and the network")
            case RequestError():
                return Reject(
                    f"{self._url} leads to an address that cannot be fetched ({_short(cause)}): only http and https can"
                )
        return None

    def _refused(self, status: int, reason: str) -> Reject | Retry:
        match status:
            case 404 | 410:
                return Reject(f"{self._url} does not exist (HTTP {status}): check the link")
            case 401 | 403:
                return Reject(
                    f"{self._url} refused access (HTTP {status}): if it needs a login, set V2T_COOKIES to a cookie file"
                )
            case _ if status in (408, 429) or status >= 500:
                return Retry(f"{self._url} cannot answer now (HTTP {status}): try again later")
        return Reject(f"{self._url} was refused (HTTP {status} {reason}): check the link")

    def _transfer(self, cause: BaseException) -> Reject | Retry | None:
        """What ended the transfer itself, of which yt-dlp hands on the text alone."""
        from yt_dlp.utils import DownloadError  # noqa: PLC0415  # heavy, as above

        if isinstance(cause, DownloadError) and "Giving up after" in str(cause):
            whole = f" of {self.expected / 1e6:.1f}" if self.expected else ""
            return Retry(
                f"{self._url} broke off after {self.received / 1e6:.1f}{whole} MB, again and again: check the network"
            )
        if isinstance(cause, DownloadError) and "Did not get any data" in str(cause):
            return self._empty()
        return None

    def _empty(self) -> Reject:
        return Reject(f"{self._url} gave an empty file (0 bytes): check the link")

    def _site(self, cause: BaseException) -> Reject | None:
        from yt_dlp.utils import ExtractorError, UnsupportedError  # noqa: PLC0415  # heavy, as above

        match cause:
            case UnsupportedError():
                return Reject(f"no video or audio was found at {self._url}: check that the page plays one")
            case ExtractorError(expected=True) if re.search(
                r"--cookies|private|sign in|log in", cause.orig_msg, re.IGNORECASE
            ):
                return Reject(
                    f"{self._url} cannot be downloaded: {_short(cause)}; if you may see it, set V2T_COOKIES to a "
                    "cookie file"
                )
            case ExtractorError(expected=True):
                return Reject(f"{self._url} cannot be downloaded: {_short(cause)}; check in a browser whether it plays")
            case ExtractorError():
                return Reject(
                    f"{self._url} cannot be downloaded: {_short(cause)}; if it plays in a browser, update yt-dlp: "
                    "pip install -U 'yt-dlp[default]'"
                )
        return None


def too_large(name: str, size: float, settings: Settings) -> str:
    """The sentence for media that V2T_MAX_BYTES forbids."""
    return (
        f"{name} has {size / _GIB:.2f} GiB, more than the {settings.max_bytes / _GIB:.2f} allowed: raise "
        "V2T_MAX_BYTES (bytes)"
    )


def _causes(error: BaseException) -> "list[BaseException]":
    found: list[BaseException] = []
    waiting: list[Any] = [error]
    while waiting:
        cause = waiting.pop(0)
        if isinstance(cause, BaseException) and cause not in found:
            found.append(cause)
            waiting += [
                (getattr(cause, "exc_info", None) or (None, None))[1],
                getattr(cause, "cause", None),
                cause.__cause__,
                cause.__context__,
            ]
    return found


def _short(error: BaseException) -> str:
    """The message without prefix, colour, connection object, error number, and advice for yt-dlp's command line."""
    text = str(getattr(error, "orig_msg", None) or getattr(error, "msg", None) or error)
    text = re.sub(r"\x1b\[[0-9;]*m|^\s*ERROR: |\w+\(host=[^)]*\): |\[Errno [^]]*\] ", "", text)
    text = re.sub(r"\?\S*(signature|sig|token)=\S*", "", text, flags=re.IGNORECASE)  # see without_signature
    return one_line(re.split(r"; please report|\s+Use --|\n", text.strip())[0]).strip(" .")
