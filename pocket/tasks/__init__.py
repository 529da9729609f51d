"""What the pocket model can be asked: each skill draws its own examples, endless, from a generator of chance."""
