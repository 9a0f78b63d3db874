"""The JetStream error codes that we handle (nats-server's server/errors.json)."""

from typing import Final

WRONG_SEQUENCE: Final = 10071  # the subject holds another message than expected
# The same message id, or subject, is being replicated in a cluster: it may still be stored, or be lost.
IN_PROCESS: Final = (10158, 10164)
NO_LEADER: Final = 10008  # an election is under way, or this server has not heard of the new leader
NO_ROOM: Final = (10023, 10047)  # not enough resources or storage
NO_STREAM: Final = 10059
NOT_FOUND: Final = (10014, 10037, NO_STREAM)  # consumer, message, stream
IN_USE: Final = (10013, 10058, 10148)  # the name belongs to a consumer or stream with another configuration
NO_PEERS: Final = (10005, 10074)  # too few servers for the replicas, in a cluster or without one
