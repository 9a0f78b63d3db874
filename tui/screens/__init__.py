"""One file a screen or a dialog."""
