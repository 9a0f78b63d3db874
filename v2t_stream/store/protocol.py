"""The interface of every store for media and transcripts. session.open_store chooses one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple, Protocol, runtime_checkable

from schemas.objects import Version

MEDIA: Final = "v2t_media"
UPLOADED: Final = "media/uploads"
UPLOADS: Final = "v2t_uploads"  # media that people send: its own bucket, the only one they may write to
TRANSCRIPTS: Final = "v2t_transcripts"
MODELS: Final = "v2t_models"
VOICES: Final = "v2t_voices"

OURS: Final = "v2t-transcript"  # the label of our objects in somebody else's bucket


class Found(NamedTuple):
    """What a store knows of an object."""

    size: int  # bytes
    version: Version
    labels: Mapping[str, str]  # its uploader's metadata, by lower-case names
    is_tagged: bool = False  # it also has tags, which need another request


class ObjectStore(Protocol):
    """Objects by key: `media/<job>/…`, which expires; `transcripts/…`, `models/…` and `voices/…` stay.

    An object exists whole or not at all. Another put replaces it; of two puts at once the last to end stays. A second
    put below `media/uploads/` may be refused, so use names there that nobody can guess. Every wait is bounded. All
    methods raise StoreError; reading a missing object raises ObjectMissing.
    """

    async def create(
        self, *, media_max_age: float, transcript_max_age: float = 0, replicas: int = 1, keep: bool = False
    ) -> None:
        """Create or update the buckets; doing it again changes nothing.

        `media_max_age`, `transcript_max_age`: seconds to keep them, 0: for ever. `keep`: leave existing buckets'
        ages unchanged. `replicas`: servers that hold each bucket, if the broker is the store.
        """

    async def lifetimes(self) -> dict[str, float]:
        """The seconds that each existing bucket (media, transcripts, models, voices) keeps objects; 0: for ever."""

    async def put_file(self, key: str, path: Path, *, sha256: str = "") -> None:
        """Store a file. `sha256`: of its bytes in hexadecimal, if known, for the method `sha256`."""

    async def put(self, key: str, data: bytes) -> None: ...

    async def put_new(self, key: str, data: bytes) -> bool:
        """Store it if the name is free; of several calls at once one succeeds, and the others return False.

        In the broker's store only below `media/uploads/`.
        """

    async def get_file(self, key: str, path: Path, *, version: Version | None = None) -> None:
        """Write the object to `path`, in an existing directory; the file appears complete or not at all.

        `version`: of an object in somebody else's bucket; raises VersionGone if it no longer exists.
        """

    async def get(self, key: str) -> bytes: ...

    async def read(self, key: str, start: int, length: int, *, version: Version | None = None) -> bytes:
        """At most `length` bytes of the object from `start` on, unchecked, in memory. `version`: as for `get_file`."""

    async def size(self, key: str) -> int | None:
        """The object's size in bytes; None if it does not exist."""

    async def sha256(self, key: str) -> str | None:
        """The SHA-256 of the object's bytes, in hexadecimal; None if it is unknown or the object does not exist."""

    async def keys(self, prefix: str) -> list[str]:
        """The keys that begin with the prefix."""

    async def delete(self, key: str) -> None:
        """Remove the object, if it exists."""

    async def delete_prefix(self, prefix: str) -> int:
        """Remove all objects with this prefix, such as `media/<job>/`; returns how many there were."""

    async def sweep(self, top: str, *, idle: float = 3600.0) -> int:
        """Remove useless data that nothing else removes; returns how many objects.

        `top`: where, such as "transcripts"; a writer there may also remove. `idle`: seconds since the last write, well
        above any pause of a live writer.
        """


@runtime_checkable
class BucketStore(ObjectStore, Protocol):
    """An ObjectStore on an S3 server: a key `s3://bucket/name` means an object of any bucket there.

    Raises InvalidKey for a name that no object can have.
    """

    async def look(self, key: str, version: Version | None = None) -> Found | None:
        """What the store knows of the object, or of that version; None if it does not exist.

        Raises VersionGone if the object exists, but not in that version.
        """

    async def tags(self, key: str, version: Version | None = None) -> dict[str, str]:
        """The object's tags, by lower-case names."""
