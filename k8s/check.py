"""Builds the overlays as `kubectl apply -k` does and validates each object. `make lint` runs it.

    python k8s/check.py

kubernetes-validate checks Kubernetes' kinds; models generated from KEDA's CRDs check KEDA's kinds. Without kubectl
(1.27 or newer) nothing is checked: the program says so, and exits 1 in CI. Each overlay is also built with another
version in k8s/version, which every reference to our images must follow.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

ROOT = Path(__file__).parent
OVERLAYS = ("dev", "production")
COMPONENTS = tuple(sorted(path.name for path in (ROOT / "components").iterdir()))
KUBERNETES = "1.31"
SECRETS: tuple[str, ...] = ("REDIS_PASSWORD", "REDIS_URL", "S3_ACCESS_KEY", "S3_SECRET_KEY", "WEBHOOK_SECRET")
SECRETS += ("AUTOSCALE_KEY",)
SECRETS += tuple(f"S3_JWT_KEY_{number}" for number in range(1, 5))


def main() -> int:
    if shutil.which("kubectl") is None:
        sys.stderr.write("k8s: NOT CHECKED, kubectl is missing\n")
        return 1 if os.environ.get("CI") else 0
    faults = [f"{overlay}: {fault}" for overlay in OVERLAYS for fault in [*faults_of(built(overlay)), *kept(overlay)]]
    for name in COMPONENTS:
        faults += [f"production with {name}: {fault}" for fault in faults_of(built("production", components=[name]))]
    faults += unequal_versions()
    sys.stderr.write("\n".join([*faults, ""]) if faults else f"k8s: {', '.join((*OVERLAYS, *COMPONENTS))} are valid\n")
    return 1 if faults else 0


def built(
    overlay: str, version: str | None = None, components: Sequence[str] = (), namespace: str | None = None
) -> list[dict[str, Any]]:
    """Return the objects of an overlay. The dev overlay gets placeholder secrets in a temporary copy.

    Args:
        version: replaces the one in k8s/version.
        components: folders of ``components/`` that are added to the overlay.
        namespace: replaces the one of the overlay.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "k8s"
        shutil.copytree(ROOT, copy)
        (copy / "overlays" / "dev" / "secrets.env").write_text("".join(f"{name}=x\n" for name in SECRETS), "utf-8")
        if version is not None:
            tags = copy / "version" / "kustomization.yaml"
            tags.write_text(tags.read_text("utf-8").replace(f"newTag: {release()}", f"newTag: {version}"), "utf-8")
        file = copy / "overlays" / overlay / "kustomization.yaml"
        content = yaml.safe_load(file.read_text("utf-8"))
        present = content.setdefault("components", [])
        present.extend(path for name in components if (path := f"../../components/{name}") not in present)
        content["namespace"] = namespace or content["namespace"]
        file.write_text(yaml.safe_dump(content), "utf-8")
        command = ["kubectl", "kustomize", str(copy / "overlays" / overlay)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise SystemExit(f"{overlay}: {done.stderr}")
    return [item for item in yaml.safe_load_all(done.stdout) if item]


def release() -> str:
    """Return the version in pyproject.toml."""
    project: dict[str, Any] = tomllib.loads((ROOT.parent / "pyproject.toml").read_text("utf-8"))["project"]
    return str(project["version"])


def pod_of(item: dict[str, Any]) -> dict[str, Any]:
    """Return the specification of an object's pods; empty if it has none."""
    spec = item.get("spec", {})
    pod: dict[str, Any] = spec.get("jobTemplate", {}).get("spec", spec).get("template", {}).get("spec", {})
    return pod


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod.get("initContainers", ()), *pod.get("containers", ())]


def images(objects: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield each object that has pods, by kind and name, with each image of its containers."""
    for item in objects:
        for container in containers(pod_of(item)):
            yield f"{item['kind']} {item['metadata']['name']}", container["image"]


def kept(overlay: str) -> list[str]:
    """Return each reference to one of our images that does not follow the version in k8s/version."""
    other = "0.0.0-other"
    return [
        f"{name}: {image} does not follow the version in k8s/version/kustomization.yaml"
        for name, image in images(built(overlay, other))
        if image.rpartition("/")[2].startswith("thinkqueue") and not image.endswith(f":{other}")
    ]


def unequal_versions() -> list[str]:
    """Return each file that has another version than pyproject.toml."""
    version = release()
    required = {
        "k8s/version/kustomization.yaml": (f"newTag: {version} ", 2),
        "k8s/chart/Chart.yaml": (f"ersion: {version}\n", 2),  # of the chart and of the app
        "docker-compose.yml": ("${VERSION:-" + version, 3),
    }
    return [
        f"{name}: the version is not {version} of pyproject.toml"
        for name, (text, count) in required.items()
        if (ROOT.parent / name).read_text("utf-8").count(text) != count
    ]


def faults_of(objects: list[dict[str, Any]]) -> list[str]:
    faults = []
    for item in objects:
        name = f"{item['kind']} {item['metadata']['name']}"
        try:
            if item["apiVersion"].startswith("keda.sh/"):
                _check_keda(item)
            else:
                kubernetes_validate.validate(item, KUBERNETES, strict=True)
        except Exception as error:  # noqa: BLE001 - each library raises its own errors; all mean that the object is invalid
            faults.append(f"{name}: {error}")
    return faults


def _check_keda(item: dict[str, Any]) -> None:
    model = getattr(import_module("cloudcoil.models.keda.v1alpha1"), item["kind"])
    kept = model.model_validate(item).model_dump(by_alias=True, exclude_unset=True, mode="json")
    if lost := _lost(item, kept):
        raise ValueError(f"KEDA does not know {', '.join(lost)}")


def _lost(given: Any, kept: Any, path: str = "") -> list[str]:
    """Return the paths of fields that the model dropped."""
    if isinstance(given, dict):
        return [
            lost
            for key, value in given.items()
            for lost in (_lost(value, kept[key], f"{path}.{key}") if key in kept else [f"{path}.{key}"])
        ]
    if isinstance(given, list):
        return [lost for one, other in zip(given, kept, strict=True) for lost in _lost(one, other, path)]
    return []


if __name__ == "__main__":
    sys.exit(main())
