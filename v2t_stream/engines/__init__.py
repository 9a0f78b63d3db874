"""The installed engines and services and what each can do, without importing any of them."""
