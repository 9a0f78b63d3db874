"""The exceptions of this project. Every text is one sentence for the user: what, with which input, what to do.

    V2TError
    ├── SettingsError      a setting is wrong or unknown
    ├── BrokerError        NATS cannot be reached, is too old, or refuses
    │   ├── StoreChanged   NATS is back with other streams than before
    │   ├── Denied         this user may not do that
    │   └── Refused        the server says no, with its code
    ├── StoreError         the object store failed
    │   ├── ObjectMissing  there is no such object
    │   │   └── VersionGone    there is one of that name, but not that version of it
    │   ├── InvalidKey     no object can have that name
    │   ├── Forbidden      this user may not, or there is no such bucket
    │   └── StoreAway      it cannot be reached at present
    ├── Unready            what the work needs is still on its way to this machine
    ├── Hung               work does not end, and holds a thread of this process
    ├── Reject             a stage: this message can never be done
    └── Retry              a stage: not now, try again after a delay
        ├── Full           what it needs of this machine is taken by others at present
        ├── Unusable       a provider cannot work as it is set up
        └── Elsewhere      this machine is not set up for it, another may be

Foreign exceptions are translated where they enter; what a stage raises beside these counts as a bug and is retried.
"""

from typing import ClassVar


class V2TError(Exception):
    """The root: its text is shown to the user as it is."""

    EXIT_CODE: ClassVar[int] = 1  # of a command that ends with it
    BLAMELESS: ClassVar[bool] = False  # no failure of what was asked: it is tried for longer


class SettingsError(V2TError):
    """A setting or an argument is wrong or unknown."""


class BrokerError(V2TError):
    """NATS cannot be reached, is too old for what we need, or refused."""


class StoreChanged(BrokerError):
    """After a reconnect the streams are not those we worked on: nothing in hand belongs there."""


class Denied(BrokerError):
    """NATS does not allow this user what was asked; it will not change its mind."""


class Refused(BrokerError):
    """The NATS server refused a request."""

    def __init__(self, message: str, code: int = 0, description: str = "") -> None:
        """`code`: the server's err_code (broker/error_codes.py), 0 where it gave none; `description`: its own words."""
        super().__init__(message)
        self.code = code
        self.description = description


class StoreError(V2TError):
    """The object store could not do what was asked."""


class ObjectMissing(StoreError):
    """There is no object of that name."""


class VersionGone(ObjectMissing):
    """The object was replaced, or that version of it removed."""


class InvalidKey(StoreError):
    """No object can have that name, or none beside those that are there."""


class Forbidden(StoreError):
    """It is not for this user, or there is no such bucket: that will not change by itself."""


class StoreAway(StoreError):
    """The object store cannot be reached at present."""

    BLAMELESS = True


class Unready(V2TError):
    """What the work needs is still on its way to this machine, such as a large model."""

    BLAMELESS = True


class Hung(V2TError):
    """Work that was cancelled does not end: this process must."""


class Reject(V2TError):
    """Raised by a stage for what can never succeed: the message goes to the dead letters."""


class Foreign(V2TError):
    """A message that is well formed and not as this release knows it: a node of another may."""


class Retry(V2TError):
    """Raised by a stage for what may succeed later: the message is delivered again after `delay` seconds."""

    def __init__(self, message: str, delay: float | None = None) -> None:
        super().__init__(message)
        self.delay = delay  # seconds; None: the worker's backoff


class Full(Retry):
    """What the work needs is taken by others at present, such as a GPU's memory."""

    BLAMELESS = True


class Unusable(Retry):
    """A provider cannot work as it is set up, as without a key: trying it again at once changes nothing."""


class Elsewhere(Retry):
    """The work needs a machine that is set up for it, as this one is not and another may be."""

    BLAMELESS = True
