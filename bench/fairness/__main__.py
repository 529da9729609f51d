"""Measure how much one tenant's flood delays another tenant, one kind of flood at a time.

    python -m bench.fairness                    all kinds, about 25 minutes
    python -m bench.fairness "slow PDFs" cancels

The whole service runs on this machine with one process of each kind, API keys and its default limits. Each kind gets a
new service with empty servers, where the neighbour is first measured alone. A kind passes if no median and no p99 more
than doubles; times below 100 ms do not count. The flood's client and its server run at the lowest CPU priority, because
they would have machines of their own.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from bench.fairness.flooding import flooding
from bench.fairness.floods import FLOODS
from bench.fairness.floods.files import write_files
from bench.fairness.floods.flooder import Target
from bench.fairness.neighbour import Neighbour, Samples, webhook_receiver
from bench.fairness.report import failed_measures, row
from jobs.table.scripts import connect
from jobs.tenants.api_key import ApiKey
from jobs.tenants.api_keys import ApiKeyStore
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
    names = names or list(FLOODS)
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        files, model = Path(folder) / "files", build(Path(folder) / "pocket")
        files.mkdir()
        write_files(files)
        for number, name in enumerate(names):
            data = Path(folder) / str(number)
            data.mkdir()
            with standalone_service(data, model) as service:
                service.start(*ALL, AUTH="keys", EGRESS_LOOPBACK_WITH_KEYS="true")
                service.wait_for_workers(prepare=1, generate=1, keeper=1)
                failed += bool(_print(name, *asyncio.run(measure(name, service, files))))
    print(f"{len(names) - failed} of {len(names)} kinds pass")
    return 1 if failed else 0


async def measure(name: str, service: Service, files: Path) -> tuple[Samples, Samples]:
    """Return the neighbour's samples alone and beside the flood."""
    keys = ApiKeyStore(connect(service.table.settings), service.table.object_store)
    target = Target(service.url, keys.create(ApiKey("", "flood"))[1], free_ports(), files)
    async with webhook_receiver(free_ports()) as webhooks:
        neighbour = Neighbour(service.url, keys.create(ApiKey("", "neighbour"))[1], webhooks)
        await neighbour.measure(WARM_UP_S)  # so that connections, caches and kernels are warm
        alone = await neighbour.measure(ALONE_S)
        with flooding(name, target):
            await asyncio.sleep(WARM_UP_S)
            flooded = await neighbour.measure(FLOODED_S)
        await neighbour.close()
    return alone, flooded


def _print(name: str, alone: Samples, flooded: Samples) -> list[str]:
    print(row(name, alone, flooded), flush=True)
    for error in sorted(set(flooded.errors))[:3]:
        print(f"    {flooded.errors.count(error)} × {error}", flush=True)
    return failed_measures(alone, flooded)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
