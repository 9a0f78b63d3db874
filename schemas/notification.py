"""S3's event notification about an upload to a bucket, as far as we use it."""

import re
from typing import Final, Self
from urllib.parse import quote_plus, unquote_plus

import msgspec

from schemas.objects import Version

BUCKET_SUBJECT: Final = "v2t.bucket"  # where MinIO announces uploads

_CREATED: Final = re.compile(r"(s3:)?ObjectCreated:")  # Amazon leaves the prefix out
_ESCAPED: Final = re.compile(r"(?:[A-Za-z0-9._~*/+()!'-]|%[0-9A-Fa-f]{2})*")  # a key with valid escapes


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """One version of one object."""

    bucket: str
    key: str  # the uploader's name for it
    etag: str
    version: str = ""  # empty if the bucket keeps no versions, or if unknown

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    @property
    def exactly(self) -> Version:
        return Version(etag=self.etag, id=self.version)


class _Bucket(msgspec.Struct, frozen=True):
    name: str
    arn: str | None = None


class _Object(msgspec.Struct, frozen=True, rename="camel"):
    key: str
    e_tag: str | None = None
    version_id: str | None = None


class _Entity(msgspec.Struct, frozen=True):
    bucket: _Bucket
    object: _Object

    @property
    def key(self) -> str:
        """The key as its uploader named it.

        MinIO and Amazon escape it like a query, with a plus for a space. The Versity gateway does not escape it, and
        repeats the key in the bucket's ARN, which elsewhere ends with the bucket. It keeps objects as files, so it
        lists a//b as a/b.
        """
        key = self.object.key
        if (self.bucket.arn or "").endswith(f"{self.bucket.name}/{key}"):
            return re.sub("/+", "/", key).removeprefix("/")
        return unquote_plus(key) if _ESCAPED.fullmatch(key) else key


class _Record(msgspec.Struct, frozen=True, rename="camel"):
    event_name: str  # such as s3:ObjectCreated:Put
    s3: _Entity


class Notification(msgspec.Struct, frozen=True):
    """It ignores unknown fields, which are many.

    A server's test message has no records.
    """

    records: tuple[_Record, ...] = msgspec.field(name="Records", default=())

    @classmethod
    def of(cls, *uploads: Upload) -> Self:
        """The notification that MinIO would publish."""
        entries = (
            _Entity(
                _Bucket(upload.bucket),
                _Object(key=quote_plus(upload.key), e_tag=upload.etag, version_id=upload.version),
            )
            for upload in uploads
        )
        return cls(tuple(_Record("s3:ObjectCreated:Put", entry) for entry in entries))

    def created(self) -> list[Upload]:
        """The uploads, without the deletions."""
        return [
            Upload(
                bucket=record.s3.bucket.name,
                key=record.s3.key,
                etag=(record.s3.object.e_tag or "").strip('"'),
                version=version_of(record.s3.object.version_id),
            )
            for record in self.records
            if _CREATED.match(record.event_name)
        ]


def version_of(version_id: str | None) -> str:
    """Our form of a version's id: uploads to a bucket without versions have the id null."""
    return "" if version_id in (None, "null") else version_id
