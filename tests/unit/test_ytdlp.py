"""What this project uses of yt-dlp beyond its documentation, collected in v2t_stream/fetch/ytdlp.py.

yt-dlp is not capped, as sites change. So a release that lacks one of these pieces must fail here, by its name.
"""

import inspect
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yt_dlp
from yt_dlp import YoutubeDL
from yt_dlp.extractor import get_info_extractor
from yt_dlp.networking import Request, Response
from yt_dlp.networking.exceptions import CertificateVerifyError, HTTPError, NoSupportingHandlers, TransportError
from yt_dlp.utils import DownloadError, ExtractorError, PlaylistEntries, smuggle_url
from yt_dlp.utils._jsruntime import DenoJsRuntime

from v2t_stream.fetch import ytdlp


def parameters(function: object) -> list[str]:
    return list(inspect.signature(function).parameters)  # type: ignore[arg-type]  # the test fails if it is not callable


def test_the_methods_we_override_are_those_yt_dlp_calls() -> None:
    """Every entry of a list is downloaded while it is read, or a link's password is sent with %40 in it."""
    assert parameters(YoutubeDL.process_ie_result) == parameters(ytdlp.Downloader.process_ie_result)
    assert parameters(YoutubeDL.urlopen) == parameters(ytdlp.Downloader.urlopen)
    met = []

    class Spying(ytdlp.Downloader):
        def process_ie_result(self, ie_result: Any, download: Any = True, extra_info: Any = None) -> Any:  # noqa: FBT002  # its signature
            met.append(dict(extra_info or {}))
            return super().process_ie_result(ie_result, download, extra_info)

    entries = [{"_type": "url", "url": "https://a.invalid"}]
    given = {"_type": "playlist", "id": "1", "entries": entries, "extractor": "x", "extractor_key": "X"}
    with Spying({}) as downloader:
        found = downloader.process_ie_result(given, download=False, extra_info={})
    assert ["playlist" in extra for extra in met] == [False, True]
    assert list(found["entries"]) == entries


def test_lists_are_read_by_what_yt_dlp_has() -> None:
    """A playlist inside a page fails as a whole, or its entries lose their links."""
    with ytdlp.Downloader({}) as downloader:
        given = {
            "_type": "playlist",
            "id": "1",
            "title": "a",
            "entries": [{"_type": "url", "url": "https://a.example"}],
        }
        assert [entry for _, entry in PlaylistEntries(downloader, given).get_requested_items()] == given["entries"]
        video = "https://www.youtube.com/watch?v=aaaaaaaaaaa"
        assert downloader.get_info_extractor("Youtube").is_single_video(video) is True
    assert ytdlp.plain_link(smuggle_url("https://a.example/1", {"force_videoid": "x"})) == "https://a.example/1"
    kept = smuggle_url("https://a.example/1", {"password": "x"})
    assert ytdlp.plain_link(kept) == kept


def test_an_extractor_says_whether_it_has_an_address() -> None:
    """The page `index` of one site gets the words of the page `index` of another."""
    assert get_info_extractor("HTML5MediaEmbed")._VALID_URL is False
    assert get_info_extractor("Youtube")._VALID_URL


def test_an_error_says_what_it_came_from() -> None:
    """The user reads "ERROR: unable to download" instead of why."""
    reset = TransportError("reset")
    inner = ExtractorError("no page", cause=reset)
    outer = DownloadError("ERROR: no page", (type(inner), inner, None))
    assert {outer, inner, reset} <= set(ytdlp.causes(outer))
    assert ExtractorError("Private video; see --cookies", expected=True).orig_msg == "Private video; see --cookies"
    unexpected = NoSupportingHandlers([], [bug := ValueError("a bug")])
    assert bug in ytdlp.causes(unexpected)
    assert issubclass(CertificateVerifyError, TransportError)
    refused = HTTPError(Response(io.BytesIO(), "https://a.example/", {}, status=404, reason="Gone"), redirect_loop=True)
    assert (refused.status, refused.reason, refused.redirect_loop) == (404, "Gone", True)


@pytest.mark.parametrize("text", ["Giving up after", "Did not get any data"])
def test_the_texts_that_tell_failures_apart_are_still_yt_dlps(text: str) -> None:
    """A connection that breaks each time, which may work later, fails the job for good; yt-dlp has no type for it."""
    package = Path(yt_dlp.__file__).parent
    assert any(text in (package / file).read_text() for file in ("utils/_utils.py", "downloader/http.py"))


def test_a_request_takes_the_login_of_its_link() -> None:
    """A link with a password cannot be fetched."""
    request = ytdlp._with_login(Request("https://me:p%40ss@a.example/x"))
    assert (request.url, request.headers["Authorization"]) == ("https://a.example/x", "Basic bWU6cEBzcw==")


def test_the_runtime_of_youtube_is_found_as_a_download_finds_it() -> None:
    """`v2t doctor` reports that YouTube works, and it does not."""
    found = DenoJsRuntime().info
    assert ytdlp.deno() == (found and (found.version, found.supported))


def test_yt_dlp_finds_no_libcurl() -> None:
    """A download reaches addresses that are not public, through connections the guard never sees."""
    code = "import sys; import v2t_stream.fetch.link; print(sys.modules['curl_cffi'])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "None\n"
