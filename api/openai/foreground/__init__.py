"""Calls that wait for the job that they have created: how long, and what happens when the client leaves."""
