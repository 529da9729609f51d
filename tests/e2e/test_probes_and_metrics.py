"""Probes and metrics of every process of a working service."""

import signal
from functools import partial

import pytest

from testing.inputs.request_bodies import question
from testing.processes.monitored import MonitoredService
from testing.processes.servers import Servers
from testing.processes.service import Service


@pytest.fixture
def monitored(isolated_service: Service) -> MonitoredService:
    return MonitoredService(isolated_service)


def test_each_process_is_live_then_ready_and_counts_what_it_does(monitored: MonitoredService) -> None:
    monitored.start("generate")
    # The liveness probe must not kill a worker while it loads the model.
    monitored.service.wait_until(lambda: monitored.status("generate", "/livez") == 200, "generate is live")
    monitored.start("api", "prepare", "keeper")
    for name in monitored.ports:
        monitored.service.wait_until(partial(monitored.is_ready, name), f"{name} is ready")
        assert monitored.status(name, "/livez") == 200
        assert monitored.status(name, "/else") == 404
    service = monitored.service
    service.wait_for_workers(prepare=1, generate=1, keeper=1)  # the port of the API may open after that of its probes
    service.wait_for_end(service.submit(messages=question("Hi."), thinking={"budget_tokens": 4}, max_answer_tokens=3))
    assert service.http.post("/v1/jobs", json={"messages": []}).status_code == 422
    service.http.get("/nowhere")
    # A worker whose last heartbeat was during the job counts as busy until the next one.
    service.wait_until(
        lambda: monitored.samples("keeper")["thinkqueue_workers_wanted{stage=generate}"] == 0, "no worker is wanted"
    )
    found = monitored.samples(*monitored.ports)
    assert found["thinkqueue_requests_total{method=POST,route=/v1/jobs,status=202}"] == 1
    assert found["thinkqueue_refusals_total{code=invalid_request}"] == 1
    assert found["thinkqueue_requests_total{method=unknown,route=unknown,status=404}"] == 1
    assert found["thinkqueue_jobs_ended_total{code=,status=completed}"] == 1
    assert found["thinkqueue_workers{stage=generate,state=ready}"] == 1
    assert found["thinkqueue_phase_seconds_count{phase=decode}"] == 1
    assert found["thinkqueue_first_token_seconds_count{}"] == 1
    assert found["thinkqueue_thinking_cutoffs_total{reason=budget}"] == 1
    assert found["thinkqueue_table_up{}"] == 1
    assert found["thinkqueue_maintenance_runs_total{}"] > 0


def test_without_redis_the_keeper_is_live_and_reports_the_table_down(
    monitored: MonitoredService, servers: Servers
) -> None:
    monitored.start("keeper")
    monitored.service.wait_until(lambda: monitored.status("keeper", "/readyz") == 200, "keeper is ready")
    servers.processes["valkey"].send_signal(signal.SIGSTOP)
    try:
        assert monitored.samples("keeper")["thinkqueue_table_up{}"] == 0
        assert monitored.status("keeper", "/livez") == 200, "a restart would not bring Redis back"
    finally:
        servers.processes["valkey"].send_signal(signal.SIGCONT)


def test_a_port_in_use_is_named(monitored: MonitoredService) -> None:
    monitored.start("keeper")
    monitored.service.wait_until(lambda: monitored.status("keeper", "/livez") == 200, "keeper is live")
    monitored.service.start("keeper2", MONITOR_PORT=str(monitored.ports["keeper"]))
    assert monitored.service.processes["keeper2"].wait(60) == 1
    assert f"MONITOR_PORT={monitored.ports['keeper']} cannot be bound" in monitored.service.log("keeper2")
