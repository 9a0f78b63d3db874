"""Stores bytes: media, chunks and transcripts, in NATS or on an S3 server."""
