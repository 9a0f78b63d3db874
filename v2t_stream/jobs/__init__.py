"""The state of jobs, and what users can do with them."""
