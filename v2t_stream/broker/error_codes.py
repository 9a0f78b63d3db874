"""JetStream's error codes that mean something to us (nats-server's server/errors.json)."""

from typing import Final

WRONG_SEQUENCE: Final = 10071  # not what was expected on the subject: another message stands there
# The same message id, or subject, is on its way to the other servers of a cluster: it may be stored yet, or be lost.
IN_PROCESS: Final = (10158, 10164)
NO_LEADER: Final = 10008  # a cluster is electing one, or the server that answers has not heard of it
NO_ROOM: Final = (10023, 10047)  # insufficient resources, of the server or of storage
NO_STREAM: Final = 10059
NOT_FOUND: Final = (10014, 10037, NO_STREAM)  # consumer, message, stream
IN_USE: Final = (10013, 10058, 10148)  # the name of a consumer or a stream, by one that is set up otherwise
NO_PEERS: Final = (10005, 10074)  # too few servers for the replicas, in a cluster or without one
