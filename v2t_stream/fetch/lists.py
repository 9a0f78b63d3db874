"""Lists: the media of a playlist, a feed or a channel, and of the lists in it."""

import contextlib
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from v2t_stream.errors import Reject
from v2t_stream.fetch.failures import Transfer
from v2t_stream.fetch.media import Entry, Listing
from v2t_stream.fetch.ytdlp import Downloader, entries_of, inner_list, is_link, origin, overrides, plain_link
from v2t_stream.text import TITLE, one_line

LONGEST: Final = 10_000  # entries of a list that is submitted without a limit
_DEEPEST: Final = 3  # lists in lists, such as the tabs of a channel and their playlists


class Lists:
    """Reads the lists at one link, up to `limit` entries; without a limit it refuses those over `longest`."""

    def __init__(self, transfer: Transfer, limit: int | None, longest: int) -> None:
        self._transfer = transfer
        self._limit = limit
        self._longest = longest

    def items(self, place: int | None) -> str:
        """How much of a list is read, in yt-dlp's words; all of it where only the entry at `place` is wanted."""
        return f"1:{(not place and self._limit) or self._longest + 1}"

    def entry(self, downloader: Downloader, found: dict[str, Any], place: int) -> dict[str, Any]:
        """What the entry at `place` of a list leads to."""
        entry = next(islice(entries_of(downloader, found["entries"]), place - 1, None), None)
        if not entry:
            raise Reject(
                f"{self._transfer.url} no longer has an entry number {place}: check in a browser what it shows"
            )
        known = {name: found[name] for name in ("extractor", "extractor_key", "webpage_url")}
        led: dict[str, Any] = downloader.process_ie_result(entry, download=False, extra_info=known)
        return led

    def read(self, downloader: Downloader, address: str, found: dict[str, Any]) -> Listing:
        """All media of the list that was found at `address`."""
        most = self._limit or self._longest
        url = self._transfer.url
        entries = list(islice(self._entries(downloader, address, found, 1), most + 1))
        if not entries:
            raise Reject(f"{url} is an empty list: check in a browser what it shows")
        if len(entries) > most and self._limit is None:
            raise Reject(f"{url} is a list of more than {most} entries: submit it with a limit")
        return Listing(one_line(found.get("title") or url, TITLE), entries[:most])

    def _entries(self, downloader: Downloader, url: str, found: dict[str, Any], depth: int) -> Iterator[Entry]:
        for place, entry in enumerate(entries_of(downloader, found["entries"]), 1):
            if not entry:
                continue
            if inner := self._inner(downloader, entry, found["extractor_key"]) if depth < _DEEPEST else None:
                yield from self._entries(downloader, entry["url"], inner, depth + 1)
            else:
                yield _described(entry, url, place, one_line(found.get("title") or url, TITLE))

    def _inner(self, downloader: Downloader, entry: dict[str, Any], outer: str) -> dict[str, Any] | None:
        """The list that an entry leads to. One that cannot be read counts as a medium, and its own job says why."""
        with contextlib.suppress(Reject), self._transfer.translating():
            return inner_list(downloader, entry, outer)
        return None


def _described(entry: dict[str, Any], url: str, place: int, title: str) -> Entry:
    """An entry by its own link, or, where it has none, by its place in the list at `url` with this title."""
    link = entry.get("url") or ""
    said = entry.get("title")
    if not is_link(entry) or not link.startswith(("http://", "https://")):
        return Entry(url, place, one_line(said or f"{title} ({place})", TITLE), "")
    link = plain_link(link)
    known = origin(entry.get("ie_key"), entry.get("id"))
    return Entry(link, None, one_line(said or link, TITLE), known, is_titled=bool(said) and overrides(entry))
