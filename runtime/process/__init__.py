"""The process itself: its CPUs and memory, its garbage collector, and its end when it has stalled."""
