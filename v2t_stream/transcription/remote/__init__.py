"""Services that transcribe, called over HTTP. Each has one file, with its settings, its descriptor and its calls."""
