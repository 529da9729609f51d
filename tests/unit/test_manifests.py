"""The Kubernetes manifests match the code that they run; `make lint` checks their schemas."""

import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest

from api.__main__ import SHUTDOWN_TIMEOUT_S
from api.schemas.autoscale import AutoscaleReply, StageScale
from k8s.check import COMPONENTS, OVERLAYS, built, containers, faults_of, images, kept, pod_of, unequal_versions
from runtime.networks.special_networks import GLOBAL_UNICAST, SPECIAL_IPV4, SPECIAL_IPV6
from runtime.settings import Settings
from worker.prepare.decoding.memory_plan import divide_memory

PROBES = ("livenessProbe", "readinessProbe", "startupProbe")

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is missing")


@pytest.fixture(scope="module", params=OVERLAYS)
def objects(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    return built(request.param)


def of_kind(objects: list[dict[str, Any]], *kinds: str) -> Iterator[tuple[str, dict[str, Any]]]:
    return ((item["metadata"]["name"], item) for item in objects if item["kind"] in kinds)


def pods(objects: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, item in of_kind(objects, "Deployment", "StatefulSet", "Job", "CronJob"):
        yield name, pod_of(item)


def test_each_container_runs_a_program_that_exists_as_process_one(objects: list[dict[str, Any]]) -> None:
    for name, pod in pods(objects):
        for container in containers(pod):
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
    in_namespaces = [item for item in built_elsewhere if not item["kind"].startswith("ValidatingAdmissionPolicy")]
    assert {item["metadata"]["namespace"] for item in in_namespaces} == {"elsewhere"}
    assert "thinkqueue." not in str([item["spec"] for item in built_elsewhere if item["kind"] == "ScaledObject"])
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
        for container in containers(pod):
            assert container["securityContext"]["readOnlyRootFilesystem"], name
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name
            assert "memory" in container["resources"]["limits"], name


def test_probes_ask_for_what_is_answered(objects: list[dict[str, Any]]) -> None:
    for name, pod in pods(objects):
        for container in containers(pod):
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


def test_keda_and_the_api_share_the_token_of_the_autoscaler(objects: list[dict[str, Any]]) -> None:
    holders = {
        name: variable["valueFrom"]["secretKeyRef"]
        for name, pod in pods(objects)
        for container in containers(pod)
        for variable in container.get("env", ())
        if variable["name"] == "AUTOSCALE_KEY"
    }
    assert holders.keys() == {"api"}
    assert holders["api"]["optional"], "a Secret of an older version does not have it"
    for _, item in of_kind(objects, "TriggerAuthentication"):
        (source,) = item["spec"]["secretTargetRef"]
        assert (source["name"], source["key"]) == (holders["api"]["name"], "AUTOSCALE_KEY")


def test_a_prepare_pod_sizes_itself_by_its_own_limits(objects: list[dict[str, Any]]) -> None:
    pod = dict(pods(objects))["prepare"]
    values = {variable["name"]: variable for variable in pod["containers"][0]["env"]}
    assert values["DECODERS"]["valueFrom"] == {"resourceFieldRef": {"resource": "requests.cpu"}}
    (size,) = (each["emptyDir"]["sizeLimit"] for each in pod["volumes"] if each["name"] == "tmp")
    assert int(values["SCRATCH_BYTES"]["value"]) < int(size.removesuffix("Gi")) * 2**30


def test_the_settings_of_the_object_store_are_offered(objects: list[dict[str, Any]]) -> None:
    for _, item in of_kind(objects, "ConfigMap"):
        assert (item["data"]["S3_CREDENTIALS"], item["data"]["S3_LIFECYCLE"]) == ("static", "managed")


def amount(text: str) -> float:
    """Return CPUs, or bytes, of a quantity such as 250m or 1Gi."""
    units = {"Gi": 2**30, "Mi": 2**20, "m": 1 / 1000}
    unit = next((unit for unit in units if text.endswith(unit)), "")
    return float(text.removesuffix(unit)) * units.get(unit, 1)


def total(objects: list[dict[str, Any]], kind: str, resource: str) -> float:
    """Return what all pods request together, or what their limits allow; init containers run before the others."""
    found = 0.0
    for item in objects:
        if pod := pod_of(item):
            used = [
                [amount(container["resources"][kind].get(resource, "0")) for container in pod.get(part, ())]
                for part in ("initContainers", "containers")
            ]
            found += item["spec"].get("replicas", 1) * max(max(used[0], default=0), sum(used[1]))
    return found


def test_the_dev_overlay_fits_a_minikube_of_two_cpus_and_four_gigabytes() -> None:
    """Beside the pods of the cluster (850m, 170 MiB), and with a second generate pod during an update."""
    objects = built("dev")
    surge = dict(pods(objects))["generate"]["containers"][0]["resources"]["requests"]
    assert round(total(objects, "requests", "cpu") + amount(surge["cpu"]), 3) <= 2 - 0.85
    assert total(objects, "requests", "memory") + amount(surge["memory"]) <= 3 * 2**30
    assert total(objects, "limits", "memory") <= 4 * 2**30
    (scaler,) = (item for _, item in of_kind(objects, "HorizontalPodAutoscaler"))
    assert scaler["spec"]["maxReplicas"] == 1
    settings = next(item["data"] for _, item in of_kind(objects, "ConfigMap"))
    memory = int(amount(dict(pods(objects))["prepare"]["containers"][0]["resources"]["limits"]["memory"]))
    plan = divide_memory(memory, decoders=1, cpus=2, large_bytes=int(settings["DECODE_MEMORY_BYTES"]))
    assert plan.large_bytes >= 512 * 2**20, "a photo of a phone can be opened"


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
        users = [container for container in containers(pod) if "REDIS_URL" in str(container.get("env"))]
        mounts = {mount["name"] for container in users for mount in container["volumeMounts"]}
        assert not users or "redis-tls" in mounts, name


@pytest.mark.parametrize("component", COMPONENTS)
def test_each_component_makes_valid_objects(component: str) -> None:
    assert faults_of(built("production", components=[component])) == []


def test_a_role_replaces_the_static_keys() -> None:
    objects = built("production", components=["workload-identity"])
    (settings,) = (item for _, item in of_kind(objects, "ConfigMap"))
    assert settings["data"]["S3_CREDENTIALS"] == "environment"
    accounts = dict(of_kind(objects, "ServiceAccount"))
    for name, pod in pods(objects):
        for container in containers(pod):
            keys = [each for each in container.get("env", ()) if each["name"] in ("S3_ACCESS_KEY", "S3_SECRET_KEY")]
            assert all(each["valueFrom"]["secretKeyRef"]["optional"] for each in keys), name
            assert not keys or "eks.amazonaws.com/role-arn" in accounts[name]["metadata"]["annotations"], name


def test_each_program_has_an_account_of_its_own(objects: list[dict[str, Any]]) -> None:
    accounts = dict(of_kind(objects, "ServiceAccount"))
    ours = {name: pod for name, pod in pods(objects) if "thinkqueue" in containers(pod)[0]["image"]}
    assert accounts.keys() == ours.keys()
    for name, pod in ours.items():
        assert pod["serviceAccountName"] == name
        assert accounts[name]["automountServiceAccountToken"] is False


def test_a_second_apply_changes_no_immutable_object(objects: list[dict[str, Any]]) -> None:
    assert not list(of_kind(objects, "Job")), "the template of a Job cannot be changed"


def test_a_changed_setting_replaces_the_pods(objects: list[dict[str, Any]]) -> None:
    (name,) = (name for name, _ in of_kind(objects, "ConfigMap"))
    assert name.startswith("thinkqueue-"), "the name ends with a hash of the content"
    for pod_name, pod in pods(objects):
        for container in containers(pod):
            for source in container.get("envFrom", ()):
                assert source["configMapRef"]["name"] == name, pod_name


def test_the_api_has_time_to_leave_the_proxies_and_to_end_its_requests(objects: list[dict[str, Any]]) -> None:
    pod = dict(pods(objects))["api"]
    _, seconds = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert pod["terminationGracePeriodSeconds"] >= int(seconds) + SHUTDOWN_TIMEOUT_S + 10


def test_the_pod_with_a_cluster_token_has_no_secret_but_that_of_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    (container,) = dict(pods(built("production")))["pod-deletion-cost"]["containers"]
    assert [each["name"] for each in container["env"] if "valueFrom" in each] == ["REDIS_URL"]
    for each in container["env"]:
        monkeypatch.setenv(each["name"], each.get("value", "redis://valkey:6379/0"))
    monkeypatch.setenv("S3_ENDPOINT", "https://s3.example.com")
    for name in ("S3_ACCESS_KEY", "S3_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    Settings(_env_file=None)  # it starts with these


def test_models_of_each_node_need_no_shared_volume() -> None:
    for component in ("model-node-cache", "model-image"):
        objects = built("production", components=[component])
        assert "models" not in dict(of_kind(objects, "PersistentVolumeClaim"))
        assert "persistentVolumeClaim" not in str(dict(pods(objects))["generate"])


def test_policies_know_the_dns_servers_of_other_clusters() -> None:
    objects = built("production", components=["node-local-dns", "openshift-dns"])
    rules = dict(of_kind(objects, "NetworkPolicy"))["names"]["spec"]["egress"]
    assert "169.254.20.10/32" in str(rules)
    assert [rule["ports"][0]["port"] for rule in rules] == [53, 53, 5353]


def test_a_public_object_store_opens_no_private_network() -> None:
    policies = dict(of_kind(built("production", components=["object-store-public"]), "NetworkPolicy"))
    (rule,) = policies["object-store-public"]["spec"]["egress"]
    assert rule["ports"] == [{"port": 443}]
    assert rule["to"][0]["ipBlock"]["except"] == [str(network) for network in SPECIAL_IPV4]
