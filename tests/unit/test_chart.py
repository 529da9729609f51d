"""The Helm chart makes the objects of the kustomize overlays, and its values change what they say."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from k8s.check import ROOT, built, containers, faults_of, pod_of, release

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is missing")

CHART = ROOT / "chart"
EXTERNAL = ("ExternalSecret", "HTTPRoute", "PodMonitor", "PrometheusRule")
"""Kinds of other projects, for which `make lint` has no schema."""
EVERYTHING = """
secretName: other
externalSecret: { enabled: true }
images: { registry: registry.example.com/team, tag: "9.9.9" }
api: { serviceAccountAnnotations: { eks.amazonaws.com/role-arn: "arn:aws:iam::111122223333:role/api" } }
generate:
  gpu: { resource: nvidia.com/mig-3g.40gb, count: 1 }
  tolerations: [{ key: spot, operator: Exists }]
  priorityClassName: mine
prepare: { resources: { limits: { memory: 6Gi } } }
models: { existingClaim: weights }
redis: { bundled: false, networks: [10.20.0.0/24], ports: [6379, 26379], tlsSecret: redis-tls }
objectStore: { public: true, credentials: environment }
dns: { nodeLocal: true, openshift: true }
autoscaling: { fallbackReplicas: 2 }
priorityClasses: { create: true }
ingress: { enabled: true }
gateway: { enabled: true }
monitoring: { podMonitor: true, rules: true, labels: { release: prometheus } }
"""


def render(helm: str, folder: Path, values: str = "", namespace: str = "thinkqueue") -> list[dict[str, Any]]:
    (folder / "values.yaml").write_text(values, "utf-8")
    command = [
        helm,
        "template",
        "release",
        str(CHART),
        "--namespace",
        namespace,
        "--values",
        str(folder / "values.yaml"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise ValueError(done.stderr)
    return [item for item in yaml.safe_load_all(done.stdout) if item]


def by_name(objects: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(item["kind"], item["metadata"]["name"]): item for item in objects}


@pytest.fixture(scope="module")
def everything(helm: str, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], dict[str, Any]]:
    return by_name(render(helm, tmp_path_factory.mktemp("chart"), EVERYTHING, namespace="elsewhere"))


def comparable(item: dict[str, Any]) -> dict[str, Any]:
    """Return what an object does, without what the chart adds to every object or names in another way."""
    same = {key: value for key, value in item.items() if key != "metadata"}
    pod = pod_of(item)
    pod["topologySpreadConstraints"] = [
        each for each in pod.get("topologySpreadConstraints", ()) if each["topologyKey"] == "kubernetes.io/hostname"
    ]
    for container in containers(pod):
        container.pop("imagePullPolicy", None)
        for source in container.get("envFrom", ()):
            source["configMapRef"]["name"] = source["configMapRef"]["name"].partition("-")[0]  # kustomize adds a hash
    for template in (
        item.get("spec", {}).get("template"),
        item.get("spec", {}).get("jobTemplate", {}).get("spec", {}).get("template"),
    ):
        for key in ("annotations", "labels"):
            (template or {}).get("metadata", {}).pop(key, None)
    return same


def test_the_chart_makes_the_objects_of_the_production_overlay(helm: str, tmp_path: Path) -> None:
    values = """
    images: { registry: registry.example.com }
    settings: { S3_ENDPOINT: "https://s3.example.com", S3_PUBLIC_ENDPOINT: "https://s3.example.com" }
    objectStore: { networks: [192.0.2.0/24] }
    """
    cluster_wide = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
    chart = {key: item for key, item in by_name(render(helm, tmp_path, values)).items() if key[0] not in cluster_wide}
    overlay = {key: item for key, item in by_name(built("production")).items() if key[0] not in cluster_wide}
    (settings,) = (key for key in overlay if key[0] == "ConfigMap")
    overlay[("ConfigMap", "thinkqueue")] = overlay.pop(settings)
    assert chart.keys() == overlay.keys()
    for key, item in overlay.items():
        assert comparable(chart[key]) == comparable(item), key


@pytest.mark.parametrize("values", ["", EVERYTHING, "autoscaling: { enabled: false }", "networkPolicies: false"])
def test_the_objects_of_the_chart_are_valid(helm: str, tmp_path: Path, values: str) -> None:
    objects = render(helm, tmp_path, values)
    assert faults_of([item for item in objects if item["kind"] not in EXTERNAL]) == []


def test_every_image_has_the_registry_and_the_tag(everything: dict[tuple[str, str], dict[str, Any]]) -> None:
    images = {container["image"] for item in everything.values() for container in containers(pod_of(item))}
    assert images == {f"registry.example.com/team/{name}:9.9.9" for name in ("thinkqueue", "thinkqueue-gpu")}


def test_a_digest_is_a_tag_too(helm: str, tmp_path: Path) -> None:
    objects = by_name(render(helm, tmp_path, "images: { tag: 'sha256:0123' }"))
    assert containers(pod_of(objects["Deployment", "api"]))[0]["image"] == "thinkqueue@sha256:0123"


def test_no_object_names_another_namespace(everything: dict[tuple[str, str], dict[str, Any]]) -> None:
    assert all("namespace" not in item["metadata"] for item in everything.values())
    trigger = everything["ScaledObject", "generate"]["spec"]["triggers"][0]["metadata"]
    assert trigger["url"] == "http://api.elsewhere.svc/v1/autoscale"
    assert everything["RoleBinding", "pod-deletion-cost"]["subjects"][0]["namespace"] == "elsewhere"


def test_an_external_redis_leaves_nothing_of_valkey(everything: dict[tuple[str, str], dict[str, Any]]) -> None:
    assert "valkey" not in str(everything)
    for name in ("servers", "pod-deletion-cost"):
        rule = everything["NetworkPolicy", name]["spec"]["egress"][0]
        assert rule["to"] == [{"ipBlock": {"cidr": "10.20.0.0/24"}}]
        assert rule["ports"] == [{"port": 6379}, {"port": 26379}]
    for name in ("api", "prepare", "generate", "keeper", "pod-deletion-cost"):
        for container in containers(pod_of(everything["Deployment", name])):
            assert "redis-tls" in [mount["name"] for mount in container["volumeMounts"]], name


def test_an_external_redis_needs_addresses(helm: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"redis\.networks"):
        render(helm, tmp_path, "redis: { bundled: false }")


def test_values_reach_the_pods(everything: dict[tuple[str, str], dict[str, Any]]) -> None:
    generate, prepare = (pod_of(everything["Deployment", name]) for name in ("generate", "prepare"))
    assert generate["containers"][0]["resources"]["limits"] == {"memory": "32Gi", "nvidia.com/mig-3g.40gb": 1}
    assert {"key": "spot", "operator": "Exists"} in generate["tolerations"]
    assert generate["priorityClassName"] == "mine"
    assert prepare["priorityClassName"] == "elsewhere-thinkqueue-batch"
    assert prepare["containers"][0]["resources"] == {
        "requests": {"cpu": "2", "memory": "2Gi"},
        "limits": {"memory": "6Gi"},
    }
    assert {"name": "models", "persistentVolumeClaim": {"claimName": "weights", "readOnly": True}} in generate[
        "volumes"
    ]
    assert everything["ServiceAccount", "api"]["metadata"]["annotations"]
    assert everything["ScaledObject", "generate"]["spec"]["fallback"]["replicas"] == 2
    sources = [each.get("valueFrom", {}) for each in prepare["containers"][0]["env"]]
    secrets = [source["secretKeyRef"]["name"] for source in sources if "secretKeyRef" in source]
    assert set(secrets) == {"other"}


def test_a_role_for_the_object_store_reaches_all_that_use_it(helm: str, tmp_path: Path) -> None:
    values = """
    objectStore: { credentials: environment, lifecycle: external, public: true }
    serviceAccountAnnotations: { role: shared, more: "1" }
    api: { serviceAccountAnnotations: { role: own } }
    """
    objects = by_name(render(helm, tmp_path, values))
    settings = objects["ConfigMap", "thinkqueue"]["data"]
    assert (settings["S3_CREDENTIALS"], settings["S3_LIFECYCLE"]) == ("environment", "external")
    annotations = {
        name: item["metadata"].get("annotations") for (kind, name), item in objects.items() if kind == "ServiceAccount"
    }
    shared = {"role": "shared", "more": "1"}
    assert annotations == {
        "api": {"role": "own", "more": "1"},
        "prepare": shared,
        "generate": shared,
        "keeper": shared,
        "fetch-model": None,
        "pod-deletion-cost": None,
    }


def test_a_setting_is_stronger_than_the_value_of_its_section(helm: str, tmp_path: Path) -> None:
    objects = by_name(render(helm, tmp_path, "settings: { S3_LIFECYCLE: external }"))
    assert objects["ConfigMap", "thinkqueue"]["data"]["S3_LIFECYCLE"] == "external"


def test_a_prepare_pod_gets_more_decoders_and_space(helm: str, tmp_path: Path) -> None:
    pod = pod_of(by_name(render(helm, tmp_path, "prepare: { decoders: 6, scratchGiB: 20 }"))["Deployment", "prepare"])
    variables = pod["containers"][0]["env"]
    assert {"name": "DECODERS", "value": "6"} in variables
    assert {"name": "SCRATCH_BYTES", "value": str(19 * 2**30)} in variables
    assert pod["volumes"][0]["emptyDir"] == {"sizeLimit": "20Gi"}


def test_a_changed_setting_replaces_the_pods(helm: str, tmp_path: Path) -> None:
    def checksum(values: str) -> str:
        template = by_name(render(helm, tmp_path, values))["Deployment", "api"]["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/settings"])

    assert checksum("") == checksum("zoneSpread: false")
    assert checksum("") != checksum("settings: { LOG_LEVEL: debug }")


def test_the_rules_are_those_of_the_alert_files(everything: dict[tuple[str, str], dict[str, Any]]) -> None:
    folder = ROOT.parent / "observe"
    groups = [
        group
        for name in ("alerts.yml", "slo_alerts.yml")
        for group in yaml.safe_load((folder / name).read_text("utf-8"))["groups"]
    ]
    assert everything["PrometheusRule", "thinkqueue"]["spec"]["groups"] == groups


@pytest.mark.parametrize(
    "values",
    [
        "apii: {}",
        "generate: { gpus: 2 }",
        "settings: { LOG_LEVEL: 3 }",
        "images: { registry: a/ }",
        "keeper: { replicas: 0 }",
        "objectStore: { credentials: role }",
        "objectStore: { lifecycle: none }",
        "prepare: { scratchGiB: 1 }",
        "prepare: { decoders: 0 }",
    ],
)
def test_the_schema_refuses_wrong_values(helm: str, tmp_path: Path, values: str) -> None:
    with pytest.raises(ValueError, match="schema"):
        render(helm, tmp_path, values)


def test_the_packed_chart_has_the_files_of_the_manifests(helm: str, tmp_path: Path) -> None:
    subprocess.run(
        [helm, "package", str(CHART), "--destination", str(tmp_path)], check=True, capture_output=True, timeout=120
    )
    shutil.unpack_archive(tmp_path / f"thinkqueue-{release()}.tgz", tmp_path)
    packed = tmp_path / "thinkqueue" / "base" / "api.yaml"
    assert not packed.is_symlink()
    assert packed.read_bytes() == (ROOT / "base" / "api.yaml").read_bytes()
