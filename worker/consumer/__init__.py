"""The receiving side of Celery: runs the consumer of one stage and restarts it when it stalls."""
