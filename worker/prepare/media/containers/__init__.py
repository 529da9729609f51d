"""Takes the pixel data out of image files: a damaged or large piece of metadata does not make the pixels unreadable."""
