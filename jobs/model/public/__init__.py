"""The form in which clients receive a job."""
