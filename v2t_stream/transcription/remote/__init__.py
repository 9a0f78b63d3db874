"""Services that transcribe, called over HTTP: a file each, with its settings, its descriptor and its calls."""
