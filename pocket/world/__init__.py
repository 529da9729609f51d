"""The synthetic world that training images show: objects, scenes and renderers."""
