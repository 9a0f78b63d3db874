"""A web server on loopback, with everything a link can lead to."""

import base64
import contextlib
import http.server
import socket
import struct
import threading
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tests.harness import served
from tests.patience import PATIENCE

PAGES = {
    "page": "<html><head><title>Recipes</title></head><body>No video here.</body></html>",
    "list": '<html><title>Two talks</title><video src="/5s.flac"></video><video src="/20s-1.flac"></video></html>',
    "talk": '<html><head><title>The [bold] talk</title></head><video src="/5s.flac" type="audio/flac"></video>',
    "steals": '<html><head><title>Thief</title></head><video src="file:///etc/passwd"></video></html>',
    "steals.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
    "locked.m3u8": (
        '#EXTM3U\n#EXT-X-SESSION-KEY:METHOD=SAMPLE-AES,URI="skd://key",KEYFORMAT="com.apple.streamingkeydelivery"\n'
        "#EXT-X-STREAM-INF:BANDWIDTH=64000\nvariant.m3u8\n"
    ),
}


USER, PASSWORD, TOKEN = "me", "hush/p@ss?w#rd%40:1", "hush-1-"

_PLAYERS = ("talk", "list")  # pages with one and with two


class Web:
    """The requests that the server got, and how much it sent."""

    url: str

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.sent = 0  # bytes of bodies that are shorter than declared
        self.missing: set[str] = set()  # names of files that are missing for now
        self.closing = threading.Event()


@contextlib.contextmanager
def web(folder: Path) -> Iterator[Web]:
    """Serve `folder`: its files, the PAGES by name, and whatever the handler's methods `to_…` do."""
    state = Web()

    class Handler(_Handler):
        web = state

    with served(folder, Handler) as state.url:
        try:
            yield state
        finally:
            state.closing.set()


class _Handler(http.server.SimpleHTTPRequestHandler):
    web: Web

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        kind, _, rest = address.path.strip("/").partition("/")
        self.times = self.web.asked[address.path] = self.web.asked[address.path] + 1
        with contextlib.suppress(ConnectionError):
            if kind in PAGES:
                self.answer(200, PAGES[kind].encode(), "text/html" if "." not in kind else "application/x-mpegurl")
            elif route := getattr(self, f"to_{kind}", None):
                route(rest)
            else:
                super().do_GET()

    def to_status(self, code: str) -> None:
        """/status/404: an answer with that status."""
        self.answer(int(code), b"no")

    def to_recovers(self, rest: str) -> None:
        """/recovers/503/FILE: the status twice, then the file."""
        code, _, name = rest.partition("/")
        if self.times <= 2:
            self.answer(int(code), b"later")
        else:
            self.file(name)

    def to_feed(self, length: str) -> None:
        """/feed/3: a podcast with this many episodes."""
        items = "".join(
            f"<item><title>Episode {n}</title><guid>{n}</guid>"
            f'<enclosure url="{self.web.url}/episode/{n}/20s-{n}.flac"/></item>'
            for n in range(1, int(length) + 1)
        )
        feed = f'<rss version="2.0"><channel><title>A podcast</title>{items}</channel></rss>'
        self.answer(200, feed.encode(), "application/rss+xml")

    def to_pages(self, _: str) -> None:
        """/pages: a feed of pages, one with a player and one with two."""
        items = "".join(f"<item><title>{page}</title><link>{self.web.url}/{page}</link></item>" for page in _PLAYERS)
        feed = f'<rss version="2.0"><channel><title>Pages</title>{items}</channel></rss>'
        self.answer(200, feed.encode(), "application/rss+xml")

    def to_episode(self, rest: str) -> None:
        """/episode/1/FILE: the file."""
        self.file(rest.partition("/")[2])

    def to_private(self, name: str) -> None:
        """/private/FILE: the file, for requests with USER and PASSWORD (HTTP's basic way) or with the token."""
        login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        tokens = parse_qs(urlsplit(self.path).query).get("token", [""])
        if self.headers["Authorization"] == f"Basic {login}" or tokens[0].startswith(TOKEN):
            self.file(name)
        else:
            self.answer(401, b"no")

    def to_tokens(self, _: str) -> None:
        """/tokens: a podcast whose episodes differ only in their tokens; one token is in the feed's text."""
        items = "".join(
            f"<item><title>Episode {n}</title><guid>{n}</guid>"
            f'<enclosure url="{self.web.url}/private/20s-1.flac?token={TOKEN}{n}"/></item>'
            for n in (1, 2)
        )
        feed = f'<rss version="2.0"><channel><title>A podcast</title>{items}</channel></rss>'
        self.answer(200, feed.encode(), "application/rss+xml")

    def to_redirect(self, _: str) -> None:
        """/redirect?to=URL: a redirect."""
        self.redirect(self.to)

    def to_circle(self, _: str) -> None:
        """/circle: a redirect to itself."""
        self.redirect("/circle")

    def to_declares(self, name: str) -> None:
        """/declares/2000000000.mp4: a header that declares this many bytes, then zeros until the client hangs up."""
        self.head(int(name.partition(".")[0]))
        while not self.web.closing.is_set():
            self.web.sent += self.wfile.write(bytes(65536))

    def to_resets(self, name: str) -> None:
        """/resets/FILE: half of the file, then a connection reset, each time."""
        self.half(name)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def to_stumbles(self, name: str) -> None:
        """/stumbles/FILE: a reset for the first download (yt-dlp probes it before that), then the whole file."""
        if self.times <= 2:
            self.to_resets(name)
        else:
            self.file(name)

    def to_stalls(self, name: str) -> None:
        """/stalls/FILE: half of the file, then nothing."""
        self.half(name)
        self.web.closing.wait(PATIENCE)

    def to_plays(self, _: str) -> None:
        """/plays?to=URL: a page with a player for it."""
        self.answer(200, f'<html><video src="{self.to}"></video></html>'.encode(), "text/html")

    def to_hls(self, _: str) -> None:
        """/hls?to=URL: an HLS playlist with that one segment."""
        text = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{self.to}\n#EXT-X-ENDLIST\n"
        self.answer(200, text.encode(), "application/x-mpegurl")

    def to_master(self, _: str) -> None:
        """/master?to=URL: an HLS playlist with that one variant."""
        self.answer(200, f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=64000\n{self.to}\n".encode(), "application/x-mpegurl")

    def to_locks(self, _: str) -> None:
        """/locks?to=URL: an HLS playlist whose key is at that URL."""
        text = (
            f'#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXT-X-KEY:METHOD=AES-128,URI="{self.to}"\n#EXTINF:9,\n'
            f"{self.web.url}/5s.flac\n#EXT-X-ENDLIST\n"
        )
        self.answer(200, text.encode(), "application/x-mpegurl")

    def to_dash(self, _: str) -> None:
        """/dash?to=URL: a DASH manifest with that one segment."""
        text = (
            '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT5S"><Period>'
            '<AdaptationSet mimeType="audio/mp4"><Representation id="1" codecs="mp4a.40.2" bandwidth="64000">'
            f'<SegmentList duration="5"><SegmentURL media="{self.to}"/></SegmentList>'
            "</Representation></AdaptationSet></Period></MPD>"
        )
        self.answer(200, text.encode(), "application/dash+xml")

    def to_endless(self, _: str) -> None:
        """/endless: a page that never ends."""
        self.head(1 << 40, "text/html")
        self.wfile.write(b"<html><title>Endless</title>")
        while not self.web.closing.is_set():
            self.wfile.write(b"<p>x</p>" * 131072)

    def to_bomb(self, _: str) -> None:
        """/bomb: a page of 13 MB that unpacks to 8 GB."""
        squeezer = zlib.compressobj(9, zlib.DEFLATED, -15)
        block = squeezer.compress(b"<p>x</p>" * 131072) + squeezer.flush(zlib.Z_FULL_FLUSH)  # the same anywhere
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        self.wfile.write(zlib.compressobj(9, zlib.DEFLATED, 31).flush()[:10])  # the head of gzip
        for _n in range(8192):
            self.wfile.write(block)
        self.wfile.write(squeezer.flush())
        self.connection.close()

    def to_drips(self, name: str) -> None:
        """/drips/FILE: its first byte, slowly repeated for as long as the client listens."""
        self.head(1 << 20)
        while not self.web.closing.wait(0.05):
            self.wfile.write(Path(self.directory, name).read_bytes()[:1])

    @property
    def to(self) -> str:
        return parse_qs(urlsplit(self.path).query)["to"][0]

    def head(self, length: int, kind: str = "audio/flac", status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def answer(self, status: int, body: bytes, kind: str = "text/plain") -> None:
        self.head(len(body), kind, status)
        self.wfile.write(body)

    def redirect(self, to: str) -> None:
        self.send_response(302)
        self.send_header("Location", to)
        self.end_headers()

    def file(self, name: str) -> None:
        if name in self.web.missing:
            self.answer(404, b"no")
            return
        self.path = f"/{name}"
        super().do_GET()

    def half(self, name: str) -> None:
        data = Path(self.directory, name).read_bytes()
        self.head(len(data))
        self.wfile.write(data[: len(data) // 2])
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """The terminal is for pytest."""
