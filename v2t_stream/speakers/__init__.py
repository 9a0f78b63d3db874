"""Who speaks when: voices found in each chunk by itself, and matched over the whole recording."""
