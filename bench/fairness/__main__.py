"""Measure how much one tenant's flood delays another tenant, one kind of flood at a time.

    python -m bench.fairness                    all kinds, about 20 minutes
    python -m bench.fairness "slow PDFs" cancels

The whole service runs on this machine with one process of each kind, API keys and its default limits. Before each kind
the neighbour is measured alone. A kind passes if no median and no p99 more than doubles; times below 100 ms do not
count. The flood's client and its server run at a lower CPU priority, because they would have machines of their own.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from bench.fairness.flooding import end_jobs, flooding
from bench.fairness.floods import FLOODS
from bench.fairness.floods.files import write_files
from bench.fairness.floods.flooder import Target
from bench.fairness.neighbour import Neighbour, Samples, webhook_receiver
from bench.fairness.report import failed_measures, row
from jobs.table.scripts import connect
from jobs.tenants.api_keys import ApiKey, ApiKeyStore
from pocket.training.untrained import build
from testing.processes.servers import free_ports
from testing.processes.service import ALL, Service, standalone_service

ALONE_S = 10.0
WARM_UP_S = 8.0
FLOODED_S = 25.0


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in FLOODS]
    if unknown:
        print(f"unknown: {', '.join(unknown)}; known: {', '.join(FLOODS)}")
        return 2
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "files"
        files.mkdir()
        write_files(files)
        with standalone_service(Path(folder), build(Path(folder) / "pocket")) as service:
            service.start(*ALL, AUTH="keys", EGRESS_LOOPBACK_WITH_KEYS="true")
            service.wait_for_workers(prepare=1, generate=1, keeper=1)
            return asyncio.run(measure_all(names or list(FLOODS), service, files))


async def measure_all(names: list[str], service: Service, files: Path) -> int:
    keys = ApiKeyStore(connect(service.table.settings), service.table.object_store)
    failed = 0
    async with webhook_receiver(free_ports()) as webhooks:
        neighbour = Neighbour(service.url, keys.create(ApiKey("", "neighbour"))[1], webhooks)
        await neighbour.measure(5)  # so that connections, caches and kernels are warm
        for number, name in enumerate(names):
            token = keys.create(ApiKey("", f"flood-{number}"))[1]
            port = free_ports()
            alone = await neighbour.measure(ALONE_S)
            with flooding(name, Target(service.url, token, port, files)):
                await asyncio.sleep(WARM_UP_S)
                flooded = await neighbour.measure(FLOODED_S)
            failed += bool(_print(name, alone, flooded))
            await end_jobs(service.url, token)
        await neighbour.close()
    print(f"{len(names) - failed} of {len(names)} kinds pass")
    return 1 if failed else 0


def _print(name: str, alone: Samples, flooded: Samples) -> list[str]:
    print(row(name, alone, flooded), flush=True)
    for error in sorted(set(flooded.errors))[:3]:
        print(f"    {flooded.errors.count(error)} × {error}", flush=True)
    return failed_measures(alone, flooded)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
