"""From an image file to upright RGB pixels."""
