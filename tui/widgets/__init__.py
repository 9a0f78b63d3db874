"""What draws: tables, texts and lines, of any length and at any rate."""
