"""The exceptions of this project. Every text is one sentence for the user: what, with which input, what to do.

    V2TError
    ├── SettingsError      a setting is wrong or unknown
    ├── BrokerError        NATS cannot be reached, is too old, or refuses
    │   ├── StoreChanged   NATS is back with other streams than before
    │   ├── Denied         this user may not do that
    │   └── Refused        the server says no, with its code
    ├── StoreError         the object store failed
    │   ├── ObjectMissing  no such object
    │   │   └── VersionGone    the object exists, but not in that version
    │   ├── InvalidKey     no object can have that name
    │   ├── Taken          another object has that name, and none replaces it
    │   ├── Forbidden      this user may not, or no such bucket
    │   └── StoreAway      the store cannot be reached now
    ├── Unready            this machine is still fetching what the work needs
    ├── Hung               work does not end, and holds a thread of this process
    ├── Moot               nobody needs the result of this work any more
    ├── Reject             a stage: this message can never be done
    │   ├── NoDemo         this engine has no demo model
    │   └── UploadStopped  the file that the job reads while it arrives does not arrive
    └── Retry              a stage: not now, try again after a delay
        ├── Full           other work occupies what it needs on this machine
        ├── Unusable       a provider's set-up is wrong
        └── Elsewhere      this machine is not set up for it, but another may be

Modules translate foreign exceptions where they catch them. Any other exception of a stage is a bug, and is retried.
"""

from typing import ClassVar


class V2TError(Exception):
    """The root: users see its text unchanged."""

    EXIT_CODE: ClassVar[int] = 1  # the exit code of a command that ends with it
    BLAMELESS: ClassVar[bool] = False  # not the request's fault: retry for longer


class SettingsError(V2TError):
    """A setting or an argument is wrong or unknown."""


class BrokerError(V2TError):
    """NATS cannot be reached, is too old, or refused."""


class StoreChanged(BrokerError):
    """After a reconnect the streams are not those we worked on: our work in hand does not belong there."""


class Denied(BrokerError):
    """NATS does not allow this user's request; it will not change its mind."""


class Refused(BrokerError):
    """The NATS server refused a request."""

    def __init__(self, message: str, code: int = 0, description: str = "") -> None:
        """`code`: the server's err_code (broker/error_codes.py), 0 if it gave none; `description`: its own words."""
        super().__init__(message)
        self.code = code
        self.description = description


class StoreError(V2TError):
    """The object store could not fulfil a request."""


class ObjectMissing(StoreError):
    """The store has no object of that name."""


class VersionGone(ObjectMissing):
    """The object was replaced, or that version was removed."""


class InvalidKey(StoreError):
    """No object can have that name, or an existing one rules it out."""


class Taken(StoreError):
    """Another object has that name, and none may replace it."""


class Forbidden(StoreError):
    """The user may not access it, or the bucket does not exist: neither changes by itself."""


class StoreAway(StoreError):
    """The object store cannot be reached now."""

    BLAMELESS = True


class Unready(V2TError):
    """The machine is still fetching what the work needs, such as a large model."""

    BLAMELESS = True


class Hung(V2TError):
    """Cancelled work does not end, so this process must."""


class Moot(V2TError):
    """The result does not count, because somebody else ended its run meanwhile."""


class Reject(V2TError):
    """A stage raises this for a message that can never succeed: it goes to the dead letters."""

    def __init__(self, message: str, *, field: str = "") -> None:
        """`field`: of the submission, if one is to blame."""
        super().__init__(message)
        self.field = field


class NoDemo(Reject):
    """The engine has no demo model."""


class UploadStopped(Reject):
    """A file whose job began while it was being uploaded will not be whole."""


class Foreign(V2TError):
    """A well-formed message that this release does not know; a node of another release may."""


class Retry(V2TError):
    """A stage raises this for a message that may succeed later: it comes again after `delay` seconds."""

    def __init__(self, message: str, delay: float | None = None) -> None:
        super().__init__(message)
        self.delay = delay  # seconds; None: the worker's backoff


class Full(Retry):
    """Other work occupies what this work needs, such as a GPU's memory."""

    BLAMELESS = True


class Unusable(Retry):
    """A provider's set-up is wrong, such as a missing key: an immediate retry changes nothing."""


class Elsewhere(Retry):
    """The work needs a machine with another set-up than this one's."""

    BLAMELESS = True
