"""The JSON documents of a job in the object store."""
