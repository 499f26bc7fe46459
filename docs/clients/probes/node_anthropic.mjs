// `@anthropic-ai/sdk`.

import Anthropic from "@anthropic-ai/sdk";
import * as p from "./probe.mjs";

const client = new Anthropic({ apiKey: "any", baseURL: p.URL_, maxRetries: 0 });
const user = (content) => [{ role: "user", content }];
const text = (answer) => answer.content.map((block) => block.text ?? "").join("");

const ask = (more = {}, options) =>
  client.messages.create({ model: p.model(), max_tokens: 99, messages: user(p.PROMPT), ...more }, options);

async function listed() {
  const ids = [];
  for await (const one of client.models.list({ limit: 1000 })) ids.push(one.id);
  p.holds(ids, p.model());
}

async function* pieces(more, options) {
  for await (const event of await ask({ stream: true, ...more }, options))
    if (event.type === "content_block_delta") yield event.delta.text;
}

async function tools() {
  const tools = [{ name: "get_weather", input_schema: p.WEATHER }];
  const messages = user(p.ASK_TOOL);
  const stream = client.messages.stream({ model: p.model(), max_tokens: 99, messages, tools });
  const asked = await stream.finalMessage();
  p.same(asked.stop_reason, "tool_use");
  const call = asked.content.find((block) => block.type === "tool_use");
  p.same(call.input, { city: "Riga" });
  const result = { type: "tool_result", tool_use_id: call.id, content: p.RESULT };
  messages.push({ role: "assistant", content: asked.content }, ...user([result]));
  const answer = text(await ask({ messages, tools }));
  p.holds(answer, p.SAID_RESULT);
  p.holds(answer, p.RESULT);
}

async function image() {
  const source = { type: "base64", media_type: "image/png", data: p.PICTURE };
  const messages = user([{ type: "text", text: "Look." }, { type: "image", source }]);
  p.holds(text(await ask({ messages })), p.SEEN);
}

async function error() {
  const limited = () => ask({ model: p.model("limited") });
  await p.fails(limited, (e) => e instanceof Anthropic.RateLimitError, "scripted limit");
  const refused = () => ask({ model: p.model("refused"), stream: true });
  await p.fails(refused, (e) => e instanceof Anthropic.BadRequestError, "scripted refusal");
}

async function cancel() {
  let name = p.slow("anthropic-node", "messages", "stream");
  await p.leaves(name, (signal) => pieces({ model: p.model(name) }, { signal }));
  name = p.slow("anthropic-node", "messages", "whole");
  await p.givesUp(name, (signal) => ask({ model: p.model(name) }, { signal }));
}

await p.tried("messages", "models", listed);
await p.tried("messages", "text", async () => p.words(text(await ask())));
await p.tried("messages", "stream", () => p.inPieces(pieces()));
await p.tried("messages", "tools", tools);
await p.tried("messages", "image", image);
await p.tried("messages", "error", error);
await p.tried("messages", "cancel", cancel);
