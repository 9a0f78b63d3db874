"""From a link to a media file, by yt-dlp, in a process of its own with limits."""
