"""yt-dlp, and everything this project relies on that yt-dlp does not promise. Read in version 2026.10.26.

yt-dlp documents `YoutubeDL(options)` and `extract_info`; the rest may change in any release. Sites change too, so a
newer yt-dlp must be usable at once and nothing here is capped: tests/unit/test_ytdlp.py names each of these pieces, and
fails at a release that lacks one. No other module imports yt_dlp.

Importing this takes half a second, so only a download process and `v2t doctor` do.
"""

import base64
import contextlib
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

# The guard cannot see the connections that libcurl opens, so yt-dlp must not find it.
sys.modules["curl_cffi"] = None  # type: ignore[assignment]  # what the import system takes for "not there"

from yt_dlp import YoutubeDL  # noqa: E402  # must not find curl_cffi
from yt_dlp.extractor import get_info_extractor  # noqa: E402
from yt_dlp.networking import Request  # noqa: E402
from yt_dlp.networking.exceptions import (  # noqa: E402
    CertificateVerifyError,
    HTTPError,
    RequestError,
    TransportError,
)
from yt_dlp.utils import (  # noqa: E402
    DownloadError,
    ExtractorError,
    PlaylistEntries,
    UnsupportedError,
    YoutubeDLError,
    unsmuggle_url,
)

from v2t_stream.text import one_line, without_secrets  # noqa: E402

__all__ = (
    "CertificateVerifyError",
    "Downloader",
    "ExtractorError",
    "HTTPError",
    "RequestError",
    "TransportError",
    "UnsupportedError",
    "YoutubeDLError",
    "broke_off",
    "causes",
    "deno",
    "entries_of",
    "got_nothing",
    "inner_list",
    "is_link",
    "is_list",
    "origin",
    "overrides",
    "plain_link",
    "short",
)


class _Silent:
    """yt-dlp's log: what matters comes as an exception."""

    def debug(self, message: str) -> None: ...
    def info(self, message: str) -> None: ...
    def warning(self, message: str) -> None: ...
    def error(self, message: str) -> None: ...


class Downloader(YoutubeDL):  # type: ignore[misc]  # it has no types
    """A yt-dlp that leaves the entries of a list as they are, and says nothing.

    The option extract_flat would leave links alone, but it fails a whole list for one broken player.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__({"quiet": True, "no_warnings": True, "noprogress": True, "logger": _Silent(), **options})

    def process_ie_result(self, ie_result: Any, download: Any = True, extra_info: Any = None) -> Any:  # noqa: FBT002  # its signature
        if extra_info and "playlist" in extra_info:
            return ie_result
        return super().process_ie_result(ie_result, download, extra_info)

    def urlopen(self, req: Any) -> Any:
        """yt-dlp's own takes the user and password of a link literally, with %40 for an @."""
        return super().urlopen(_with_login(req))


def _with_login(request: Any) -> Any:
    """Move the user and password of a link to where HTTP has them (RFC 7617)."""
    request = Request(request) if isinstance(request, str) else request
    parts = urlsplit(request.url)
    if isinstance(request, Request) and parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        request.headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
        request.url = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return request


# -- lists


def is_list(found: dict[str, Any] | None) -> bool:
    return found is not None and found.get("_type") in ("playlist", "multi_video")


def is_link(entry: dict[str, Any]) -> bool:
    return entry.get("_type") in ("url", "url_transparent")


def overrides(entry: dict[str, Any]) -> bool:
    """Whether what a list says of an entry counts more than what is found at its link, as in a podcast's feed."""
    return entry.get("_type") == "url_transparent"


def entries_of(downloader: Downloader, entries: Iterable[dict[str, Any] | None]) -> Iterator[dict[str, Any] | None]:
    """The entries of a list, including those of lists that are given inside it; None for one that is gone."""
    for entry in entries:
        if entry and is_list(entry):
            inner = PlaylistEntries(downloader, entry).get_requested_items()
            yield from entries_of(downloader, (each for _, each in inner))
        else:
            yield entry


def inner_list(downloader: Downloader, entry: dict[str, Any], outer: str) -> dict[str, Any] | None:
    """The list that this entry of a list leads to; None if it leads to a medium, or does not say.

    `outer`: the extractor of the list around it. Raises what yt-dlp raises.
    """
    link, key = entry.get("url"), entry.get("ie_key")
    if not is_link(entry) or not link or key in (None, "Generic"):
        return None
    if key != outer and downloader.get_info_extractor(key).is_single_video(link) is not False:
        return None
    found: dict[str, Any] = downloader.extract_info(link, download=False, ie_key=key)
    return found if is_list(found) else None


def plain_link(link: str) -> str:
    """The link without what yt-dlp hides in it for itself, where the download does not need that."""
    plain, extra = unsmuggle_url(link, {})
    return link if extra.keys() - {"force_videoid"} else str(plain)  # that one is a feed's


def origin(extractor: str | None, media_id: str | None) -> str:
    """The medium's own id at its site; empty if it has none.

    The generic extractor, and those of players that serve any site, take the end of the link for an id.
    """
    if not extractor or not media_id or extractor == "Generic":
        return ""
    with contextlib.suppress(KeyError):  # an extractor that this yt-dlp does not know
        # yt-dlp's guide for extractors: a player that serves any site has no address of its own.
        if get_info_extractor(extractor)._VALID_URL is not False:  # noqa: SLF001  # read in no other way
            return f"{extractor}:{media_id}"
    return ""


# -- errors


def causes(error: BaseException) -> list[BaseException]:
    """The error and all it came from: a DownloadError wraps the cause, and that is at times an ExtractorError."""
    found: list[BaseException] = []
    waiting: list[Any] = [error]
    while waiting:
        cause = waiting.pop(0)
        if isinstance(cause, BaseException) and cause not in found:
            found.append(cause)
            waiting += [
                (getattr(cause, "exc_info", None) or (None, None))[1],
                getattr(cause, "cause", None),
                *getattr(cause, "unexpected_errors", ()),  # one for each way to the network that it tried
                cause.__cause__,
                cause.__context__,
            ]
    return found


def broke_off(cause: BaseException) -> bool:
    """Whether the transfer broke off at each try; yt-dlp says so in its text alone."""
    return isinstance(cause, DownloadError) and "Giving up after" in str(cause)


def got_nothing(cause: BaseException) -> bool:
    """Whether not one byte came; yt-dlp says so in its text alone."""
    return isinstance(cause, DownloadError) and "Did not get any data" in str(cause)


def short(error: BaseException) -> str:
    """The message without prefix, colour, connection object, error number, and advice for yt-dlp's command line."""
    text = str(getattr(error, "orig_msg", None) or getattr(error, "msg", None) or error)
    text = re.sub(r"\x1b\[[0-9;]*m|^\s*ERROR: |\w+\(host=[^)]*\): |\[Errno [^]]*\] ", "", text)
    return one_line(without_secrets(re.split(r"; please report|\s+Use --|\n", text.strip())[0])).strip(" .")


# -- the JavaScript runtime


def deno() -> tuple[str, bool] | None:
    """The version of deno that a download will find, and whether yt-dlp supports it; None if it finds none."""
    from yt_dlp.utils._jsruntime import DenoJsRuntime  # noqa: PLC0415  # no download shall fail for what a report lacks

    found = DenoJsRuntime().info
    return (str(found.version), bool(found.supported)) if found else None
