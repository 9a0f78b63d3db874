"""Uploads: MinIO's announcements, which uploads start jobs, and how presigned links are shown."""

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.notification import Notification, Upload
from schemas.requests import SubmitRequest
from v2t_stream.errors import Reject
from v2t_stream.jobs.uploads import Noted, is_foreign, is_wanted, request_of
from v2t_stream.settings import Settings


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_a_key_is_decoded_exactly_once(key: str) -> None:
    """Else a file whose name has a plus or a percent sign is looked for under another."""
    upload = Upload(bucket="b", key=key, etag="e", version="v")
    notification = msgspec.json.decode(msgspec.json.encode(Notification.of(upload)), type=Notification)
    assert notification.created() == [upload]


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/"), min_size=1).map("a/b/{}".format))
def test_a_key_that_its_server_leaves_as_it_is_is_taken_so(key: str) -> None:
    """Else "a+b.mp4" in a Versity gateway is looked up as "a b.mp4"."""
    object_ = {"key": key, "eTag": '"e"', "versionId": None}
    record = {
        "eventSource": "aws:s3",
        "eventName": "s3:ObjectCreated:Put",
        "s3": {"bucket": {"name": "b", "arn": f"arn:aws:s3:::/b/{key}"}, "object": object_},
    }
    notification = msgspec.json.decode(msgspec.json.encode({"Records": [record]}), type=Notification)
    assert notification.created() == [Upload(bucket="b", key=key, etag="e")]


def test_what_amazon_says_is_read() -> None:
    """Else a bridge from S3 itself starts no job, or one for a key that does not exist."""
    record = {
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": "b", "arn": "arn:aws:s3:::b"}, "object": {"key": "a/b+c%2B.mp4", "eTag": "e"}},
    }
    notification = msgspec.json.decode(msgspec.json.encode({"Records": [record]}), type=Notification)
    assert notification.created() == [Upload(bucket="b", key="a/b c+.mp4", etag="e")]


def test_what_minio_published_is_read() -> None:
    """Else the next release no longer understands MinIO, and no test notices because all use another server."""
    recorded = Path(__file__).parent.parent / "fixtures" / "release-0.1.0" / "messages.json"
    told = [entry["data"] for entry in json.loads(recorded.read_text()) if entry["subject"] == "v2t.bucket"]
    assert len(told) == 2  # by each notifier
    for data in told:
        assert msgspec.json.decode(data, type=Notification).created() == [
            Upload(bucket="v2t-uploads", key="talks/a talk.flac", etag="05c5fd011b0f690e21228c02f995322b")
        ]


@pytest.mark.parametrize(
    ("etag", "version", "upload"),
    [
        ('"\\"e\\""', "null", ("e", "")),
        ("null", "null", ("", "")),
        ('"e-2"', '"null"', ("e-2", "")),
        ('"e"', '"01H"', ("e", "01H")),
    ],
)
def test_versions_and_etags_are_read_as_servers_write_them(etag: str, version: str, upload: tuple[str, str]) -> None:
    """Else an upload that is announced and listed counts as two and is transcribed twice, or a null stops all."""
    object_ = f'{{"key":"a","eTag":{etag},"versionId":{version}}}'
    data = f'{{"Records":[{{"eventName":"s3:ObjectCreated:Put","s3":{{"bucket":{{"name":"b"}},"object":{object_}}}}}]}}'
    (found,) = msgspec.json.decode(data, type=Notification).created()
    assert (found.etag, found.version) == upload


def test_a_server_that_tries_whether_we_listen_tells_of_nothing() -> None:
    """Else each start of a Versity gateway is a failed job."""
    assert not msgspec.json.decode('{"Service":"S3","Event":"s3:TestEvent"}', type=Notification).created()


def test_what_was_removed_starts_nothing_and_what_is_unknown_is_ignored() -> None:
    """Else deleting an upload starts a job, or a newer MinIO stops all uploads."""
    record = '{"eventName":"%s","new":1,"s3":{"bucket":{"name":"b"},"object":{"key":"a%%2Bb+c","new":1,"eTag":"e"}}}'
    records = ",".join(record % name for name in ("s3:ObjectRemoved:Delete", "s3:ObjectCreated:Put"))
    notification = msgspec.json.decode(f'{{"Key":"b/a","Records":[{records}]}}', type=Notification)
    assert notification.created() == [Upload(bucket="b", key="a+b c", etag="e")]


@pytest.mark.parametrize(
    ("key", "wanted"),
    [
        ("a.mp4", True),
        ("a.mp4.json", False),
        ("a.mkv.json", False),
        ("a.txt.json", True),
        ("a.txt", True),
        ("a/", False),
    ],
)
def test_folders_and_sidecars_are_not_wanted(key: str, *, wanted: bool) -> None:
    """Else an upload's own options become a failed job."""
    assert is_wanted(Settings(), Upload(bucket="v2t-uploads", key=key, etag="e")) is wanted
    assert not is_wanted(Settings(), Upload(bucket="others", key=key, etag="e"))


def test_only_what_cannot_be_media_is_foreign() -> None:
    """Else a video of a rare format is refused by its name."""
    assert not any(map(is_foreign, ("a.mp4", "a.MKV", "a.ts", "a.mxf", "a.opus", "a", "a#b?c.mp4", "a.bin")))
    assert all(map(is_foreign, ("a.txt", "a.PDF", "a.png", "a#b?c.zip")))


def asked(labels: dict[str, str], sidecar: bytes = b"") -> SubmitRequest:
    upload = Upload(bucket="v2t-uploads", key="a.mp4", etag="e")
    return request_of(Noted(upload, is_there=True, labels=labels, sidecar=sidecar))


def test_an_upload_can_ask_for_every_option() -> None:
    """A bucket's users have fewer options than others, or a number that stands in metadata as text fails the job."""
    request = SubmitRequest(
        url="s3://v2t-uploads/a.mp4",
        language="en",
        prompt="Call me Ishmael.",
        hotwords="Ishmael, Queequeg",
        beam_size=3,
        temperature=0.2,
        audio_track="2",
        vad_threshold=0.0,
        word_timestamps=True,
    )
    options = {name: value for name, value in msgspec.to_builtins(request).items() if name != "url"}
    metadata = {
        name.replace("_", "-"): str(value).lower() if value is True else str(value) for name, value in options.items()
    }
    assert asked(metadata) == request
    assert asked({}, msgspec.json.encode(options)) == request
    assert asked({"beam-size": "3", "other": "x"}, msgspec.json.encode(options | {"beam_size": 9})) == request


@pytest.mark.parametrize(
    ("labels", "sidecar", "says"),
    [
        ({"beam-size": "30"}, b"", "beam_size is not valid: .*; it must be a whole number from 1 to 20"),
        ({"beam-size": "wide"}, b"", "beam_size is not valid: .*; it must be a whole number from 1 to 20"),
        ({"vad-threshold": "nan"}, b"", "vad_threshold is not valid: .*; it must be a number from 0 to less than 1"),
        ({}, b'{"audio_track": 2}', "audio_track is not valid: .*got `int`; it must be text of at most 32 characters"),
        ({}, b'{"prompt": "a\\nb"}', "prompt .* has a line end or a control character"),
        ({}, b'{"hotword": "Ishmael"}', "unknown field `hotword`; its fields are language, "),
    ],
)
def test_a_wrong_option_of_an_upload_says_what_would_be_right(
    labels: dict[str, str], sidecar: bytes, says: str
) -> None:
    """The upload's job fails with a sentence that helps nobody, or runs without what was asked for."""
    with pytest.raises(Reject, match=says):
        asked(labels, sidecar)
