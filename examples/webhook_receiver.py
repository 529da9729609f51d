"""Receive webhooks with FastAPI and verify their signatures.

    pip install fastapi uvicorn standardwebhooks
    WEBHOOK_SECRET=whsec_… uvicorn --app-dir examples webhook_receiver:app --port 9000

Then submit jobs with "callback": {"url": "http://127.0.0.1:9000/hook"}.
"""

import os
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from standardwebhooks import Webhook, WebhookVerificationError

webhook = Webhook(os.environ["WEBHOOK_SECRET"])
app = FastAPI()
seen: set[str] = set()
"""Use a table with a unique key in production: deliveries may repeat, across restarts too."""


@app.post("/hook", status_code=204)
async def receive(request: Request) -> None:
    # Verify the bytes as they arrived: parsed and serialized again, they may differ.
    body = await request.body()
    try:
        event: dict[str, Any] = webhook.verify(body, dict(request.headers))
    except WebhookVerificationError as error:
        raise HTTPException(400, "invalid signature") from error
    # `webhook-id` is the same for all attempts of one delivery.
    delivery_id = request.headers["webhook-id"]
    if delivery_id in seen:
        return
    seen.add(delivery_id)
    job = event["data"]
    answer = job["output"]["answer"] if job["output"] else job["error"]
    # Answer within 15 seconds. Do long work elsewhere, after you have stored the event.
    print(f"{event['type']} {job['id']}: {answer}", flush=True)
