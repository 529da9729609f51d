"""What is read of many jobs at once: lists, statistics and usage."""
