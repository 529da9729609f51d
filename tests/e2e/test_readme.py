"""The examples, commands and links of the README files and of the contribution guide work."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from testing.processes.service import Service

ROOT = Path(__file__).parents[2]
READMES = ("README.md", "README_zh.md")
PAGES = (*READMES, "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "examples/README.md")
WITHOUT_OPTIONS = ("keys",)


def bash_lines(page: str) -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def test_the_python_example_runs_unchanged(service: Service, tmp_path: Path) -> None:
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


@pytest.mark.parametrize("page", READMES)
def test_the_body_of_the_curl_example_is_accepted(service: Service, page: str) -> None:
    body = re.findall(r"-d '(\{.*?\})'\n", (ROOT / page).read_text("utf-8"), re.DOTALL)[0]
    assert service.http.post("/v1/jobs", json=json.loads(body)).status_code == 202


@pytest.mark.parametrize("page", READMES)
def test_every_command_exists_with_its_options(page: str) -> None:
    commands = [shlex.split(line, comments=True) for line in bash_lines(page) if line.startswith("thinkqueue ")]
    assert len(commands) >= 5
    for _, *words in commands:
        subcommand = words[:2] if words[0] in WITHOUT_OPTIONS else words[:1]
        shown = CliRunner().invoke(app, [*subcommand, "--help"], env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"})
        assert shown.exit_code == 0, shown.output
        for option in (word for word in words if word.startswith("--")):
            assert option in shown.output, (words, option)


@pytest.mark.parametrize("page", READMES)
def test_every_make_target_exists(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"^(?:[A-Z_]+=\S+ )*make ([a-z-]+)", "\n".join(bash_lines(page)), re.MULTILINE)) <= targets


@pytest.mark.parametrize("page", PAGES)
def test_every_link_to_a_file_leads_to_one(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    for target in re.findall(r"\]\(([^)#]+)", text):
        if not target.startswith("http"):
            assert ((ROOT / page).parent / target).exists(), target
