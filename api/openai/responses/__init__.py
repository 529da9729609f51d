"""The Responses API: a response is a job, and its numbered events are computed from the job's event stream."""
