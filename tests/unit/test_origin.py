"""How we identify media by its site, without a download."""

import pytest

from v2t_stream.fetch.ytdlp import origin


@pytest.mark.parametrize("extractor", ["Generic", "HTML5MediaEmbed", "CamtasiaEmbed", "WordpressPlaylistEmbed"])
def test_the_end_of_a_link_is_no_id(extractor: str) -> None:
    """Else the page `index` of one site gets the words of the page `index` of another."""
    assert origin(extractor, "index-1") == ""


def test_a_sites_own_id_is_one() -> None:
    """Else a video is downloaded to see that it was done before."""
    assert origin("Youtube", "x1") == "Youtube:x1"


def test_what_a_list_does_not_tell_is_left_open() -> None:
    """Else all its entries count as the same, or a list with one odd entry is refused."""
    assert [origin(None, "1"), origin("Youtube", None), origin("NoSuchSite", "1")] == ["", "", ""]
