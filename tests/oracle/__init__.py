"""Reference implementation of input processing, which runs with torchvision in an environment of its own."""
