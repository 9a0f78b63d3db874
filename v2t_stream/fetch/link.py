"""One link by yt-dlp: what it leads to, and its download, with limits, and its many errors in the user's words."""

import base64
import contextlib
import errno
import re
import shutil
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit

from v2t_stream.errors import Reject, Retry
from v2t_stream.settings import Settings
from v2t_stream.text import one_line, without_secrets

_GIB: Final = 1024**3
_SILENCE: Final = 20.0  # seconds without a byte until a server counts as gone
_LONGEST: Final = 10_000  # entries of a list that is submitted without a limit
_DEEPEST: Final = 3  # lists in lists, as a channel's tabs and their playlists


class Media(NamedTuple):
    path: Path
    title: str


class Entry(NamedTuple):
    """One medium of a list, not looked at yet."""

    url: str
    place: int | None  # in the list at `url`, from 1, where it has no link of its own
    title: str
    origin: str  # as in Downloaded, where the list tells it


class Listing(NamedTuple):
    title: str
    entries: list[Entry]


class _Silent:
    """yt-dlp's log: what matters comes as an exception."""

    def debug(self, message: str) -> None: ...
    def info(self, message: str) -> None: ...
    def warning(self, message: str) -> None: ...
    def error(self, message: str) -> None: ...


class Fetch:
    """What `url` leads to, or the entry at `place` of the list there.

    `look` and `download` block and raise Reject or Retry, each with one sentence; `received` and `expected` (bytes)
    may be read meanwhile. As they read what strangers send, they run in a process apart: v2t_stream.fetch.fetch_host.

    After `look`, `listing` is the list of at most `limit` entries that was found, or else `origin` the medium's own id
    at its site, where it has one. After `download`, `media` is the file in `folder`.
    """

    media: Media

    def __init__(
        self, url: str, folder: Path, settings: Settings, *, place: int | None = None, limit: int | None = None
    ) -> None:
        self._address = url
        self._url = without_secrets(url)  # for people
        self._folder = folder
        self._settings = settings
        self._place = place
        self._limit = limit
        self._found: dict[str, Any] = {}
        self.listing: Listing | None = None
        self.origin = ""
        self.received = 0
        self.expected: float | None = None

    def look(self) -> None:
        with self._downloader() as downloader:
            found = downloader.extract_info(self._address, download=False)
            if self._place is not None and _is_list(found):
                found = self._entry(downloader, found, self._place)
            if _is_list(found):
                self.listing = self._list(downloader, found)
                return
            self._check(found)
        self._found = found
        self.origin = _origin(found["extractor_key"], found["id"])

    def download(self) -> None:
        """Get what `look` has found."""
        with self._downloader() as downloader:
            info = downloader.process_ie_result(self._found, download=True)
            path = Path(info["requested_downloads"][0]["filepath"])
            if path.stat().st_size == 0:
                raise self._empty()
        self.media = Media(path, one_line(str(info.get("title") or self._url)))

    @contextlib.contextmanager
    def _downloader(self) -> Iterator[Any]:
        """A yt-dlp that reads no more of a list than is asked for, and leaves its entries as they are."""
        # Its hundreds of extractors take half a second to import, which only this stage should pay.
        from yt_dlp import YoutubeDL  # noqa: PLC0415

        class Flat(YoutubeDL):  # type: ignore[misc]  # it has no types
            """Its extract_flat leaves links alone, and fails a whole list for one player that is broken."""

            def process_ie_result(self, ie_result: Any, download: Any = True, extra_info: Any = None) -> Any:  # noqa: FBT002  # its signature
                if extra_info and "playlist" in extra_info:
                    return ie_result
                return super().process_ie_result(ie_result, download, extra_info)

            def urlopen(self, req: Any) -> Any:
                """Its own takes a link's user and password as they are written, with %40 for an @."""
                return super().urlopen(_with_login(req))

        options: dict[str, Any] = {
            "format": "bestaudio/best",  # audio alone is a tenth of the bytes
            "outtmpl": {"default": str(self._folder / "source.%(ext)s")},
            "noplaylist": True,
            "playlist_items": f"1:{(not self._place and self._limit) or _LONGEST + 1}",
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
            "fixup": "never",  # by programs, which are not started
            "progress_hooks": [self._on_progress],
        }
        with self._translating(), Flat(options) as downloader:
            yield downloader

    @contextlib.contextmanager
    def _translating(self) -> Iterator[None]:
        from yt_dlp.utils import YoutubeDLError  # noqa: PLC0415  # heavy, as above

        try:
            yield
        except (Reject, Retry):
            raise
        except (YoutubeDLError, OSError, ValueError, MemoryError) as error:  # ValueError: a host name that is none
            raise self._translated(error) from error
        except Exception as error:  # what an extractor raises at a page that is not as it expects
            raise self._broken(f"{type(error).__name__}: {_short(error)}") from error

    def _entry(self, downloader: Any, found: dict[str, Any], place: int) -> dict[str, Any]:
        """What the entry at `place` of a list leads to."""
        entry = next(islice(_flattened(downloader, found["entries"]), place - 1, None), None)
        if not entry:
            raise Reject(f"{self._url} has no medium number {place} any more: check in a browser what it shows")
        known = {name: found[name] for name in ("extractor", "extractor_key", "webpage_url")}
        led: dict[str, Any] = downloader.process_ie_result(entry, download=False, extra_info=known)
        return led

    def _list(self, downloader: Any, found: dict[str, Any]) -> Listing:
        most = self._limit or _LONGEST
        entries = list(islice(self._entries(downloader, self._address, found, 1), most + 1))
        if not entries:
            raise Reject(f"{self._url} is a list with nothing in it: check in a browser what it shows")
        if len(entries) > most and self._limit is None:
            raise Reject(f"{self._url} is a list of more than {most} media: submit it with a limit")
        return Listing(one_line(found.get("title") or self._url), entries[:most])

    def _entries(self, downloader: Any, url: str, found: dict[str, Any], depth: int) -> Iterator[Entry]:
        """The media of the list at `url`, and of the lists in it."""
        for place, entry in enumerate(_flattened(downloader, found["entries"]), 1):
            if not entry:
                continue
            if inner := self._inner(downloader, entry, found["extractor_key"]) if depth < _DEEPEST else None:
                yield from self._entries(downloader, entry["url"], inner, depth + 1)
            else:
                yield _described(entry, url, place, one_line(found.get("title") or url))

    def _inner(self, downloader: Any, entry: dict[str, Any], outer: str) -> dict[str, Any] | None:
        """The list that an entry of a list of the extractor `outer` leads to, as far as its extractor tells of one.

        One that cannot be read is taken for a medium, and its job tells why.
        """
        link, key = entry.get("url"), entry.get("ie_key")
        if not _is_link(entry) or not link or key in (None, "Generic"):
            return None
        if key != outer and downloader.get_info_extractor(key).is_single_video(link) is not False:
            return None
        with contextlib.suppress(Reject), self._translating():
            found: dict[str, Any] = downloader.extract_info(link, download=False, ie_key=key)
            return found if _is_list(found) else None
        return None

    def _check(self, found: dict[str, Any]) -> None:
        """Refuse before the download what the limits do not allow."""
        if not found:
            raise Reject(f"no video or audio was found at {self._url}: check that the page plays one")
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
        self.received = status.get("downloaded_bytes") or self.received
        self.expected = status.get("total_bytes") or status.get("total_bytes_estimate")
        self._check_size(max(self.received, status.get("total_bytes") or 0))
        if (self.expected or 0) - self.received > shutil.disk_usage(self._folder).free:
            raise self._disk_full()

    def _translated(self, error: BaseException) -> Reject | Retry:
        """What yt-dlp meant. It wraps the cause in a DownloadError, and that at times in an ExtractorError."""
        causes = _causes(error)
        for translate in (_ours, self._machine, self._network, self._transfer, self._site):
            for cause in causes:
                if translation := translate(cause):
                    return translation
        return Reject(f"{self._url} cannot be downloaded: {_short(error)}")

    def _machine(self, cause: BaseException) -> Reject | Retry | None:
        """What this machine has no room for."""
        match cause:
            case OSError(errno=errno.ENOSPC | errno.EDQUOT):
                return self._disk_full()
            case OSError(errno=errno.EFBIG):  # see v2t_stream.fetch.fetch_child
                return Reject(too_large(self._url, max(self.received, self._settings.max_bytes), self._settings))
            case MemoryError():
                return Reject(f"{self._url} takes too much memory to read: it is no page or list of usual size")
        return None

    def _disk_full(self) -> Retry:
        return Retry(
            f"the disk of {self._settings.node} is full, so {self._url} could not be saved: "
            f"free space in {self._settings.home}"
        )

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
                return self._broken(_short(cause))
        return None

    def _broken(self, reason: str) -> Reject:
        return Reject(
            f"{self._url} cannot be downloaded: {reason}; if it plays in a browser, update yt-dlp: "
            "pip install -U 'yt-dlp[default]'"
        )


def _is_list(found: dict[str, Any] | None) -> bool:
    return found is not None and found.get("_type") in ("playlist", "multi_video")


def _is_link(entry: dict[str, Any]) -> bool:
    return entry.get("_type") in ("url", "url_transparent")


def _flattened(downloader: Any, entries: Iterable[dict[str, Any] | None]) -> Iterator[dict[str, Any] | None]:
    """The entries of a list, and of those lists that stand in it as a whole; None for one that is gone."""
    from yt_dlp.utils import PlaylistEntries  # noqa: PLC0415  # heavy, as above

    for entry in entries:
        if entry and _is_list(entry):
            inner = PlaylistEntries(downloader, entry).get_requested_items()
            yield from _flattened(downloader, (each for _, each in inner))
        else:
            yield entry


def _described(entry: dict[str, Any], url: str, place: int, title: str) -> Entry:
    """An entry by its own link, or, where it has none, by its place in the list at `url` with this title."""
    from yt_dlp.utils import unsmuggle_url  # noqa: PLC0415  # heavy, as above

    link = entry.get("url") or ""
    if not _is_link(entry) or not link.startswith(("http://", "https://")):
        return Entry(url, place, one_line(entry.get("title") or f"{title} ({place})"), "")
    plain, extra = unsmuggle_url(link, {})
    if not extra.keys() - {"force_videoid"}:  # a feed's, and of no use for the download
        link = plain
    return Entry(link, None, one_line(entry.get("title") or link), _origin(entry.get("ie_key"), entry.get("id")))


def _origin(extractor: str | None, media_id: str | None) -> str:
    """The medium's own id; empty where there is none: an extractor for any page takes the link's end, without the site.

    Those are the generic one, and the ones of players, which know no address of their own.
    """
    from yt_dlp.extractor import get_info_extractor  # noqa: PLC0415  # heavy, as above

    if not extractor or not media_id or extractor == "Generic":
        return ""
    with contextlib.suppress(KeyError):  # a link to an extractor that there is not
        if get_info_extractor(extractor)._VALID_URL is not False:  # noqa: SLF001  # as yt-dlp's guide for extractors has it
            return f"{extractor}:{media_id}"
    return ""


def too_large(name: str, size: float, settings: Settings) -> str:
    """The sentence for media that V2T_MAX_BYTES forbids."""
    return (
        f"{name} has {size / _GIB:.2f} GiB, more than the {settings.max_bytes / _GIB:.2f} allowed: raise "
        "V2T_MAX_BYTES (bytes)"
    )


def _with_login(request: Any) -> Any:
    """A request whose link has a user and a password, with those where HTTP has them (RFC 7617)."""
    from yt_dlp.networking import Request  # noqa: PLC0415  # heavy, as above

    request = Request(request) if isinstance(request, str) else request
    parts = urlsplit(request.url)
    if isinstance(request, Request) and parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        request.headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
        request.url = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return request


def _ours(cause: BaseException) -> Reject | Retry | None:
    """What a limit of ours, or the guard of this process, has said already."""
    return cause if isinstance(cause, Reject | Retry) else None


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
                *getattr(cause, "unexpected_errors", ()),  # of each way to the network that it tried
                cause.__cause__,
                cause.__context__,
            ]
    return found


def _short(error: BaseException) -> str:
    """The message without prefix, colour, connection object, error number, and advice for yt-dlp's command line."""
    text = str(getattr(error, "orig_msg", None) or getattr(error, "msg", None) or error)
    text = re.sub(r"\x1b\[[0-9;]*m|^\s*ERROR: |\w+\(host=[^)]*\): |\[Errno [^]]*\] ", "", text)
    return one_line(without_secrets(re.split(r"; please report|\s+Use --|\n", text.strip())[0])).strip(" .")
