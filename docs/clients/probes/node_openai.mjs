// `openai` for Node: Chat Completions and Responses.

import OpenAI from "openai";
import * as p from "./probe.mjs";

const client = new OpenAI({ apiKey: "any", baseURL: `${p.URL_}/v1`, maxRetries: 0 });
const user = (content) => [{ role: "user", content }];

async function listed() {
  const ids = [];
  for await (const one of client.models.list()) ids.push(one.id);
  p.holds(ids, p.model());
}

const chat = (more = {}, options) =>
  client.chat.completions.create({ model: p.model(), messages: user(p.PROMPT), ...more }, options);

async function* chatPieces(more, options) {
  for await (const chunk of await chat({ stream: true, ...more }, options))
    yield chunk.choices[0]?.delta?.content;
}

async function chatTools() {
  const tools = [{ type: "function", function: { name: "get_weather", parameters: p.WEATHER } }];
  const messages = user(p.ASK_TOOL);
  const asked = (await chat({ messages, tools })).choices[0].message;
  const call = asked.tool_calls[0];
  p.same(JSON.parse(call.function.arguments), { city: "Riga" });
  messages.push(asked, { role: "tool", tool_call_id: call.id, content: p.RESULT });
  const answer = (await chat({ messages, tools })).choices[0].message.content;
  p.holds(answer, p.SAID_RESULT);
  p.holds(answer, p.RESULT);
  const stream = client.chat.completions.stream({ model: p.model(), messages: user(p.ASK_TOOL), tools });
  const streamed = (await stream.finalChatCompletion()).choices[0].message.tool_calls[0];
  p.same(JSON.parse(streamed.function.arguments), { city: "Riga" });
}

async function chatImage() {
  const image_url = { url: `data:image/png;base64,${p.PICTURE}` };
  const messages = user([{ type: "text", text: "Look." }, { type: "image_url", image_url }]);
  p.holds((await chat({ messages })).choices[0].message.content, p.SEEN);
}

async function failures(ask) {
  await p.fails(() => ask(p.model("limited")), (e) => e instanceof OpenAI.RateLimitError, "scripted limit");
  await p.fails(() => ask(p.model("refused")), (e) => e instanceof OpenAI.BadRequestError, "scripted refusal");
}

async function chatCancel() {
  let name = p.slow("openai-node", "chat", "stream");
  await p.leaves(name, (signal) => chatPieces({ model: p.model(name) }, { signal }));
  name = p.slow("openai-node", "chat", "whole");
  await p.givesUp(name, (signal) => chat({ model: p.model(name) }, { signal }));
}

const respond = (more = {}, options) =>
  client.responses.create({ model: p.model(), input: p.PROMPT, ...more }, options);

async function* deltas(more, options) {
  for await (const event of await respond({ stream: true, ...more }, options))
    if (event.type === "response.output_text.delta") yield event.delta;
}

async function responseTools() {
  const tools = [{ type: "function", name: "get_weather", parameters: p.WEATHER, strict: false }];
  const input = user(p.ASK_TOOL);
  const asked = await respond({ input, tools, store: false });
  const call = asked.output.find((item) => item.type === "function_call");
  p.same(JSON.parse(call.arguments), { city: "Riga" });
  input.push(...asked.output, { type: "function_call_output", call_id: call.call_id, output: p.RESULT });
  const answer = (await respond({ input, tools, store: false })).output_text;
  p.holds(answer, p.SAID_RESULT);
  p.holds(answer, p.RESULT);
}

async function responseImage() {
  const input = user([
    { type: "input_text", text: "Look." },
    { type: "input_image", image_url: `data:image/png;base64,${p.PICTURE}` },
  ]);
  p.holds((await respond({ input })).output_text, p.SEEN);
}

async function responseCancel() {
  let name = p.slow("openai-node", "responses", "stream");
  await p.leaves(name, (signal) => deltas({ model: p.model(name) }, { signal }));
  name = p.slow("openai-node", "responses", "whole");
  await p.givesUp(name, (signal) => respond({ model: p.model(name) }, { signal }));
}

await p.tried("chat", "models", listed);
await p.tried("chat", "text", async () => p.words((await chat()).choices[0].message.content));
await p.tried("chat", "stream", () => p.inPieces(chatPieces()));
await p.tried("chat", "tools", chatTools);
await p.tried("chat", "image", chatImage);
await p.tried("chat", "error", () => failures((model) => chat({ model })));
await p.tried("chat", "cancel", chatCancel);
await p.tried("responses", "models", listed);
await p.tried("responses", "text", async () => p.words((await respond()).output_text));
await p.tried("responses", "stream", () => p.inPieces(deltas()));
await p.tried("responses", "tools", responseTools);
await p.tried("responses", "image", responseImage);
await p.tried("responses", "error", () => failures((model) => respond({ model })));
await p.tried("responses", "cancel", responseCancel);
