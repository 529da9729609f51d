"""The size and the seed of a chaos run, from the environment."""

import os
import random

SEED = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(10**6))
JOBS = int(os.environ.get("CHAOS_JOBS") or 40)
FAULTS = int(os.environ.get("CHAOS_FAULTS") or max(8, JOBS // 20))
