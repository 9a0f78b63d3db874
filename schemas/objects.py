"""What the store and the facts say of one object."""

import msgspec


class Version(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which bytes a name stood for: what is put under the same name later has another."""

    etag: str = ""  # as the server has it, without quotes; empty where it is not known
    id: str = ""  # empty where the bucket keeps no versions
