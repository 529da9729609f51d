"""What the flooding tenant does, one kind at a time."""

from bench.fairness.floods.connections import CONNECTION_FLOODS
from bench.fairness.floods.files import FILE_FLOODS
from bench.fairness.floods.flooder import Flood
from bench.fairness.floods.jobs import JOB_FLOODS
from bench.fairness.floods.webhooks import WEBHOOK_FLOODS

FLOODS: dict[str, Flood] = {**JOB_FLOODS, **WEBHOOK_FLOODS, **CONNECTION_FLOODS, **FILE_FLOODS}
"""By name, in the order of the table."""
