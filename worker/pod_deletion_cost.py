"""PROCESS, on Kubernetes only: tells it which gpu pods have jobs, so that scaling down takes the idle ones first.

``python -m worker.pod_deletion_cost``. An HPA picks the pods that it ends by their deletion cost; without one, a
busy worker
may go while an idle one stays. A process of its own, because it alone holds a token of the cluster. Nothing is lost
while it is away: a busy worker that must go hands its jobs back.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import structlog

from jobs.errors import ThinkqueueError
from jobs.model.job import Stage
from jobs.table.scripts import connect
from jobs.table.stats import StatsReader, WorkerStats
from runtime.logs import configure_logs
from runtime.probes import start_probe_server
from runtime.settings import Settings

log = structlog.get_logger(__name__)

EVERY_S = 10.0
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
COST = "controller.kubernetes.io/pod-deletion-cost"


class PodCosts:
    """The number of its jobs, as each generate worker's deletion cost."""

    def __init__(self, api: httpx.Client, namespace: str, token: Callable[[], str]) -> None:
        self._api = api
        self._namespace = namespace
        self._token = token
        self._told: dict[str, int] = {}

    def tell(self, workers: list[WorkerStats]) -> None:
        """Only what has changed. A pod that is gone, or is none of this cluster, is passed over."""
        costs = {worker.id.partition(":")[0]: worker.slots - worker.free for worker in workers}
        for pod, cost in costs.items():
            if self._told.get(pod) != cost:
                self._patch(pod, cost)
        self._told = costs

    def _patch(self, pod: str, cost: int) -> None:
        reply = self._api.patch(
            f"/api/v1/namespaces/{self._namespace}/pods/{pod}",
            json={"metadata": {"annotations": {COST: str(cost)}}},
            # The token is replaced every hour.
            headers={"Content-Type": "application/merge-patch+json", "Authorization": f"Bearer {self._token()}"},
        )
        if reply.status_code not in (200, 404):
            log.warning("pod.cost_refused", pod=pod, status=reply.status_code)


def cluster_url() -> str:
    """Of the cluster that this pod is in; ends the process where there is none, or no token of it."""
    host, port = (os.environ.get(f"KUBERNETES_SERVICE_{part}", "") for part in ("HOST", "PORT"))
    if not host or not port:
        sys.exit(
            "worker.pod_deletion_cost runs in a pod of Kubernetes only: KUBERNETES_SERVICE_HOST and _PORT are not set."
        )
    if missing := [name for name in ("ca.crt", "namespace", "token") if not (ACCOUNT / name).is_file()]:
        sys.exit(
            f"worker.pod_deletion_cost finds no {missing[0]} in {ACCOUNT}: give its pod a service account "
            "that may patch pods, "
            "and automountServiceAccountToken: true, as k8s/keda/pod-deletion-cost.yaml does."
        )
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


def main() -> None:
    url = cluster_url()
    settings = Settings()
    configure_logs(settings, process="pod_costs")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    reader = StatsReader(connect(settings), lease_s=settings.lease_s)
    start_probe_server(settings)
    with httpx.Client(base_url=url, verify=str(ACCOUNT / "ca.crt"), timeout=10) as api:
        costs = PodCosts(api, (ACCOUNT / "namespace").read_text(), lambda: (ACCOUNT / "token").read_text())
        while not stop.is_set():
            try:
                costs.tell(list(reader.read().stages[Stage.GENERATE].workers))
            except (ThinkqueueError, httpx.HTTPError) as error:
                log.warning("pod.costs_failed", error=type(error).__name__)
            stop.wait(EVERY_S)


if __name__ == "__main__":
    main()
