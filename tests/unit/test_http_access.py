"""Who may do what over HTTP, as far as it needs no server."""

import pytest

from schemas.keys import Key
from v2t_stream.access import keys
from v2t_stream.host.addresses import is_loopback, origins
from v2t_stream.serve import permits
from v2t_stream.serve.rate import Rates


@pytest.mark.parametrize(
    ("method", "path", "roles"),
    [
        ("GET", "/", set()),
        ("GET", "/page/main.js", set()),
        ("GET", "/health", set()),
        ("POST", "/v1/session", set()),
        ("OPTIONS", "/v1/uploads", set()),
        ("GET", "/v1/jobs", {"submitter", "viewer", "operator"}),
        ("HEAD", "/v1/jobs/x/media", {"submitter", "viewer", "operator"}),
        ("GET", "/v1/models", {"submitter", "viewer", "operator"}),
        ("GET", "/v1/fleet", {"viewer", "operator"}),
        ("HEAD", "/v1/uploads/x", {"submitter", "operator"}),
        ("POST", "/v1/jobs", {"submitter", "operator"}),
        ("DELETE", "/v1/jobs/x", {"submitter", "operator"}),
        ("PATCH", "/v1/jobs/x/transcript", {"submitter", "operator"}),
        ("POST", "/asr", {"submitter", "operator"}),
        ("POST", "/", {"operator"}),
        ("GET", "/asr2", {"operator"}),
        ("GET", "/healthy", {"operator"}),
    ],
)
def test_a_role_may_do_what_the_table_says(method: str, path: str, roles: set[str]) -> None:
    """A viewer cancels jobs, or a page cannot load before somebody has given a key."""
    assert permits.needed(method, path) == roles


def test_a_limit_lets_a_burst_through_and_then_so_many_a_minute() -> None:
    """A page that asks ten things at once is refused, or a loop asks as often as it likes."""
    rates = Rates()
    assert [rates.wait("a", 6, 0.0) for _ in range(6)] == [0.0] * 6
    assert rates.wait("a", 6, 0.0) == pytest.approx(10.0)
    assert rates.wait("b", 6, 0.0) == 0.0  # another's
    assert rates.wait("a", 6, 9.9) > 0.0
    assert rates.wait("a", 6, 10.1) == 0.0
    assert rates.wait("a", 6, 10.1) > 0.0
    assert [rates.wait("a", 6, 1000.0) == 0.0 for _ in range(7)] == [True] * 6 + [False]


@pytest.mark.parametrize(
    "text", ["", "v2t_", "v2t_0123456789_", "sk-whatever", "v2t_0123456789_" + "g" * 64, "v2t_Ä_1"]
)
def test_what_is_not_a_key_fits_none(text: str) -> None:
    """An empty key opens a removed one, or nonsense ends the server's request with an error."""
    removed = Key(id="0123456789", name="ann", role="operator")
    assert keys.id_of(text) == ""
    assert not keys.fits(removed, text)


@pytest.mark.parametrize("text", ["https://a.example", "http://a.example:8080, https://b.example", "*", ""])
def test_origins_are_read(text: str) -> None:
    """A site that the user has named stays locked out."""
    assert origins(text) == {part.strip() for part in text.split(",") if part}


@pytest.mark.parametrize(
    "text", ["a.example", "https://a.example/", "https://a.example/app", "ftp://a.example", "null"]
)
def test_what_no_browser_sends_as_an_origin_is_refused(text: str) -> None:
    """The setting looks right and has no effect."""
    with pytest.raises(ValueError, match="is not an origin such as"):
        origins(text)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "::1"])
def test_loopback_is_known_by_its_names(host: str) -> None:
    """A server that only this machine reaches asks for keys."""
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "localhost.a.example", "127.0.0.1.a.example", ""])  # noqa: S104  # an example
def test_nothing_else_is_loopback(host: str) -> None:
    """A server that others reach asks for no keys."""
    assert not is_loopback(host)
