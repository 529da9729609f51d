// Responses with OpenAI's SDK for JavaScript. Prints the outcome of each feature as JSON.

import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.argv[2], apiKey: "unused" });
const question = "Hello, who are you?";
const fixed = { model: "pocket", input: question, temperature: 0 };

async function collected(stream) {
  const events = [];
  for await (const event of stream) events.push(event);
  return events;
}

async function assertGone(id) {
  await assert.rejects(client.responses.retrieve(id), { status: 404, code: "response_not_found" });
}

const features = {
  response: async () => {
    const response = await client.responses.create({ ...fixed, instructions: "Be brief.", made_up: 1 });
    assert.equal(response.status, "completed");
    assert.ok(response.output_text);
    assert.deepEqual(response.thinkqueue.ignored, ["made_up"]);
    assert.equal((await client.responses.retrieve(response.id)).output_text, response.output_text);
  },
  "response in the background": async () => {
    let response = await client.responses.create({ ...fixed, background: true });
    for (let round = 0; round < 600 && ["queued", "in_progress"].includes(response.status); round++) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      response = await client.responses.retrieve(response.id);
    }
    assert.equal(response.status, "completed");
  },
  "response, streamed": async () => {
    const stream = client.responses.stream(fixed);
    const text = (await collected(stream)).map((event) => event.type === "response.output_text.delta" ? event.delta : "");
    assert.equal((await stream.finalResponse()).output_text, text.join(""));
  },
  "response, resumed after every event": async () => {
    const events = await collected(await client.responses.create({ ...fixed, stream: true, background: true }));
    const final = events.at(-1).response;
    for (const number of events.keys()) {
      const query = { stream: true, starting_after: number };
      assert.deepEqual(await collected(await client.responses.retrieve(final.id, query)), events.slice(number + 1));
      const resumed = client.responses.stream({ response_id: final.id, starting_after: number });
      assert.equal((await collected(resumed)).length, events.length - number - 1);
      assert.equal((await resumed.finalResponse()).id, final.id);
    }
  },
  "previous_response_id and input items": async () => {
    const first = await client.responses.create(fixed);
    const second = await client.responses.create({ ...fixed, input: "Again.", previous_response_id: first.id });
    const said = [];
    for await (const item of client.responses.inputItems.list(second.id, { order: "asc", limit: 2 })) {
      said.push(item.content[0].text);
    }
    assert.deepEqual(said, [question, first.output_text, "Again."]);
  },
  "cancel a response": async () => {
    const { id } = await client.responses.create({ ...fixed, background: true });
    await client.responses.cancel(id);
    const stream = client.responses.stream({ response_id: id });
    await collected(stream);
    assert.ok(["cancelled", "completed"].includes((await stream.finalResponse()).status));
  },
  "delete a response, store: false": async () => {
    const { id } = await client.responses.create(fixed);
    await client.responses.delete(id);
    await assertGone(id);
    await assertGone((await client.responses.create({ ...fixed, store: false })).id);
  },
  "response, one forced function": async () => {
    const parameters = {
      type: "object",
      properties: { count: { type: "integer", minimum: 0, maximum: 9 } },
      required: ["count"],
      additionalProperties: false,
    };
    const tools = [{ type: "function", name: "report_count", parameters, strict: true }];
    const stream = client.responses.stream({ ...fixed, tools, tool_choice: { type: "function", name: "report_count" } });
    const events = await collected(stream);
    const deltas = events.filter((event) => event.type === "response.function_call_arguments.delta");
    const call = (await stream.finalResponse()).output.at(-1);
    assert.deepEqual([call.type, call.name], ["function_call", "report_count"]);
    assert.equal(deltas.map((event) => event.delta).join(""), call.arguments);
    assert.ok(Number.isInteger(JSON.parse(call.arguments).count));
  },
  "response, errors": async () => {
    const error = await client.responses.create({ ...fixed, truncation: "auto" }).catch((found) => found);
    assert.ok(error instanceof OpenAI.BadRequestError);
    assert.deepEqual([error.code, error.param], ["unsupported_parameter", "truncation"]);
  },
};

const outcome = {};
for (const [name, feature] of Object.entries(features)) {
  try {
    await feature();
    outcome[name] = "ok";
  } catch (error) {
    outcome[name] = String(error).slice(0, 500);
  }
}
console.log(JSON.stringify(outcome));
