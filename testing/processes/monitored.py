"""A service whose processes serve probes and metrics, each on a port of its own."""

from collections import defaultdict

import httpx
from prometheus_client.parser import text_string_to_metric_families

from testing.processes.servers import free_ports
from testing.processes.service import MODULES, Service, spawn


class MonitoredService:
    """Starts real processes: forks of one process could share their metrics."""

    def __init__(self, service: Service) -> None:
        self.service = service
        service.spawn = spawn
        first = free_ports(len(MODULES))
        self.ports = {name: first + step for step, name in enumerate(MODULES)}

    def start(self, *names: str) -> None:
        for name in names:
            self.service.start(name, MONITOR_PORT=str(self.ports[name]))

    def get(self, name: str, path: str) -> httpx.Response:
        # The client of the service: creating one loads the certificates of the machine, which costs CPU time.
        return self.service.http.get(f"http://127.0.0.1:{self.ports[name]}{path}")

    def status(self, name: str, path: str) -> int:
        """Return the status of a reply; 0 without one."""
        try:
            return self.get(name, path).status_code
        except httpx.HTTPError:
            return 0

    def is_ready(self, name: str) -> bool:
        return self.status(name, "/readyz") == 200

    def samples(self, *names: str) -> dict[str, float]:
        """Return the metrics of some processes, added up, by name and labels."""
        found: dict[str, float] = defaultdict(float)
        for name in names:
            for family in text_string_to_metric_families(self.get(name, "/metrics").text):
                for sample in family.samples:
                    labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
                    found[f"{sample.name}{{{labels}}}"] += sample.value
        return found
