"""Print a job's thinking and answer while they are generated; reconnect without losing or repeating text.

python examples/stream_events.py "Why is the sky blue?"
"""

import json
import os
import sys
import time

import httpx

key = os.environ.get("THINKQUEUE_API_KEY")
api = httpx.Client(
    base_url=os.environ.get("THINKQUEUE_URL", "http://127.0.0.1:8800"),
    headers={"Authorization": f"Bearer {key}"} if key else {},
    timeout=60,
)
body = {"messages": [{"role": "user", "content": sys.argv[1]}], "thinking": {"budget_tokens": 256}}
job = api.post("/v1/jobs", json=body).raise_for_status().json()

last_id = ""
while True:
    headers = {"Last-Event-ID": last_id} if last_id else {}
    try:
        with api.stream("GET", f"/v1/jobs/{job['id']}/events", headers=headers) as reply:
            reply.raise_for_status()
            event = ""
            for line in reply.iter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    event = value
                elif name == "id":
                    last_id = value
                elif name == "data":
                    data = json.loads(value)
                    if event in ("thinking.delta", "answer.delta"):
                        print(data["text"], end="", flush=True)
                    elif "job" in data:  # job.completed, job.failed, job.cancelled or job.expired
                        print(f"\n{data['job']['id']} {data['job']['status']}")
                        sys.exit(data["job"]["status"] != "completed")
    except httpx.TransportError:
        time.sleep(1)
