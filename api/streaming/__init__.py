"""Delivers the event streams of jobs to the clients that follow them."""
