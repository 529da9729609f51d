"""Upload a video, ask a question about it, and save the contact sheet of the frames that the model saw.

python examples/upload_video.py clip.mp4 "What happens?"
"""

import os
import sys
import time
from pathlib import Path

import httpx

path, question = Path(sys.argv[1]), sys.argv[2]
key = os.environ.get("THINKQUEUE_API_KEY")
api = httpx.Client(
    base_url=os.environ.get("THINKQUEUE_URL", "http://127.0.0.1:8800"),
    headers={"Authorization": f"Bearer {key}"} if key else {},
    timeout=60,
)

# 1. Announce the exact size. The reply has one presigned URL, or one for each part of a large file.
upload = api.post("/v1/uploads", json={"bytes": path.stat().st_size}).raise_for_status().json()
with path.open("rb") as file:
    if upload["url"]:
        httpx.put(upload["url"], content=file.read(), timeout=600).raise_for_status()
    else:
        etags = []
        for url in upload["part_urls"]:
            reply = httpx.put(url, content=file.read(upload["part_bytes"]), timeout=600).raise_for_status()
            etags.append(reply.headers["etag"].strip('"'))
        api.post(f"/v1/uploads/{upload['id']}/complete", json={"etags": etags}).raise_for_status()

# 2. A job refers to the upload by its id.
video = {"type": "video_url", "video_url": {"url": f"upload:{upload['id']}"}}
messages = [{"role": "user", "content": [video, {"type": "text", "text": question}]}]
job = api.post("/v1/jobs", json={"messages": messages, "thinking": {"budget_tokens": 256}}).raise_for_status().json()

# 3. Wait for the result.
while job["ended_at"] is None:
    time.sleep(1)
    job = api.get(f"/v1/jobs/{job['id']}").raise_for_status().json()
if job["status"] != "completed":
    sys.exit(f"{job['id']} {job['status']}: {job['error']}")
print(job["output"]["answer"])
for item in job["media"]:
    if item["kind"] == "contact_sheet":
        sheet = path.with_suffix(".frames" + Path(item["name"]).suffix)
        sheet.write_bytes(httpx.get(item["url"], timeout=60).raise_for_status().content)
        print(f"frames: {sheet}")
