"""How the HTTP API names the types of media."""

import pytest

from v2t_stream.cli.recordings import _OF_MEDIA
from v2t_stream.serve.media import _Medium


@pytest.mark.parametrize("suffix", sorted(_OF_MEDIA))
def test_a_browser_plays_what_is_transcribed(suffix: str) -> None:
    """In a container, which has no list of types, a recording comes as a file to save, and the player stays silent."""
    assert _Medium(f"media/job/source{suffix.upper()}", None, 1).kind.startswith(("audio/", "video/"))


def test_a_file_of_strangers_is_no_page() -> None:
    """An upload that is called a page runs in the name of whoever opens it."""
    assert not _Medium("media/job/source.html", None, 1).kind.startswith(("audio/", "video/"))
