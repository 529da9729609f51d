"""Entry point of the keeper process: ``python -m worker.keeper``.

The keeper delivers webhooks and maintains the job table. It uses asyncio and no Celery. Two may run at once.
"""

import asyncio
import signal

from runtime.settings import Settings
from runtime.settings.read import read_settings
from runtime.telemetry.logs import configure_logs
from worker.keeper.keeper import run_keeper


async def run(settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await run_keeper(settings, stop)


def main() -> None:
    settings = read_settings()
    configure_logs(settings, process="keeper")
    asyncio.run(run(settings))


if __name__ == "__main__":
    main()
