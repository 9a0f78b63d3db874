"""Webhooks: whoever a job names, and whoever the settings name, is told that it has ended."""
