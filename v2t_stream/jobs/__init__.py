"""What is known of a job, and what can be asked of it."""
