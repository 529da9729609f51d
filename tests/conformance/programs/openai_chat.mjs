// Chat completions and models with OpenAI's SDK for JavaScript. Prints the outcome of each feature as JSON.

import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.argv[2], apiKey: "unused" });
const fixed = { model: "pocket", messages: [{ role: "user", content: "Hello!" }], temperature: 0 };
const broken = [{ role: "user", content: [{ type: "image_url", image_url: { url: "data:image/png;base64,AAAA" } }] }];

const features = {
  models: async () => {
    const ids = [];
    for await (const model of client.models.list()) ids.push(model.id);
    assert.deepEqual(ids, ["pocket", "local/alias"]);
    assert.equal((await client.models.retrieve("local/alias")).id, "local/alias");
  },
  chat: async () => {
    const reply = await client.chat.completions.create(fixed);
    assert.equal(reply.choices[0].finish_reason, "stop");
    assert.ok(reply.choices[0].message.content);
    assert.equal(reply.choices[0].message.reasoning, reply.choices[0].message.reasoning_content);
  },
  "chat, streamed": async () => {
    const whole = await client.chat.completions.create(fixed);
    const stream = await client.chat.completions.create({
      ...fixed, stream: true, stream_options: { include_usage: true },
    });
    let content = "", thinking = "", usage;
    for await (const chunk of stream) {
      content += chunk.choices[0]?.delta.content ?? "";
      thinking += chunk.choices[0]?.delta.reasoning ?? "";
      usage = chunk.usage ?? usage;
    }
    assert.equal(content, whole.choices[0].message.content);
    assert.equal(thinking, whole.choices[0].message.reasoning);
    assert.deepEqual(usage, whole.usage);
  },
  "chat, stream helper": async () => {
    const stream = client.chat.completions.stream(fixed);
    const final = await stream.finalChatCompletion();
    const whole = await client.chat.completions.create(fixed);
    assert.equal(final.choices[0].message.content, whole.choices[0].message.content);
    assert.equal(final.choices[0].message.role, "assistant");
  },
  errors: async () => {
    const error = await client.chat.completions.create({ ...fixed, n: 2 }).catch((found) => found);
    assert.ok(error instanceof OpenAI.BadRequestError);
    assert.deepEqual([error.code, error.param], ["unsupported_parameter", "n"]);
    const missing = await client.models.retrieve("gpt-4o").catch((found) => found);
    assert.ok(missing instanceof OpenAI.NotFoundError);
  },
  "failed job": async () => {
    const error = await client.chat.completions.create({ model: "pocket", messages: broken }).catch((found) => found);
    assert.ok(error instanceof OpenAI.BadRequestError);
    assert.equal(error.code, "image_unsupported");
  },
  "failure in a stream": async () => {
    const stream = await client.chat.completions.create({ model: "pocket", messages: broken, stream: true });
    await assert.rejects(async () => {
      for await (const chunk of stream) assert.ok(chunk);
    }, (error) => error instanceof OpenAI.APIError && error.code === "image_unsupported");
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
