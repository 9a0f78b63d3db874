"""How a broker's configuration differs from the expected one, in words."""

from typing import Any

import pytest

from v2t_stream.topology.drift import age, compare

DAY = 86_400 * 10**9  # ns

WANTED: dict[str, Any] = {
    "name": "S",
    "subjects": ["a", "b"],
    "max_age": 30 * DAY,
    "num_replicas": 1,
    "deny_delete": True,
    "metadata": {"ours": "1"},
}


def test_what_is_as_it_should_be_is_no_drift_whatever_else_there_is() -> None:
    """Else doctor complains for ever about additions by the owner or the server, or about an order."""
    found = {
        **WANTED,
        "subjects": ["b", "a"],
        "num_replicas": 3,
        "metadata": {"ours": "1", "_nats.level": "2"},
        "max_bytes": 5,
    }
    assert compare("stream S", found, WANTED) == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"max_age": 5 * DAY}, "stream S: max_age is 5 d, should be 30 d"),
        ({"max_age": 0}, "stream S: max_age is for ever, should be 30 d"),
        ({"subjects": ["a"]}, "stream S: subjects is a, should be a b"),
        ({"deny_delete": False}, "stream S: deny_delete is off, should be on"),
        ({"metadata": {"_nats.level": "2"}}, "stream S: ours is not set, should be 1"),
        ({"metadata": None}, "stream S: ours is not set, should be 1"),
    ],
)
def test_each_field_that_differs_is_named(changes: dict[str, Any], sentence: str) -> None:
    """Else a user cannot see what `topology apply` will change."""
    assert [str(drift) for drift in compare("stream S", {**WANTED, **changes}, WANTED)] == [sentence]


def test_what_the_server_left_out_is_nothing() -> None:
    """The server writes no false and no zero; else every such field is drift, or none is ever."""
    found = {field: value for field, value in WANTED.items() if field != "deny_delete"}
    assert [drift.field for drift in compare("stream S", found, WANTED)] == ["deny_delete"]
    assert compare("stream S", {}, {"max_age": 0, "allow": False}) == []


def test_a_missing_one_is_reported_once() -> None:
    """Else a fresh broker shows a screen of fields."""
    assert [str(drift) for drift in compare("stream S", None, WANTED)] == ["stream S is missing"]


def test_one_filter_is_the_same_however_it_is_written() -> None:
    """Else a consumer is recreated for nothing, and everything that it delivered comes again."""
    assert compare("consumer c", {"filter_subjects": ["a"]}, {"filter_subject": "a"}) == []
    (drift,) = compare("consumer c", {"filter_subject": "a"}, {"filter_subjects": ["b", "a"]})
    assert str(drift) == "consumer c: filters is a, should be a b"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "for ever"), (2, "2 s"), (90, "1.5 min"), (7200, "2 h"), (30 * 86_400, "30 d"), (259_200, "3 d")],
)
def test_ages_are_read_at_a_glance(seconds: float, text: str) -> None:
    """Else the reader counts nanoseconds."""
    assert age(seconds) == text
