"""Run many prompts at low priority and write the answers as JSON Lines. Run it again to resume.

    python examples/batch.py prompts.txt answers.jsonl

Each line of prompts.txt is one question. `thinkqueue batch` does the same with media, progress and retries.
"""

import hashlib
import json
import os
import sys
import time
from pathlib import Path

import httpx

prompts, output = Path(sys.argv[1]), Path(sys.argv[2])
key = os.environ.get("THINKQUEUE_API_KEY")
api = httpx.Client(
    base_url=os.environ.get("THINKQUEUE_URL", "http://127.0.0.1:8800"),
    headers={"Authorization": f"Bearer {key}"} if key else {},
    timeout=60,
)


def submit(number: int, prompt: str) -> str:
    """Submit a line and return the job's id. Its key depends on the line alone, so no line gets a second job."""
    idempotency_key = hashlib.sha256(f"{number}:{prompt}".encode()).hexdigest()
    body = {
        "messages": [{"role": "user", "content": prompt}],
        "priority": "low",
        "thinking": {"budget_tokens": 128},
        "metadata": {"line": str(number)},
    }
    while True:
        reply = api.post("/v1/jobs", json=body, headers={"Idempotency-Key": idempotency_key})
        if reply.status_code not in (429, 503):
            return str(reply.raise_for_status().json()["id"])
        time.sleep(int(reply.headers.get("retry-after", "5")))  # the service is full


lines = [line for line in prompts.read_text("utf-8").splitlines() if line.strip()]
waiting = {submit(number, line): (number, line) for number, line in enumerate(lines, 1)}
with output.open("w", encoding="utf-8") as file:
    while waiting:
        time.sleep(1)
        for job_id in list(waiting):
            job = api.get(f"/v1/jobs/{job_id}").raise_for_status().json()
            if job["ended_at"] is not None:
                number, line = waiting.pop(job_id)
                answer = job["output"]["answer"] if job["status"] == "completed" else None
                row = {"line": number, "prompt": line, "job": job_id, "answer": answer, "error": job["error"]}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
print(f"{len(lines)} lines, {output}")
