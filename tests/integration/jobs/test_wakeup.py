"""Wake-up messages on a real Redis."""

import os
import subprocess
import sys

from jobs.model.job import Stage
from jobs.table.scripts import connect
from testing.processes.servers import Servers
from testing.table import Table

SEND = """
from jobs.model.job import Stage
from jobs.wakeup.app import configure_app
from jobs.wakeup.notify import send_wakeup
from runtime.settings import Settings

configure_app(Settings())
send_wakeup(Stage.PREPARE)
"""


def test_a_wakeup_is_sent_although_redis_is_out_of_memory(table: Table, servers: Servers) -> None:
    """From a new process, whose first message also declares the queue."""
    redis = connect(table.settings)
    limit = int(redis.config_get("maxmemory")["maxmemory"] or 0)
    waiting = redis.llen(Stage.PREPARE.value)
    try:
        redis.config_set("maxmemory", int(redis.info("memory")["used_memory"]) // 2)
        sender = subprocess.run(
            [sys.executable, "-c", SEND],
            env={**os.environ, **servers.environment()},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert sender.returncode == 0, sender.stderr
    finally:
        redis.config_set("maxmemory", limit)
    assert redis.llen(Stage.PREPARE.value) == waiting + 1
