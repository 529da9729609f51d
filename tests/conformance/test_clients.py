"""Unmodified clients of other projects use the service."""

from collections.abc import Iterator

import pytest

from testing.processes.servers import Servers
from testing.processes.service import Service, started_service
from tests.conformance.environment import CLIENTS, Client, run_client


@pytest.fixture(scope="module")
def conformance_service(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    logs = tmp_path_factory.mktemp("conformance-service")
    with started_service(servers, "conformance", logs, "pocket", MODEL_ALIASES="local/alias") as service:
        yield service


@pytest.mark.slow
@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: f"{client.name} {client.program}")
def test_every_feature_works(conformance_service: Service, client: Client) -> None:
    outcome = run_client(client, conformance_service.url)
    assert {name: said for name, said in outcome.items() if said != "ok"} == {}
    assert len(outcome) >= 3
