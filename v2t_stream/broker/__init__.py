"""Everything that speaks NATS: connection, requests, login, the embedded server."""
