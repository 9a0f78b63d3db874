"""Which processes are alive, and what each of them does."""
