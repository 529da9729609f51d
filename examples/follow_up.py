"""Ask two questions about one image. The second job continues the first one's conversation.

python examples/follow_up.py photo.png "What is in this image?" "Where is it?"
"""

import base64
import os
import sys
import time
from pathlib import Path
from typing import Any

import httpx

path, first_question, second_question = sys.argv[1:4]
key = os.environ.get("THINKQUEUE_API_KEY")
api = httpx.Client(
    base_url=os.environ.get("THINKQUEUE_URL", "http://127.0.0.1:8800"),
    headers={"Authorization": f"Bearer {key}"} if key else {},
    timeout=90,
)


def ask(content: Any, **fields: Any) -> dict[str, Any]:
    """Submit a job and return it when it has ended."""
    body = {"messages": [{"role": "user", "content": content}], "thinking": {"budget_tokens": 128}, **fields}
    job: dict[str, Any] = api.post("/v1/jobs", json=body, headers={"Prefer": "wait=60"}).raise_for_status().json()
    while job["ended_at"] is None:
        time.sleep(1)
        job = api.get(f"/v1/jobs/{job['id']}").raise_for_status().json()
    if job["status"] != "completed":
        sys.exit(f"{job['id']} {job['status']}: {job['error']}")
    return job


image = base64.b64encode(Path(path).read_bytes()).decode()
part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}}
first = ask([part, {"type": "text", "text": first_question}])
print(f"1. {first['output']['answer']}")

# The messages and media of the first job are part of this one; they are not sent again.
second = ask(second_question, previous_job_id=first["id"])
print(f"2. {second['output']['answer']}")
