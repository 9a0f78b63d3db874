"""JetStream's error codes that mean something to us (nats-server's server/errors.json)."""

from typing import Final

WRONG_SEQUENCE: Final = 10071  # not what was expected on the subject: another message stands there
# The same message id, or subject, is on its way to the other servers of a cluster: it may be stored yet, or be lost.
IN_PROCESS: Final = (10158, 10164)
NO_LEADER: Final = 10008  # a cluster is electing one, or the server that answers has not heard of it
NO_ROOM: Final = (10023, 10047)  # insufficient resources, of the server or of storage
NO_MESSAGE: Final = 10037
NAME_IN_USE: Final = 10058
NOT_FOUND: Final = 10059  # the stream
