"""What those who watch over the service see: probes and metrics of every process, while it works."""

import signal
from collections import defaultdict

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from testing.request_bodies import question
from testing.servers import Servers, free_ports
from testing.service import Service


class Watched:
    """A service whose processes answer on ports of their own."""

    def __init__(self, service: Service) -> None:
        self.service = service
        first = free_ports(4)
        self.ports = {name: first + step for step, name in enumerate(("api", "prepare", "generate", "keeper"))}

    def start(self, *names: str) -> None:
        for name in names:
            self.service.start(name, MONITOR_PORT=str(self.ports[name]))

    def get(self, name: str, path: str) -> httpx.Response:
        # The service's client: making one loads the machine's certificates, which takes the CPU from the workers.
        return self.service.http.get(f"http://127.0.0.1:{self.ports[name]}{path}", timeout=5)

    def status(self, name: str, path: str) -> int:
        try:
            return self.get(name, path).status_code
        except httpx.HTTPError:
            return 0

    def samples(self, *names: str) -> dict[str, float]:
        """The sums over some processes, by name and labels as they are written."""
        found: dict[str, float] = defaultdict(float)
        for name in names:
            for family in text_string_to_metric_families(self.get(name, "/metrics").text):
                for sample in family.samples:
                    labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
                    found[f"{sample.name}{{{labels}}}"] += sample.value
        return found


@pytest.fixture
def watched(isolated_service: Service) -> Watched:
    return Watched(isolated_service)


def test_each_process_is_live_then_ready_and_counts_what_it_does(watched: Watched) -> None:
    watched.start("generate")
    # The model is loaded before the first job is taken, and a probe must not kill it meanwhile.
    watched.service.wait_until(lambda: watched.status("generate", "/livez") == 200, "a live generate worker")
    watched.start("api", "prepare", "keeper")
    for name in watched.ports:
        watched.service.wait_until(lambda name=name: watched.status(name, "/readyz") == 200, f"a ready {name}", 60)
        assert watched.status(name, "/livez") == 200
        assert watched.status(name, "/else") == 404
    service = watched.service
    service.wait_for_workers(prepare=2, generate=1, keeper=1)  # the api's own port may open later than its probes' one
    service.wait_for_end(service.submit(messages=question("Hi."), thinking={"budget_tokens": 4}, max_answer_tokens=3))
    assert service.http.post("/v1/jobs", json={"messages": []}).status_code == 422
    service.http.get("/nowhere")
    # A worker that beat while it had the job is busy until its next beat.
    service.wait_until(
        lambda: watched.samples("keeper")["thinkqueue_workers_wanted{stage=generate}"] == 0, "idle worker"
    )
    found = watched.samples(*watched.ports)
    assert found["thinkqueue_requests_total{method=POST,route=/v1/jobs,status=202}"] == 1
    assert found["thinkqueue_refusals_total{code=invalid_request}"] == 1
    assert found["thinkqueue_requests_total{method=unknown,route=unknown,status=404}"] == 1
    assert found["thinkqueue_jobs_ended_total{code=,status=completed}"] == 1
    assert found["thinkqueue_workers{stage=generate,state=ready}"] == 1
    assert found["thinkqueue_stage_seconds_count{stage=decode}"] == 1
    assert found["thinkqueue_first_token_seconds_count{}"] == 1
    assert found["thinkqueue_thinking_cutoffs_total{reason=budget}"] == 1
    assert found["thinkqueue_table_up{}"] == 1
    assert found["thinkqueue_maintenance_runs_total{}"] > 0


def test_without_redis_probes_hold_and_the_table_is_told_to_be_down(watched: Watched, servers: Servers) -> None:
    watched.start("keeper")
    watched.service.wait_until(lambda: watched.status("keeper", "/readyz") == 200, "a ready keeper")
    servers.processes["valkey"].send_signal(signal.SIGSTOP)
    try:
        assert watched.samples("keeper")["thinkqueue_table_up{}"] == 0
        assert watched.status("keeper", "/livez") == 200, "a new start would not bring Redis back"
    finally:
        servers.processes["valkey"].send_signal(signal.SIGCONT)


def test_a_taken_port_is_named(watched: Watched) -> None:
    watched.start("keeper")
    watched.service.wait_until(lambda: watched.status("keeper", "/livez") == 200, "a live keeper")
    watched.service.start("keeper2", MONITOR_PORT=str(watched.ports["keeper"]))
    assert watched.service.processes["keeper2"].wait(30) == 1
    assert f"MONITOR_PORT={watched.ports['keeper']} cannot be bound" in watched.service.log("keeper2")
