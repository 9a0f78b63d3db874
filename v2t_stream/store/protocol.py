"""Where media and transcripts lie: what every store can do. session.open_store chooses which one it is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple, Protocol, runtime_checkable

from schemas.objects import Version

MEDIA: Final = "v2t_media"
UPLOADED: Final = "media/uploads"
UPLOADS: Final = "v2t_uploads"  # media that people send: a bucket of its own, as they may write there and nowhere else
TRANSCRIPTS: Final = "v2t_transcripts"
MODELS: Final = "v2t_models"

OURS: Final = "v2t-transcript"  # the label of what we put into a bucket of somebody else


class Found(NamedTuple):
    """What a store knows of an object."""

    size: int  # bytes
    version: Version
    labels: Mapping[str, str]  # what its uploader noted on it, by lower-case names
    is_tagged: bool = False  # and more in tags, which take another request


class ObjectStore(Protocol):
    """Objects by key: `media/<job>/…`, which expires, and `transcripts/…` and `models/…`, which stay.

    An object is there as a whole or not at all. Putting it again replaces it; of two puts at once the last to end
    stays. What lies below `media/uploads/` may be refused a second time, so give it a name that nobody can guess. Every
    wait is bounded. All raise StoreError; reading what is not there raises ObjectMissing.
    """

    async def create(
        self, *, media_max_age: float, transcript_max_age: float = 0, replicas: int = 1, keep: bool = False
    ) -> None:
        """Create or update the buckets; doing it again changes nothing.

        `media_max_age`, `transcript_max_age`: seconds they are kept, 0: for ever. `keep`: in a bucket that is there
        already, as long as before. `replicas`: servers that keep each bucket, where the broker does.
        """

    async def lifetimes(self) -> dict[str, float]:
        """Of each bucket that is there (media, transcripts, models) the seconds that objects are kept; 0: for ever."""

    async def put_file(self, key: str, path: Path, *, sha256: str = "") -> None:
        """Store a file. `sha256`: that of its bytes in hexadecimal, where it is known, for those who ask for it."""

    async def put(self, key: str, data: bytes) -> None: ...

    async def get_file(self, key: str, path: Path, *, version: Version | None = None) -> None:
        """Write the object to `path`, in a directory that exists; the file appears complete or not at all.

        `version`: of an object in somebody else's bucket; raises VersionGone where it is not there any more.
        """

    async def get(self, key: str) -> bytes: ...

    async def size(self, key: str) -> int | None:
        """Bytes of the object; None where there is none."""

    async def sha256(self, key: str) -> str | None:
        """The SHA-256 of the object's bytes, in hexadecimal; None where it is not known, or there is no object."""

    async def keys(self, prefix: str) -> list[str]:
        """The keys that begin so."""

    async def delete(self, key: str) -> None:
        """Remove the object, if it is there."""

    async def delete_prefix(self, prefix: str) -> int:
        """Remove all objects whose keys begin so, as in `media/<job>/`; how many there were."""

    async def sweep(self, top: str, *, idle: float = 3600.0) -> int:
        """Remove what is of no use to anybody and goes by no other way; how many objects.

        `top`: where, as in "transcripts"; whoever may write there may remove there too. `idle`: seconds since whoever
        was writing it last did, well above any pause that a living one makes.
        """


@runtime_checkable
class BucketStore(ObjectStore, Protocol):
    """An ObjectStore on an S3 server: a key `s3://bucket/name` means an object of any bucket there.

    Raises InvalidKey where no object can have such a name.
    """

    async def look(self, key: str, version: Version | None = None) -> Found | None:
        """What is known of the object, or of that version; None where there is none.

        Raises VersionGone where the object is there, and not that version of it.
        """

    async def tags(self, key: str, version: Version | None = None) -> dict[str, str]:
        """The object's tags, by lower-case names."""

    async def beginning(self, key: str, length: int) -> bytes:
        """At most so many bytes from its start, unchecked. Raises ObjectMissing."""

    async def put_new(self, key: str, data: bytes) -> bool:
        """Store it where there is no object of that name; of several at once one does, and False for the others."""
