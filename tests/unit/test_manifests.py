"""The Kubernetes manifests match the code that they run; `make lint` checks their schemas."""

import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest

from api.schemas.autoscale import AutoscaleReply, StageScale
from k8s.check import OVERLAYS, built, faults_of, images, kept, unequal_versions
from runtime.settings import Settings
from runtime.special_networks import GLOBAL_UNICAST, SPECIAL_IPV4, SPECIAL_IPV6

PROBES = ("livenessProbe", "readinessProbe", "startupProbe")

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is missing")


@pytest.fixture(scope="module", params=OVERLAYS)
def objects(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    return built(request.param)


def of_kind(objects: list[dict[str, Any]], *kinds: str) -> Iterator[tuple[str, dict[str, Any]]]:
    return ((item["metadata"]["name"], item) for item in objects if item["kind"] in kinds)


def pods(objects: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, item in of_kind(objects, "Deployment", "StatefulSet", "Job"):
        yield name, item["spec"]["template"]["spec"]


def test_each_container_runs_a_program_that_exists_as_process_one(objects: list[dict[str, Any]]) -> None:
    for name, pod in pods(objects):
        for container in pod["containers"]:
            if not container["image"].startswith(("thinkqueue", "registry.example.com/thinkqueue")):
                continue
            command = container["command"]
            if command[:2] == ["python", "-m"]:
                assert find_spec(command[2]) is not None, name
            else:
                assert command[:2] in (["thinkqueue", "init"], ["hf", "download"]), name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_one_number_sets_the_version_of_every_image(overlay: str) -> None:
    assert kept(overlay) == []
    assert unequal_versions() == []


def test_programs_with_torch_and_without_have_images_of_different_names(objects: list[dict[str, Any]]) -> None:
    named = {name: image.rpartition("/")[2].partition(":")[0] for name, image in images(objects)}
    assert named["Deployment api"] == named["Deployment keeper"] == named["Deployment prepare"] == "thinkqueue"
    assert named["Deployment generate"] in ("thinkqueue-gpu", "thinkqueue-cpu")


def test_another_namespace_reaches_the_triggers_and_bindings() -> None:
    built_elsewhere = built("production", namespace="elsewhere")
    assert {item["metadata"]["namespace"] for item in built_elsewhere} == {"elsewhere"}
    for _, item in of_kind(built_elsewhere, "ScaledObject"):
        assert item["spec"]["triggers"][0]["metadata"]["url"] == "http://api.elsewhere.svc/v1/autoscale"
    for _, item in of_kind(built_elsewhere, "RoleBinding"):
        assert item["subjects"][0]["namespace"] == "elsewhere"


def test_a_gpu_worker_never_runs_its_model_on_the_cpu() -> None:
    container = dict(pods(built("production")))["generate"]["containers"][0]
    assert {"name": "MODEL_DEVICE", "value": "cuda"} in container["env"]


def test_no_disruption_budget_blocks_every_drain(objects: list[dict[str, Any]]) -> None:
    for name, item in of_kind(objects, "PodDisruptionBudget"):
        assert item["spec"]["maxUnavailable"] >= 1, name


def test_no_pod_may_do_more_than_it_must(objects: list[dict[str, Any]]) -> None:
    for name, pod in pods(objects):
        assert pod["automountServiceAccountToken"] is (name == "pod-deletion-cost"), name
        assert pod["securityContext"]["runAsNonRoot"], name
        for container in pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"], name
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name
            assert "memory" in container["resources"]["limits"], name


def test_probes_ask_for_what_is_answered(objects: list[dict[str, Any]]) -> None:
    for name, pod in pods(objects):
        for container in pod["containers"]:
            ports = {port["name"] for port in container.get("ports", ())}
            for probe in (container[kind] for kind in PROBES if kind in container):
                if "httpGet" in probe:
                    assert probe["httpGet"]["path"] in ("/livez", "/readyz", "/healthz"), name
                    assert probe["httpGet"]["port"] in ports, name


def test_the_policy_on_outgoing_requests_refuses_what_the_code_refuses(objects: list[dict[str, Any]]) -> None:
    policy = dict(of_kind(objects, "NetworkPolicy"))["out"]
    blocks = {to["ipBlock"]["cidr"]: to["ipBlock"]["except"] for rule in policy["spec"]["egress"] for to in rule["to"]}
    assert blocks == {
        "0.0.0.0/0": [str(network) for network in SPECIAL_IPV4],
        str(GLOBAL_UNICAST): [str(network) for network in SPECIAL_IPV6],
    }


def test_each_setting_exists(objects: list[dict[str, Any]]) -> None:
    names = {name.upper() for name in Settings.model_fields}
    for _, item in of_kind(objects, "ConfigMap"):
        assert set(item["data"]) <= names


def test_a_gpu_worker_has_time_to_load_and_to_drain(objects: list[dict[str, Any]]) -> None:
    pod = dict(pods(objects))["generate"]
    assert pod["terminationGracePeriodSeconds"] >= Settings.model_fields["generate_drain_grace_s"].default + 30
    probe = pod["containers"][0]["startupProbe"]
    deadline = dict(of_kind(objects, "Deployment"))["generate"]["spec"]["progressDeadlineSeconds"]
    assert deadline > probe["periodSeconds"] * probe["failureThreshold"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 1_800


def test_the_keeper_is_never_scaled_away(objects: list[dict[str, Any]]) -> None:
    assert dict(of_kind(objects, "Deployment"))["keeper"]["spec"]["replicas"] >= 1
    targets = {item["spec"]["scaleTargetRef"]["name"] for _, item in of_kind(objects, "ScaledObject")}
    assert targets <= {"generate", "prepare"}


def test_keda_reads_what_autoscale_answers(objects: list[dict[str, Any]]) -> None:
    for _, item in of_kind(objects, "ScaledObject"):
        trigger = item["spec"]["triggers"][0]["metadata"]
        stage, field = trigger["valueLocation"].split(".")
        assert stage in AutoscaleReply.model_fields
        assert field in StageScale.model_fields
        assert trigger["url"].endswith("/v1/autoscale")


def test_only_those_that_must_reach_out_of_the_cluster(objects: list[dict[str, Any]]) -> None:
    policies = dict(of_kind(objects, "NetworkPolicy"))
    assert policies["deny-all"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    wide = [
        name
        for name, item in policies.items()
        for rule in item["spec"].get("egress", ())
        for to in rule.get("to", ())
        if to.get("ipBlock", {}).get("cidr") == "0.0.0.0/0"
    ]
    assert wide == ["out"]
    chosen = policies["out"]["spec"]["podSelector"]["matchExpressions"][0]["values"]
    assert chosen == ["prepare", "keeper", "fetch-model"]


def test_an_external_redis_replaces_valkey() -> None:
    objects = built("production", components=["external-redis"])
    assert faults_of(objects) == []
    assert "valkey" not in {item["metadata"]["name"] for item in objects}
    policies = dict(of_kind(objects, "NetworkPolicy"))
    for name, policy in policies.items():
        assert "valkey" not in str(policy), name
    (egress,) = policies["servers"]["spec"]["egress"]
    assert egress["to"] == [{"ipBlock": {"cidr": "192.0.2.0/24"}}], "the overlay names the address"
    for name, pod in pods(objects):
        users = [container for container in pod["containers"] if "REDIS_URL" in str(container.get("env"))]
        mounts = {mount["name"] for container in users for mount in container["volumeMounts"]}
        assert not users or "redis-tls" in mounts, name
