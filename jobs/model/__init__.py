"""The data types of a job: record, request, result, events. Performs no I/O."""
