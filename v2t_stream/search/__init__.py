"""Finds what was said in any transcript: an index on this machine, made of the store and thrown away at will."""
