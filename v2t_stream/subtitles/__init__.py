"""From timed words to subtitles in a style, and from a subtitle file to what breaks a style; pure functions."""
