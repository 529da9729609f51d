"""Only the generate worker loads torch: the other processes start without it."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "module",
    ["api.__main__", "worker.prepare.__main__", "worker.keeper.__main__", "worker.pod_deletion_cost", "cli.main"],
)
def test_process_loads_no_torch(module: str) -> None:
    script = f"import sys, {module}; print([name for name in ('torch', 'transformers') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
