"""How long a test waits for what must come."""

# Only a failure takes as long, on however slow and busy a machine; pytest's own limit for a test is above it.
PATIENCE = 120.0  # seconds
