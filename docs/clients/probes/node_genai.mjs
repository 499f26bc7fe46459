// `@google/genai`.

import { GoogleGenAI } from "@google/genai";
import * as p from "./probe.mjs";

const client = new GoogleGenAI({ apiKey: "any", httpOptions: { baseUrl: p.URL_ } });

const ask = (more = {}) =>
  client.models.generateContent({ model: p.model(), contents: p.PROMPT, ...more });

async function listed() {
  const names = [];
  for await (const one of await client.models.list()) names.push(one.name);
  p.holds(names, p.model());
}

async function* pieces(more) {
  const asked = { model: p.model(), contents: p.PROMPT, ...more };
  for await (const chunk of await client.models.generateContentStream(asked)) yield chunk.text;
}

async function tools() {
  const config = {
    tools: [{ functionDeclarations: [{ name: "get_weather", parametersJsonSchema: p.WEATHER }] }],
  };
  const contents = [{ role: "user", parts: [{ text: p.ASK_TOOL }] }];
  const asked = await ask({ contents, config });
  const call = asked.functionCalls[0];
  p.same([call.name, call.args], ["get_weather", { city: "Riga" }]);
  const functionResponse = { id: call.id, name: call.name, response: { result: p.RESULT } };
  contents.push(asked.candidates[0].content, { role: "user", parts: [{ functionResponse }] });
  const answer = (await ask({ contents, config })).text;
  p.holds(answer, p.SAID_RESULT);
  p.holds(answer, p.RESULT);
}

async function image() {
  const parts = [{ text: "Look." }, { inlineData: { mimeType: "image/png", data: p.PICTURE } }];
  p.holds((await ask({ contents: [{ role: "user", parts }] })).text, p.SEEN);
}

async function error() {
  const is = (status) => (e) => e.name === "ApiError" && e.status === status;
  await p.fails(() => ask({ model: p.model("limited") }), is(429), "scripted limit");
  const refused = async () => {
    for await (const _ of pieces({ model: p.model("refused") }));
  };
  await p.fails(refused, is(400), "scripted refusal");
}

async function cancel() {
  let name = p.slow("genai-node", "gemini", "stream");
  await p.leaves(name, (abortSignal) => pieces({ model: p.model(name), config: { abortSignal } }));
  name = p.slow("genai-node", "gemini", "whole");
  await p.givesUp(name, (abortSignal) => ask({ model: p.model(name), config: { abortSignal } }));
}

await p.tried("gemini", "models", listed);
await p.tried("gemini", "text", async () => p.words((await ask()).text));
await p.tried("gemini", "stream", () => p.inPieces(pieces()));
await p.tried("gemini", "tools", tools);
await p.tried("gemini", "image", image);
await p.tried("gemini", "error", error);
await p.tried("gemini", "cancel", cancel);
