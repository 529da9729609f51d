"""Runs the features of a program one after the other and prints the outcome of each as JSON."""

import json
import sys
import traceback
import warnings
from collections.abc import Callable

Feature = Callable[[], None]


def run(features: dict[str, Feature]) -> None:
    """Run each feature; a warning of the client, such as one of pydantic's serializer, is a failure."""
    warnings.simplefilter("error")
    outcome = {}
    for name, feature in features.items():
        try:
            feature()
        except Exception as error:
            traceback.print_exc()
            place = traceback.extract_tb(error.__traceback__)[-1]
            outcome[name] = f"{type(error).__name__}: {error} ({place.line})"[:500]
        else:
            outcome[name] = "ok"
    sys.stdout.write("\n" + json.dumps(outcome) + "\n")
