"""What keeps stages running: workers, supervision, recovery."""
