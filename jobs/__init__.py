"""What all processes agree on: the job model, the job table, objects, wake-ups. Imports runtime and families."""
