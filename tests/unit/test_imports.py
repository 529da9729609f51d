"""What a process must not load: the HTTP process and the prepare worker pay for no torch."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["api.app", "worker.prepare", "worker.keeper", "cli.main"])
def test_it_loads_no_torch(module: str) -> None:
    script = f"import sys, {module}; print([name for name in ('torch', 'transformers') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
