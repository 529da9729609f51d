"""Every program in examples/ runs against the real service."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from testing.inputs.videos import clip
from testing.processes.requirements import missing
from testing.processes.servers import free_ports, stop
from testing.processes.service import Service
from testing.processes.waiting import wait_until

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
SHAPES = ROOT / "cli" / "commands" / "shapes.png"
TESTED = {"submit_and_wait", "stream_events", "upload_video", "batch", "follow_up", "webhook_receiver"}
MAX_LINES = 60
TAMPERED = b'{"type": "job.completed"}'


def run(service: Service, folder: Path, name: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments],
        cwd=folder,
        env={**os.environ, "THINKQUEUE_URL": service.url},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_short_and_tested() -> None:
    files = [path for path in EXAMPLES.iterdir() if path.suffix in (".py", ".mjs")]
    assert {path.stem for path in files} == TESTED
    assert all(len(path.read_text("utf-8").splitlines()) <= MAX_LINES for path in files)


def test_submit_and_wait_prints_the_answer(service: Service, tmp_path: Path) -> None:
    assert run(service, tmp_path, "submit_and_wait", str(SHAPES), "How many circles?").strip()


def test_stream_events_prints_the_text_of_the_job(service: Service, tmp_path: Path) -> None:
    streamed, _, last = run(service, tmp_path, "stream_events", "Why?").rstrip("\n").rpartition("\n")
    job_id, status = last.split()
    output = service.job(job_id)["output"]
    assert status == "completed"
    assert "".join((output["thinking"] + output["answer"]).split()) in "".join(streamed.split())


def test_upload_video_saves_the_contact_sheet(service: Service, tmp_path: Path) -> None:
    output = run(service, tmp_path, "upload_video", str(clip(tmp_path / "clip.mp4")), "What happens?")
    sheet = re.findall(r"^frames: (.+)$", output, re.MULTILINE)[0]
    assert Path(sheet).stat().st_size > 0


def test_batch_writes_one_row_a_line_and_submits_nothing_twice(service: Service, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("One?\nTwo?\n\nThree?\n", "utf-8")
    jobs = []
    for _ in range(2):
        run(service, tmp_path, "batch", "prompts.txt", "answers.jsonl")
        rows = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text("utf-8").splitlines()]
        assert sorted(row["prompt"] for row in rows) == ["One?", "Three?", "Two?"]
        assert all(row["error"] is None for row in rows)
        jobs.append({row["job"] for row in rows})
    assert jobs[0] == jobs[1]


def test_follow_up_continues_the_conversation(service: Service, tmp_path: Path) -> None:
    output = run(service, tmp_path, "follow_up", str(SHAPES), "What is in this image?", "Where is it?")
    assert re.search(r"^1\. ", output, re.MULTILINE)
    assert re.search(r"^2\. ", output, re.MULTILINE)
    newest = service.http.get("/v1/jobs", params={"limit": 2}).json()["data"]
    second, first = (service.job(job["id"]) for job in newest)
    assert second["usage"]["input_tokens"] > first["usage"]["input_tokens"], "the second prompt contains the first"


@contextmanager
def receiver(service: Service, folder: Path, command: list[str], port: int) -> Iterator[Path]:
    """Run a receiver inside the block; yields the file with its output."""
    log = folder / "receiver.log"
    environment = {**os.environ, "WEBHOOK_SECRET": service.webhook_secret}
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=output, stderr=output)

    def answers() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/", timeout=5).status_code > 0
        except httpx.HTTPError:
            return False

    try:
        wait_until(answers, "the receiver answers", details=lambda: log.read_text("utf-8"))
        yield log
    finally:
        stop(process)


@pytest.mark.parametrize("language", ["python", "node"])
def test_a_webhook_receiver_accepts_signed_deliveries_only(service: Service, tmp_path: Path, language: str) -> None:
    port = free_ports()
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(EXAMPLES), "webhook_receiver:app", "--port", str(port)]
    if language == "node":
        node = shutil.which("node")
        if node is None:
            missing("Node.js", "apt install nodejs")
        command = [str(node), str(EXAMPLES / "webhook_receiver.mjs"), str(port)]
    url = f"http://127.0.0.1:{port}/hook"
    with receiver(service, tmp_path, command, port) as log:
        body = {"messages": [{"role": "user", "content": "Hi."}], "max_answer_tokens": 2}
        job_id = service.submit(**body, thinking={"budget_tokens": 0}, callback={"url": url})
        wait_until(lambda: f"job.completed {job_id}: " in log.read_text("utf-8"), "the delivery is printed")
        headers = {"webhook-id": "evt_x", "webhook-timestamp": "1", "webhook-signature": "v1,AAAA"}
        assert httpx.post(url, content=TAMPERED, headers=headers, timeout=15).status_code == 400
        assert httpx.post(url, content=TAMPERED, timeout=15).status_code == 400
        (delivery,) = service.http.get(f"/v1/jobs/{job_id}/deliveries").json()["data"]
        service.http.post(f"/v1/jobs/{job_id}/deliveries/{delivery['id']}/redeliver").raise_for_status()
        wait_until(
            lambda: len(service.http.get(f"/v1/webhook_deliveries/{delivery['id']}").json()["attempts"]) == 2,
            "the second attempt is recorded",
        )
    assert log.read_text("utf-8").count(job_id) == 1, "a repeated delivery is ignored"
