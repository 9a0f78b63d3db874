"""The HTTP API and the page of `v2t serve`.

One process, or any number of them: what they know is in the streams and the store, as for everybody else.
"""
