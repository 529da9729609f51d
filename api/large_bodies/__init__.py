"""Handles requests with large bodies in a process of its own.

Parsing, decoding and hashing 8 MB hold Python's global lock for tens of milliseconds at a time. In the process that
answers everyone's small calls, one tenant's large bodies made the calls of others take half a second.
"""
