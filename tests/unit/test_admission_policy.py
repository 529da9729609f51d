"""The admission policy of pod-deletion-cost: its CEL expressions, evaluated as for an update of a pod."""

import copy
from collections.abc import Callable
from typing import Any

import celpy
import pytest
import yaml
from celpy.adapter import json_to_cel
from celpy.celtypes import MapType, StringType

from k8s.check import ROOT

POLICY: dict[str, Any] = next(
    yaml.safe_load_all((ROOT / "components" / "admission-policy" / "policy.yaml").read_text("utf-8"))
)["spec"]
COST = "controller.kubernetes.io/pod-deletion-cost"
SENDER = "system:serviceaccount:tq:pod-deletion-cost"
POD: dict[str, Any] = {
    "metadata": {
        "name": "generate-1",
        "labels": {"app.kubernetes.io/name": "generate"},
        "annotations": {"note": "1"},
        "ownerReferences": [{"uid": "a"}],
    },
    "spec": {"containers": [{"name": "generate", "image": "thinkqueue-gpu"}]},
}
Change = Callable[[dict[str, Any]], object]


def reasons(old: dict[str, Any], new: dict[str, Any], *, sender: str = SENDER) -> list[str]:
    """Return the messages of the validations that refuse an update; none if the policy does not apply to the sender."""
    environment = celpy.Environment()
    request = {"namespace": "tq", "userInfo": {"username": sender}}
    given = {"oldObject": json_to_cel(old), "object": json_to_cel(new), "request": json_to_cel(request)}
    variables: dict[Any, Any] = {}

    def value(expression: str) -> Any:
        program = environment.program(environment.compile(expression))
        return program.evaluate({**given, "variables": MapType(variables)})

    if not all(value(condition["expression"]) for condition in POLICY["matchConditions"]):
        return []
    for variable in POLICY["variables"]:
        variables[StringType(variable["name"])] = value(variable["expression"])
    return [each["message"] for each in POLICY["validations"] if not value(each["expression"])]


def changed(change: Change, pod: dict[str, Any] = POD) -> dict[str, Any]:
    copied = copy.deepcopy(pod)
    change(copied)
    return copied


def without_annotations() -> dict[str, Any]:
    return changed(lambda pod: pod["metadata"].pop("annotations"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (POD, changed(lambda pod: pod["metadata"]["annotations"].update({COST: "-5"}))),
        (changed(lambda pod: pod["metadata"]["annotations"].update({COST: "1"})), POD),
        (without_annotations(), changed(lambda pod: pod["metadata"].update(annotations={COST: "1"}))),
    ],
)
def test_the_cost_of_a_generate_pod_may_be_set_and_removed(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert reasons(old, new) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda pod: pod["metadata"]["annotations"].update(note="2"), "the annotation"),
        (lambda pod: pod["metadata"]["annotations"].update(other="1"), "the annotation"),
        (lambda pod: pod["metadata"]["annotations"].pop("note"), "the annotation"),
        (lambda pod: pod["metadata"].pop("annotations"), "the annotation"),
        (lambda pod: pod["spec"]["containers"][0].update(image="other"), "annotations only"),
        (lambda pod: pod["metadata"]["labels"].update(role="api"), "annotations only"),
        (lambda pod: pod["metadata"].pop("labels"), "annotations only"),
        (lambda pod: pod["metadata"].update(finalizers=["x"]), "annotations only"),
        (lambda pod: pod["metadata"].pop("ownerReferences"), "annotations only"),
        (lambda pod: pod["metadata"].update(ownerReferences=[]), "annotations only"),
    ],
)
def test_everything_else_of_a_generate_pod_is_refused(change: Change, message: str) -> None:
    (reason,) = reasons(POD, changed(change))
    assert message in reason


def test_no_other_pod_may_be_changed() -> None:
    for labels in ({"app.kubernetes.io/name": "api"}, {}):
        other = changed(lambda pod, labels=labels: pod["metadata"].update(labels=labels))  # type: ignore[misc]
        costed = changed(lambda pod: pod["metadata"]["annotations"].update({COST: "1"}), other)
        assert reasons(other, costed) == ["pod-deletion-cost may change generate pods only"]


def test_other_senders_are_not_restricted() -> None:
    change = changed(lambda pod: pod["spec"]["containers"][0].update(image="other"))
    assert reasons(POD, change, sender="system:node:a") == []
    assert reasons(POD, change, sender="system:serviceaccount:elsewhere:pod-deletion-cost") == []
