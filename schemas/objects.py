"""Object versions, for the store and the facts."""

import msgspec


class Version(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Identifies the bytes under a name; a later upload of that name has another version."""

    etag: str = ""  # the server's, without quotes; empty if unknown
    id: str = ""  # empty if the bucket keeps no versions
