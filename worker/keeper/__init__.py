"""The keeper: the process that delivers webhooks and maintains the job table."""
