"""Which engines and services there are and what each can do, known without importing any of them."""
