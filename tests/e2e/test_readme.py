"""What the README tells people to type."""

import re
import subprocess
import sys
from pathlib import Path

from testing.service import Service

ROOT = Path(__file__).parents[2]


def test_the_python_example_runs_as_it_stands(service: Service, tmp_path: Path) -> None:
    example = re.findall(r"```python\n(import .*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)[0]
    (tmp_path / "photo.png").write_bytes((ROOT / "cli" / "commands" / "shapes.png").read_bytes())
    (tmp_path / "example.py").write_text(example.replace("http://127.0.0.1:8800", service.url), "utf-8")
    result = subprocess.run(
        [sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    streamed, _, last = result.stdout.rstrip("\n").rpartition("completed ")
    assert last.startswith("{'thinking': ")
    assert len(streamed) > 50
