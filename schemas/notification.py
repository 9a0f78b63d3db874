"""What MinIO publishes when something is put into a bucket: S3's event notification, as far as it is used here."""

from typing import Self
from urllib.parse import quote_plus, unquote_plus

import msgspec


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """One version of one object."""

    bucket: str
    key: str  # as its uploader named it
    etag: str
    version: str = ""  # empty where the bucket keeps no versions

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


class _Bucket(msgspec.Struct, frozen=True):
    name: str


class _Object(msgspec.Struct, frozen=True, rename="camel"):
    key: str  # query-escaped: a space is a plus
    e_tag: str = ""
    version_id: str = ""


class _Entity(msgspec.Struct, frozen=True):
    bucket: _Bucket
    object: _Object


class _Record(msgspec.Struct, frozen=True, rename="camel"):
    event_name: str  # such as s3:ObjectCreated:Put
    s3: _Entity


class Notification(msgspec.Struct, frozen=True):
    """Unknown fields, of which there are many, are ignored."""

    records: tuple[_Record, ...] = msgspec.field(name="Records")

    @classmethod
    def of(cls, upload: Upload) -> Self:
        """What MinIO would have published."""
        entry = _Object(key=quote_plus(upload.key), e_tag=upload.etag, version_id=upload.version)
        return cls((_Record("s3:ObjectCreated:Put", _Entity(_Bucket(upload.bucket), entry)),))

    def created(self) -> list[Upload]:
        """What was put into a bucket, and not what was removed from one."""
        return [
            Upload(
                bucket=record.s3.bucket.name,
                key=unquote_plus(record.s3.object.key),
                etag=record.s3.object.e_tag,
                version="" if record.s3.object.version_id == "null" else record.s3.object.version_id,
            )
            for record in self.records
            if record.event_name.startswith("s3:ObjectCreated:")
        ]
