"""Uploads: what MinIO says of them, which are wanted, and what is shown of a link that opens one."""

from typing import cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.notification import Notification, Upload
from schemas.requests import SubmitRequest
from schemas.transcript import Transcript
from v2t_stream.errors import ObjectMissing, Reject
from v2t_stream.formats import FORMATS
from v2t_stream.object_store import ObjectStore
from v2t_stream.settings import Settings
from v2t_stream.submission import check
from v2t_stream.uploads import is_foreign, is_wanted, request_of, store_copies

TRANSCRIPT = Transcript(
    job="j", title="t", source="", duration=1, task="transcribe", language="en", engines=(), models=(), segments=()
)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_a_key_is_decoded_exactly_once(key: str) -> None:
    """Else a file whose name has a plus or a percent sign is looked for under another."""
    upload = Upload(bucket="b", key=key, etag="e", version="v")
    notification = msgspec.json.decode(msgspec.json.encode(Notification.of(upload)), type=Notification)
    assert notification.created() == [upload]


def test_what_was_removed_starts_nothing_and_what_is_unknown_is_ignored() -> None:
    """Else deleting an upload starts a job, or a newer MinIO stops all of them."""
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


class _Labelled:
    """An object store with one object, its labels, and perhaps a sidecar."""

    def __init__(self, labels: dict[str, str], sidecar: bytes) -> None:
        self._labels = labels
        self._sidecar = sidecar

    async def labels(self, url: str) -> dict[str, str]:
        return self._labels

    async def size(self, url: str) -> int | None:
        return len(self._sidecar) or None

    async def get(self, url: str) -> bytes:
        if not self._sidecar:
            raise ObjectMissing
        return self._sidecar


async def asked(labels: dict[str, str], sidecar: bytes = b"") -> SubmitRequest | None:
    upload = Upload(bucket="v2t-uploads", key="a.mp4", etag="e")
    return await request_of(cast("ObjectStore", _Labelled(labels, sidecar)), upload)


async def test_an_upload_can_ask_for_every_option() -> None:
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
    assert await asked(metadata) == request
    assert await asked({}, msgspec.json.encode(options)) == request
    assert await asked({"beam-size": "3", "other": "x"}, msgspec.json.encode(options | {"beam_size": 9})) == request


@pytest.mark.parametrize(
    ("labels", "sidecar", "says"),
    [
        ({"beam-size": "30"}, b"", "beam_size does not fit: .*; it is a whole number from 1 to 20"),
        ({"beam-size": "wide"}, b"", "beam_size does not fit: .*; it is a whole number from 1 to 20"),
        ({"vad-threshold": "nan"}, b"", "vad_threshold does not fit: .*; it is a number from 0 to less than 1"),
        ({}, b'{"audio_track": 2}', "audio_track does not fit: .*got `int`; it is text of at most 32 characters"),
        ({}, b'{"prompt": "a\\nb"}', "prompt .* has a line end or a control character"),
        ({}, b'{"hotword": "Ishmael"}', "unknown field `hotword`; its fields are language, "),
    ],
)
async def test_a_wrong_option_of_an_upload_says_what_would_be_right(
    labels: dict[str, str], sidecar: bytes, says: str
) -> None:
    """The upload's job fails with a sentence that helps nobody, or runs without what was asked for."""
    with pytest.raises(Reject, match=says):
        await asked(labels, sidecar)


class _Kept:
    """An object store that keeps what is put."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    async def put(self, key: str, data: bytes) -> None:
        self.keys.append(key)

    async def get(self, key: str) -> bytes:
        raise ObjectMissing

    async def size(self, key: str) -> None:
        return None


_PART = st.sampled_from(
    ("..", ".", "", "a", "a.mp4", "CON", "\0", "\n", "\\..\\", "~", "%2e%2e", "\u4f8b" * 85, "\u202e")
)


@given(st.lists(_PART, min_size=1, max_size=6).map("/".join).filter(bool))
async def test_a_transcript_stays_in_the_bucket_of_its_kind(key: str) -> None:
    """An upload whose name climbs up writes over another's media, transcript or upload."""
    store = _Kept()
    settings = Settings(minio_endpoint="h:1", beside_upload=True)
    url = f"s3://v2t-uploads/{key}"
    try:
        check(SubmitRequest(url=url))
    except Reject:
        return
    await store_copies(cast("ObjectStore", store), settings, msgspec.structs.replace(TRANSCRIPT, source=url))
    assert len(store.keys) == 2 * len(FORMATS)
    for stored in store.keys:
        assert stored.startswith(("transcripts/", "s3://v2t-uploads/"))
        assert not {".", ".."} & set(stored.split("/"))
        assert "\0" not in stored
        assert len(stored.rpartition("/")[2].encode()) <= 255
