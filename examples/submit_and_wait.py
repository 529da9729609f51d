"""Submit an image with a question and wait for the answer.

    python examples/submit_and_wait.py photo.png "What is in this image?"

THINKQUEUE_URL and THINKQUEUE_API_KEY name the service and the key.
"""

import base64
import os
import sys
import time
import uuid
from pathlib import Path

import httpx

path, question = sys.argv[1:3]
key = os.environ.get("THINKQUEUE_API_KEY")
api = httpx.Client(
    base_url=os.environ.get("THINKQUEUE_URL", "http://127.0.0.1:8800"),
    headers={"Authorization": f"Bearer {key}"} if key else {},
    timeout=90,
)
image = base64.b64encode(Path(path).read_bytes()).decode()
body = {
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}},
                {"type": "text", "text": question},
            ],
        }
    ],
    "thinking": {"budget_tokens": 256},
}
# The idempotency key makes a retry safe: the same key and body return the same job.
# `Prefer: wait` keeps the request open for up to a minute, so most jobs need no second request.
headers = {"Idempotency-Key": str(uuid.uuid4()), "Prefer": "wait=60"}
job = api.post("/v1/jobs", json=body, headers=headers).raise_for_status().json()

while job["ended_at"] is None:
    time.sleep(2)
    job = api.get(f"/v1/jobs/{job['id']}").raise_for_status().json()

if job["status"] != "completed":
    sys.exit(f"{job['id']} {job['status']}: {job['error']}")
print(job["output"]["answer"])
