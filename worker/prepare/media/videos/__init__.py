"""From a video file to frames with their times."""
