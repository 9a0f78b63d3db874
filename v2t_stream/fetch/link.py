"""One link by yt-dlp, within limits: what it leads to, and its download."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from v2t_stream.errors import Reject
from v2t_stream.fetch.failures import Transfer
from v2t_stream.fetch.lists import LONGEST, Lists
from v2t_stream.fetch.media import Listing, Media, too_large
from v2t_stream.fetch.ytdlp import Downloader, is_list, origin
from v2t_stream.settings import Settings
from v2t_stream.text import TITLE, one_line, without_secrets

_SILENCE: Final = 20.0  # seconds


class Fetch:
    """What `url` leads to, or the entry at `place` of the list there.

    `look` and `download` block and raise Reject or Retry, each with one sentence; `transfer` may be read meanwhile.
    As they read what strangers send, they run in a process of their own: v2t_stream.fetch.fetch_host.

    After `look`, `listing` is the list of at most `limit` entries that was found (without a limit, a list of more than
    `longest` is refused); where it was not a list, `origin` is the medium's own id at its site, if it has one. After
    `download`, `media` is the file in `folder`.
    """

    media: Media

    def __init__(
        self,
        url: str,
        folder: Path,
        settings: Settings,
        *,
        place: int | None = None,
        limit: int | None = None,
        longest: int = LONGEST,
    ) -> None:
        self.transfer = Transfer(without_secrets(url), settings)
        self.listing: Listing | None = None
        self.origin = ""
        self._address = url
        self._folder = folder
        self._settings = settings
        self._place = place
        self._lists = Lists(self.transfer, limit, longest)
        self.silence = _SILENCE  # seconds without a byte until a server counts as gone
        self._found: dict[str, Any] = {}

    def look(self) -> None:
        with self._downloader() as downloader:
            found = downloader.extract_info(self._address, download=False)
            if self._place is not None and is_list(found):
                found = self._lists.entry(downloader, found, self._place)
            if is_list(found):
                self.listing = self._lists.read(downloader, self._address, found)
                return
            self._check(found)
        self._found = found
        self.origin = origin(found["extractor_key"], found["id"])

    def download(self) -> None:
        """Download what `look` found."""
        with self._downloader() as downloader:
            info = downloader.process_ie_result(self._found, download=True)
            path = Path(info["requested_downloads"][0]["filepath"])
            if path.stat().st_size == 0:
                raise self.transfer.empty()
        self.media = Media(path, one_line(str(info.get("title") or self.transfer.url), TITLE))

    @contextlib.contextmanager
    def _downloader(self) -> Iterator[Downloader]:
        options: dict[str, Any] = {
            "format": "bestaudio/best",  # audio alone is a tenth of the bytes
            "outtmpl": {"default": str(self._folder / "source.%(ext)s")},
            "noplaylist": True,
            "playlist_items": self._lists.items(self._place),
            "socket_timeout": self.silence,
            "retries": 3,
            "fragment_retries": 3,
            "concurrent_fragment_downloads": 4,
            "cachedir": str(self._settings.home / "cache" / "yt-dlp"),
            "cookiefile": self._settings.cookies or None,
            "fixup": "never",  # it would start programs, which the guard forbids
            "progress_hooks": [self._on_progress],
        }
        with self.transfer.translating(), Downloader(options) as downloader:
            yield downloader

    def _check(self, found: dict[str, Any]) -> None:
        """Refuse before the download what the limits forbid."""
        url, longest = self.transfer.url, self._settings.max_duration
        if not found:
            raise self.transfer.no_media()
        if found.get("is_live"):
            raise Reject(f"{url} is a live stream, which has no end: submit it when it is over")
        duration = found.get("duration")
        if duration and duration > longest:
            raise Reject(
                f"{url} is {duration / 3600:.1f} hours long, more than the {longest / 3600:g} allowed: raise "
                "V2T_MAX_DURATION (seconds)"
            )
        self._check_size(found.get("filesize") or 0)

    def _check_size(self, size: float) -> None:
        if size > self._settings.max_bytes:
            raise Reject(too_large(self.transfer.url, size, self._settings))

    def _on_progress(self, status: dict[str, Any]) -> None:
        transfer = self.transfer
        transfer.received = status.get("downloaded_bytes") or transfer.received
        transfer.expected = status.get("total_bytes") or status.get("total_bytes_estimate")
        self._check_size(max(transfer.received, status.get("total_bytes") or 0))
        if (transfer.expected or 0) - transfer.received > shutil.disk_usage(self._folder).free:
            raise transfer.disk_full()
