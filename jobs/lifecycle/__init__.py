"""The steps of a job's life that use both Redis and the object store: finalize, archive, delete, recover."""
