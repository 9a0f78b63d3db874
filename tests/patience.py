"""How long a test waits for something that must happen."""

# Only a failure takes this long, even on a slow and busy machine; pytest's own limit for a test is higher.
PATIENCE = 120.0  # seconds
