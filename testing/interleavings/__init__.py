"""Interrupts each call to Redis and the object store in turn, and checks what clients were promised."""
