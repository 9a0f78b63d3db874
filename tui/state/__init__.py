"""What the monitor knows, and what it makes of that to show it."""
