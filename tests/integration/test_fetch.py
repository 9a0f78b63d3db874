"""Downloads by the real yt-dlp from a real web server: what users get, and what they are told.

In this process; what holds for those that links are fetched in is in test_fetch_host.
"""

import gc
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from yt_dlp.extractor.common import InfoExtractor
from yt_dlp.extractor.generic import GenericIE
from yt_dlp.extractor.youtube import YoutubeIE, YoutubeTabIE
from yt_dlp.networking.exceptions import CertificateVerifyError
from yt_dlp.utils import ExtractorError, UserNotLive

from tests.harness import DATA
from tests.web import Web, web
from v2t_stream.errors import Reject, Retry
from v2t_stream.fetch.link import Fetch
from v2t_stream.fetch.lists import LONGEST
from v2t_stream.settings import Settings

# yt-dlp leaves files and sockets to the garbage collector where a download ends in an exception.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

CLIP = (DATA / "5s.flac").read_bytes()


@pytest.fixture(scope="module", autouse=True)
def _collected() -> Iterator[None]:
    yield
    gc.collect()  # while the mark above holds


@pytest.fixture
def site() -> Iterator[Web]:
    with web(DATA) as site:
        yield site


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Fetch]:
    """Fetches a URL into its own folder; for a list, only reads its entries."""

    def run(
        url: str, *, place: int | None = None, limit: int | None = None, longest: int = LONGEST, **settings: float
    ) -> Fetch:
        folder = tmp_path / "scratch"
        folder.mkdir(exist_ok=True)
        of_node = Settings(data_dir=str(tmp_path), node="mac", **{"max_bytes": 50e6, **settings})
        one = Fetch(url, folder, of_node, place=place, limit=limit, longest=longest)
        one.look()
        if not one.listing:
            one.download()
        return one

    return run


@pytest.mark.parametrize(
    ("path", "title"),
    [
        ("5s.flac", "5s"),
        ("redirect?to=/redirect?to=/5s.flac", "5s"),
        ("talk", "The [bold] talk (1)"),
        ("stumbles/5s.flac", "5s"),
    ],
)
def test_what_is_there_is_had(path: str, title: str, site: Web, run: Callable[..., Fetch]) -> None:
    """A link that a browser plays is refused, or half of the file counts as all of it."""
    done = run(f"{site.url}/{path}")
    assert done.media.path.read_bytes() == CLIP
    assert done.media.title == title
    assert (done.transfer.received, done.transfer.expected) == (len(CLIP), len(CLIP))


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("status/404", r"does not exist \(HTTP 404\): check the link"),
        ("status/410", r"does not exist \(HTTP 410\): check the link"),
        ("status/401", r"refused access \(HTTP 401\): if it needs a login, set V2T_COOKIES"),
        ("status/403", r"refused access \(HTTP 403\): if it needs a login, set V2T_COOKIES"),
        ("status/451", r"was refused \(HTTP 451 .*\): check the link"),
        ("page", "no video or audio was found at .*: check that the page plays one"),
        ("feed/0", "is an empty list: check in a browser what it shows"),
        ("locked.m3u8", "cannot be downloaded: This video is DRM protected; check in a browser"),
        ("redirect?to=file:///etc/passwd", "leads to an address that cannot be fetched .*only http and https can"),
        ("steals", "leads to an address that cannot be fetched .*only http and https can"),
        ("steals.m3u8", "leads to an address that cannot be fetched .*only http and https can"),
    ],
)
def test_what_cannot_be_had_is_given_up_with_a_sentence(
    path: str, says: str, site: Web, run: Callable[..., Fetch], tmp_path: Path
) -> None:
    """A hopeless link is tried for hours, a file of this machine leaves it, or the user reads yt-dlp's own options."""
    url = f"{site.url}/{path}"
    with pytest.raises(Reject, match=says) as caught:
        run(url)
    check_sentence(caught.value, url)
    assert not any(b"root:" in file.read_bytes() for file in (tmp_path / "scratch").iterdir())


def test_a_circle_of_redirects_ends(site: Web, run: Callable[..., Fetch]) -> None:
    """A worker follows redirects for ever."""
    with pytest.raises(Reject, match="redirects in a circle"):
        run(f"{site.url}/circle")


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_a_busy_server_is_asked_again_later(status: int, site: Web, run: Callable[..., Fetch]) -> None:
    """A site's short outage fails the job for good."""
    url = f"{site.url}/status/{status}"
    with pytest.raises(Retry, match=rf"cannot answer now \(HTTP {status}\): try again later") as caught:
        run(url)
    check_sentence(caught.value, url)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://nowhere.invalid/talk.mp4", r"Failed to resolve 'nowhere\.invalid'"),
        ("http://127.0.0.1:9/talk.mp4", r"cannot be reached \(.*Connection refused\): check the address"),
        ("https://127.0.0.1:9/talk.mp4", r"cannot be reached \(.*Connection refused\): check the address"),
    ],
)
def test_a_server_that_is_not_there_is_asked_again_later(url: str, says: str, run: Callable[..., Fetch]) -> None:
    """A router's restart fails the job for good; or the user reads a Python object in the message."""
    with pytest.raises(Retry, match=says) as caught:
        run(url)
    check_sentence(caught.value, url)


def test_a_connection_that_breaks_each_time_is_tried_again_later(site: Web, run: Callable[..., Fetch]) -> None:
    """A bad connection fails the job for good, or half a file becomes half a transcript."""
    url = f"{site.url}/resets/5s.flac"
    with pytest.raises(Retry, match=r"broke off after 0\.0 of 0\.1 MB.*check the network") as caught:
        run(url)
    check_sentence(caught.value, url)


def test_a_server_that_falls_silent_is_left(site: Web, tmp_path: Path) -> None:
    """One dead server holds a download slot until somebody restarts the worker."""
    one = Fetch(f"{site.url}/stalls/5s.flac", tmp_path, Settings(data_dir=str(tmp_path)))
    one.look()
    one.silence = 0.3
    with pytest.raises(Retry, match="broke off after"):
        one.download()


def test_a_file_over_the_limit_is_refused_before_it_is_downloaded(site: Web, run: Callable[..., Fetch]) -> None:
    """The disk fills with a file that is thrown away afterwards."""
    with pytest.raises(Reject, match=r"has 2\.00 GiB, more than the 0\.05 GiB allowed: raise V2T_MAX_BYTES"):
        run(f"{site.url}/declares/{2 * 1024**3}.mp4")
    assert site.sent < 32e6  # what the sockets' buffers take


@pytest.mark.parametrize("name", ["empty.mp4", "empty.flac"])
def test_an_empty_file_is_named_as_such(name: str, tmp_path: Path, run: Callable[..., Fetch]) -> None:
    """The user looks for a fault in the program."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / name).touch()
    with web(tmp_path / "site") as site, pytest.raises(Reject, match=r"gave an empty file \(0 bytes\)"):
        run(f"{site.url}/{name}")


def _private(_: InfoExtractor) -> NoReturn:
    raise ExtractorError("Private video. Sign in if you've been granted access to this video", expected=True)


def _removed(_: InfoExtractor) -> NoReturn:
    raise ExtractorError("Video unavailable. This video has been removed by the uploader", expected=True)


def _members(extractor: InfoExtractor) -> NoReturn:
    extractor.raise_login_required()


def _elsewhere(extractor: InfoExtractor) -> NoReturn:
    extractor.raise_geo_restricted(countries=["DE"])


def _not_live(_: InfoExtractor) -> NoReturn:
    raise UserNotLive


def _changed(_: InfoExtractor) -> NoReturn:
    raise KeyError("playerResponse")


def _unmatched(extractor: InfoExtractor) -> NoReturn:
    extractor._search_regex("x", "y", "player version")
    raise AssertionError


def _untrusted(_: InfoExtractor) -> NoReturn:
    raise ExtractorError("Unable to download webpage", cause=CertificateVerifyError("certificate has expired"))


@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        (_private, "Private video.*; if you may see it, set V2T_COOKIES to a cookie file"),
        (_members, "registered users; if you may see it, set V2T_COOKIES to a cookie file"),
        (_removed, "removed by the uploader; check in a browser"),
        (_elsewhere, "not available from your location"),
        (_not_live, "not currently live"),
        (_changed, "if it plays in a browser, update yt-dlp: pip install"),
        (_unmatched, "Unable to extract player version; if it plays in a browser, update yt-dlp: pip install"),
        (_untrusted, r"certificate that cannot be trusted \(certificate has expired\)"),
    ],
)
def test_what_a_site_refuses_is_said_in_a_sentence(
    trouble: Callable[[InfoExtractor], NoReturn], says: str, run: Callable[..., Fetch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A private or removed video is retried again and again, or the error names options that v2t does not have."""
    monkeypatch.setattr(GenericIE, "_real_extract", lambda extractor, _: trouble(extractor))
    url = "https://video.example/watch?v=1"
    with pytest.raises(Reject, match=says) as caught:
        run(url)
    check_sentence(caught.value, url)


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ({"duration": 7200}, r"is 2\.0 hours long, more than the 1 allowed: raise V2T_MAX_DURATION"),
        ({"is_live": True}, "is a live stream, which has no end: submit it when it is over"),
        ({"filesize": 60e6}, r"has 0\.06 GiB, more than the 0\.05 GiB allowed: raise V2T_MAX_BYTES"),
    ],
)
def test_what_the_site_declares_is_held_against_the_limits(
    found: dict[str, object], says: str, site: Web, run: Callable[..., Fetch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream without end is recorded until the disk is full."""
    info = {"id": "1", "title": "A talk", "url": f"{site.url}/5s.flac", "ext": "flac", **found}
    monkeypatch.setattr(GenericIE, "_real_extract", lambda *_: info)
    with pytest.raises(Reject, match=says):
        run("https://video.example/watch?v=1", max_duration=3600)
    assert not site.asked


def test_media_without_links_of_their_own_are_had_by_their_place(site: Web, run: Callable[..., Fetch]) -> None:
    """A page with several players gives none of them, or only the first."""
    listing = run(f"{site.url}/list").listing
    assert listing
    assert listing.title == "Two talks"
    assert [(entry.url, entry.place) for entry in listing.entries] == [(f"{site.url}/list", 1), (f"{site.url}/list", 2)]
    first = run(f"{site.url}/list", place=1).media.path
    assert first.read_bytes() == CLIP
    first.unlink()
    assert run(f"{site.url}/list", place=2).media.path.read_bytes() == (DATA / "20s-1.flac").read_bytes()
    with pytest.raises(Reject, match="no longer has an entry number 3"):
        run(f"{site.url}/list", place=3)


def test_a_feed_is_a_list_of_links(site: Web, run: Callable[..., Fetch]) -> None:
    """A podcast's feed is not a list, or its episodes have yt-dlp's internal addresses."""
    listing = run(f"{site.url}/feed/3").listing
    assert listing
    assert listing.title == "A podcast"
    assert [(entry.url, entry.place, entry.title, entry.origin) for entry in listing.entries] == [
        (f"{site.url}/episode/{n}/20s-{n}.flac", None, f"Episode {n}", "") for n in (1, 2, 3)
    ]
    assert all(entry.is_titled for entry in listing.entries)  # else an episode is called as its file is


def test_lists_in_a_list_are_read_through(run: Callable[..., Fetch], monkeypatch: pytest.MonkeyPatch) -> None:
    """A channel's tabs become two failing jobs, or lists that contain each other are read for ever."""
    link, video = InfoExtractor.url_result, "https://www.youtube.com/watch?v=aaaaaaaaaa"
    asked = 0

    def extract(extractor: InfoExtractor, url: str) -> dict[str, object]:
        nonlocal asked
        asked += 1
        tabs = {
            "channel": [
                link("https://www.youtube.com/@a/videos", "YoutubeTab"),
                None,
                link(video + "3", "Youtube", "3"),
            ],
            "videos": [
                link(video + "1", "Youtube", "1", "One"),
                link("https://www.youtube.com/@a/videos", "YoutubeTab"),
            ],
        }
        return extractor.playlist_result(tabs["videos" if "videos" in url else "channel"], url, "A channel")

    monkeypatch.setattr(YoutubeTabIE, "_real_extract", extract)
    listing = run("https://www.youtube.com/@a").listing
    assert listing
    assert [entry.origin for entry in listing.entries][:2] == ["Youtube:1", "Youtube:1"]
    assert listing.entries[-1].origin == "Youtube:3"
    assert not any(entry.is_titled for entry in listing.entries)  # a video's own title is as good, and may be newer
    assert asked <= 4


def test_an_inner_list_that_cannot_be_read_costs_no_other(
    run: Callable[..., Fetch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One private playlist fails a whole channel; its own job should say why."""

    def extract(extractor: InfoExtractor, url: str) -> dict[str, object]:
        if "hidden" in url:
            _private(extractor)
        entries = [extractor.url_result(f"https://www.youtube.com/@{name}", "YoutubeTab") for name in ("hidden", "b")]
        return extractor.playlist_result(entries if "channel" in url else [{"id": "1", "title": "x"}], url, "A channel")

    monkeypatch.setattr(YoutubeTabIE, "_real_extract", extract)
    listing = run("https://www.youtube.com/@channel").listing
    assert listing
    assert [(entry.url, entry.place) for entry in listing.entries] == [
        ("https://www.youtube.com/@hidden", None),
        ("https://www.youtube.com/@b", 1),
    ]


def test_a_list_without_end_needs_a_limit(run: Callable[..., Fetch], monkeypatch: pytest.MonkeyPatch) -> None:
    """A calendar that goes on for ever fills the broker with jobs."""
    entries = (InfoExtractor.url_result(f"https://video.example/{n}") for n in itertools.count())
    monkeypatch.setattr(GenericIE, "_real_extract", lambda *_: InfoExtractor.playlist_result(entries, "1", "All"))
    with pytest.raises(Reject, match="is a list of more than 5 entries: submit it with a limit") as caught:
        run("https://video.example/calendar", longest=5)
    check_sentence(caught.value, "https://video.example/calendar")


def test_a_sites_own_id_is_kept_and_the_end_of_a_link_is_no_id(
    site: Web, run: Callable[..., Fetch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two web files with the same name count as one, or a known video is downloaded just to recognize it."""
    assert run(f"{site.url}/5s.flac").origin == ""
    info = {"id": "x1", "title": "A talk", "url": f"{site.url}/5s.flac", "ext": "flac"}
    monkeypatch.setattr(YoutubeIE, "_real_extract", lambda *_: info)
    assert run("https://www.youtube.com/watch?v=aaaaaaaaaaa&list=PLbbbbbbbbbbbbbbbb").origin == "Youtube:x1"


def test_only_the_requested_part_of_a_channel_is_read(
    run: Callable[..., Fetch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of pages are read for the latest two videos."""
    read = 0

    def entries() -> Iterator[dict[str, object]]:
        nonlocal read
        for read in range(1, 1000):
            yield InfoExtractor.url_result(f"https://video.example/watch?v={read}")

    monkeypatch.setattr(
        GenericIE, "_real_extract", lambda *_: InfoExtractor.playlist_result(entries(), "channel", "A channel")
    )
    listing = run("https://video.example/channel", limit=2).listing
    assert listing
    assert [entry.url for entry in listing.entries] == [f"https://video.example/watch?v={n}" for n in (1, 2)]
    assert read <= 3


def check_sentence(error: Exception, url: str) -> None:
    text = str(error)
    assert url in text
    assert "\n" not in text
    assert not any(noise in text for noise in ("ERROR", "Errno", "object at", "--", "caused by", "report", "\x1b"))
