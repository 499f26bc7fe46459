// The AI SDK with its three vendor packages.

import { createAnthropic } from "@ai-sdk/anthropic";
import { createGoogleGenerativeAI } from "@ai-sdk/google";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";
import * as p from "./probe.mjs";

const openai = createOpenAI({ apiKey: "any", baseURL: `${p.URL_}/v1` });
const anthropic = createAnthropic({ apiKey: "any", baseURL: `${p.URL_}/v1` });
const google = createGoogleGenerativeAI({ apiKey: "any", baseURL: `${p.URL_}/v1beta` });

const weather = tool({
  description: "The weather",
  inputSchema: jsonSchema(p.WEATHER),
  execute: async ({ city }) => p.RESULT + (city === "Riga" ? "" : ", but not the city that was asked"),
});

for (const [dialect, of] of [
  ["chat", openai.chat],
  ["responses", openai.responses],
  ["messages", anthropic],
  ["gemini", google],
]) {
  const ask = (more) => generateText({ model: of(p.model()), prompt: p.PROMPT, maxRetries: 0, ...more });

  async function* pieces(more) {
    let failure;
    const onError = ({ error }) => (failure = error);
    const stream = streamText({ model: of(p.model()), prompt: p.PROMPT, maxRetries: 0, onError, ...more });
    yield* stream.textStream;
    if (failure) throw failure;
  }

  async function tools() {
    const stopWhen = stepCountIs(3);
    const answer = await ask({ prompt: p.ASK_TOOL, tools: { get_weather: weather }, stopWhen });
    p.holds(answer.text, p.SAID_RESULT);
    p.holds(answer.text, p.RESULT);
  }

  async function image() {
    const content = [
      { type: "text", text: "Look." },
      { type: "file", mediaType: "image/png", data: Buffer.from(p.PICTURE, "base64") },
    ];
    const answer = await ask({ prompt: undefined, messages: [{ role: "user", content }] });
    p.holds(answer.text, p.SEEN);
  }

  async function error() {
    const is = (status) => (e) => e.statusCode === status;
    await p.fails(() => ask({ model: of(p.model("limited")) }), is(429), "scripted limit");
    const refused = async () => {
      for await (const _ of pieces({ model: of(p.model("refused")) }));
    };
    await p.fails(refused, is(400), "scripted refusal");
  }

  async function cancel() {
    let name = p.slow("ai-node", dialect, "stream");
    await p.leaves(name, (abortSignal) => pieces({ model: of(p.model(name)), abortSignal }));
    name = p.slow("ai-node", dialect, "whole");
    await p.givesUp(name, (abortSignal) => ask({ model: of(p.model(name)), abortSignal }));
  }

  p.cannot(dialect, "models", "never asks for the list");
  await p.tried(dialect, "text", async () => p.words((await ask()).text));
  await p.tried(dialect, "stream", () => p.inPieces(pieces()));
  await p.tried(dialect, "tools", tools);
  await p.tried(dialect, "image", image);
  await p.tried(dialect, "error", error);
  await p.tried(dialect, "cancel", cancel);
}
