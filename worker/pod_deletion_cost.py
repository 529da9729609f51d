"""Sets the deletion cost of each generate pod, on Kubernetes only: ``python -m worker.pod_deletion_cost``.

An HPA removes the pods with the lowest deletion cost first. Without one, a busy worker may be removed while an idle
one stays. This is a separate process because it alone holds a token of the cluster. While it is away nothing is lost:
a busy worker that is removed releases its jobs.
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
from jobs.table.reports.stats import StatsReader, WorkerStats
from jobs.table.scripts import connect
from runtime.settings.read import read_settings
from runtime.telemetry.logs import configure_logs
from runtime.telemetry.probes import start_probe_server

log = structlog.get_logger(__name__)

REPORT_INTERVAL_S = 10.0
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
ANNOTATION = "controller.kubernetes.io/pod-deletion-cost"


class PodDeletionCosts:
    """Reports how many jobs each generate worker runs as the deletion cost of its pod."""

    def __init__(self, api: httpx.Client, namespace: str, read_token: Callable[[], str]) -> None:
        self._api = api
        self._namespace = namespace
        self._read_token = read_token
        self._reported: dict[str, int] = {}

    def report(self, workers: list[WorkerStats]) -> None:
        """Patch the pods whose cost has changed. Ignores pods that are gone or belong to another cluster."""
        costs = {worker.id.partition(":")[0]: worker.slots - worker.free for worker in workers}
        for pod, cost in costs.items():
            if self._reported.get(pod) != cost:
                self._patch(pod, cost)
        self._reported = costs

    def _patch(self, pod: str, cost: int) -> None:
        reply = self._api.patch(
            f"/api/v1/namespaces/{self._namespace}/pods/{pod}",
            json={"metadata": {"annotations": {ANNOTATION: str(cost)}}},
            # Kubernetes replaces the token every hour.
            headers={"Content-Type": "application/merge-patch+json", "Authorization": f"Bearer {self._read_token()}"},
        )
        if reply.status_code not in (200, 404):
            log.warning("pod.cost_refused", pod=pod, status=reply.status_code)


def cluster_url() -> str:
    """Return the URL of the Kubernetes API of this pod's cluster.

    Raises:
        SystemExit: the process runs outside of a cluster, or has no service account token.
    """
    host, port = (os.environ.get(f"KUBERNETES_SERVICE_{part}", "") for part in ("HOST", "PORT"))
    if not host or not port:
        sys.exit(
            "worker.pod_deletion_cost runs only in a pod of Kubernetes: KUBERNETES_SERVICE_HOST and "
            "KUBERNETES_SERVICE_PORT are not set."
        )
    if missing := [name for name in ("ca.crt", "namespace", "token") if not (SERVICE_ACCOUNT / name).is_file()]:
        sys.exit(
            f"worker.pod_deletion_cost finds no {missing[0]} in {SERVICE_ACCOUNT}: give its pod a service account "
            "that may patch pods, and set automountServiceAccountToken: true, as in k8s/keda/pod-deletion-cost.yaml."
        )
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


def main() -> None:
    url = cluster_url()
    settings = read_settings()
    configure_logs(settings, process="pod_deletion_cost")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    reader = StatsReader(connect(settings), lease_s=settings.lease_s)
    start_probe_server(settings, process="pod_deletion_cost")
    with httpx.Client(base_url=url, verify=str(SERVICE_ACCOUNT / "ca.crt"), timeout=10) as api:
        namespace, token = SERVICE_ACCOUNT / "namespace", SERVICE_ACCOUNT / "token"
        costs = PodDeletionCosts(api, namespace.read_text(), token.read_text)
        while not stop.is_set():
            try:
                costs.report(list(reader.read().stages[Stage.GENERATE].workers))
            except (ThinkqueueError, httpx.HTTPError) as error:
                log.warning("pod.costs_failed", error=type(error).__name__)
            stop.wait(REPORT_INTERVAL_S)


if __name__ == "__main__":
    main()
