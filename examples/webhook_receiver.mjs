// Receive webhooks with Node.js 20 and verify their Standard Webhooks signatures, without packages.
//
//   WEBHOOK_SECRET=whsec_… node examples/webhook_receiver.mjs 9000
//
// Then submit jobs with "callback": {"url": "http://127.0.0.1:9000/hook"}.

import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

const key = Buffer.from(process.env.WEBHOOK_SECRET.replace(/^whsec_/, ""), "base64");
const TOLERANCE_S = 300;
const seen = new Set(); // Use a table with a unique key in production: deliveries may repeat, across restarts too.

function isValid(headers, body) {
  const { "webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": signatures } = headers;
  if (!id || !timestamp || !signatures) return false;
  if (!(Math.abs(Date.now() / 1000 - Number(timestamp)) <= TOLERANCE_S)) return false; // a replay, or NaN
  const signed = Buffer.concat([Buffer.from(`${id}.${timestamp}.`), body]);
  const expected = createHmac("sha256", key).update(signed).digest();
  // While a secret is rotated there are two signatures, separated by a space.
  return signatures.split(" ").some((signature) => {
    const [version, value = ""] = signature.split(",");
    const actual = Buffer.from(value, "base64");
    return version === "v1" && actual.length === expected.length && timingSafeEqual(actual, expected);
  });
}

const server = createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = Buffer.concat(chunks); // Verify the bytes as they arrived, not parsed and serialized again.
  if (request.method !== "POST" || !isValid(request.headers, body)) {
    response.writeHead(400).end("invalid signature");
    return;
  }
  response.writeHead(204).end(); // Answer within 15 seconds, and do long work afterwards.
  if (seen.has(request.headers["webhook-id"])) return; // the same id for all attempts of one delivery
  seen.add(request.headers["webhook-id"]);
  const event = JSON.parse(body);
  const { id, output, error } = event.data;
  console.log(`${event.type} ${id}: ${output ? output.answer : JSON.stringify(error)}`);
});

server.listen(Number(process.argv[2] ?? 9000), "127.0.0.1", () => {
  console.log(`listening on port ${server.address().port}`);
});
