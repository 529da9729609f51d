"""The OpenAI surface: turns OpenAI's requests into jobs, and jobs into OpenAI's replies and events.

It contains adapters only: a request becomes a job through ``api/intake``, as a native one does. ``request/`` has what
chat completions and responses read in the same way; each of the two has a folder of its own.
"""
