// What every Node probe shares: the tries, and how their outcome is told: a line of JSON.

export const [URL_, UPSTREAM, PROVIDER] = process.argv.slice(2);
/** A real model answers, which neither calls tools nor fails when it is told to. */
const REAL = "MATRIX_REAL" in process.env;
export const PROMPT = "Say the two words.";
export const PICTURE =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
export const SEEN = `Saw image/png of ${Buffer.from(PICTURE, "base64").length} bytes.`;
export const WEATHER = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
export const ASK_TOOL = "USE-TOOL now.";
export const RESULT = "4 C in Riga";
export const SAID_RESULT = "The tool said: ";

export const model = (word = "m") => `${PROVIDER}/${word}`;
/** Names a model of one try alone, so that the upstream knows whose connection ended. */
export const slow = (client, dialect, how) => `slow-${client}-${dialect}-${PROVIDER}-${how}`;

class Mismatch extends Error {}

export function same(found, expected) {
  const [a, b] = [JSON.stringify(found), JSON.stringify(expected)];
  if (a !== b) throw new Mismatch(`expected ${b}, found ${a}`);
}

export function holds(found, expected) {
  const text = typeof found === "string" ? found : JSON.stringify(found);
  if (!text?.includes(expected)) throw new Mismatch(`expected "${expected}" in ${text?.slice(0, 200)}`);
}

/** What the client was told must be what the upstream said. */
export async function words(found) {
  const said = await (await fetch(`${UPSTREAM}/said`)).json();
  if (!said) throw new Mismatch("the upstream was not asked");
  // Some clients leave out an answer's last line break.
  same(found.trim(), said.trim());
}

/** The upstream says two pieces; a client that gets one was made to wait for both. */
export async function inPieces(stream) {
  const pieces = [];
  for await (const piece of stream) if (piece) pieces.push(piece);
  await words(pieces.join(""));
  if (pieces.length < 2) throw new Mismatch("came in one piece");
}

/** The upstream's connection must end within a second of the client's leaving. */
async function gone(slowModel, left) {
  const noticed = await (await fetch(`${UPSTREAM}/gone?model=${slowModel}`)).json();
  if (!noticed.done) throw new Mismatch("the upstream was never left");
  const took = noticed.at - left / 1000;
  if (took > 1) throw new Mismatch(`the upstream was left after ${took.toFixed(1)} s`);
}

/** Reads the first text of a stream, aborts, and looks whether the upstream is left. */
export async function leaves(slowModel, stream) {
  const controller = new AbortController();
  let left = Date.now();
  try {
    for await (const piece of stream(controller.signal)) {
      if (!piece) continue;
      same(piece, "red ");
      left = Date.now();
      controller.abort();
    }
  } catch (error) {
    if (!controller.signal.aborted || error instanceof Mismatch) throw error;
  }
  await gone(slowModel, left);
}

/** Asks for a whole answer and aborts once the upstream has the request. */
export async function givesUp(slowModel, ask) {
  const controller = new AbortController();
  const asked = ask(controller.signal).then(
    () => new Mismatch("an answer came"),
    (error) => (controller.signal.aborted ? null : error),
  );
  const come = fetch(`${UPSTREAM}/come?model=${slowModel}`).then((answer) => answer.json());
  await Promise.race([come, asked]);
  const left = Date.now();
  controller.abort();
  const failure = await asked;
  if (failure) throw failure;
  await gone(slowModel, left);
}

/** Asks for what fails, and looks at the exception that the client's library makes of it. */
export async function fails(ask, fits, message) {
  let failure;
  try {
    await ask();
  } catch (error) {
    failure = error;
  }
  if (!failure) throw new Mismatch("no exception came");
  const words = `${failure.name} ${failure.constructor?.name} ${failure.status ?? failure.statusCode}`;
  if (!fits(failure)) throw new Mismatch(`another exception came: ${words}: ${failure.message}`);
  holds(`${failure.message} ${failure.responseBody ?? ""}`, message);
}

/** Tries one thing. What the gateway refuses with a reason is told as such. */
export async function tried(dialect, op, work) {
  if (REAL && !["text", "stream"].includes(op)) return;
  let outcome = { status: "ok", note: "" };
  try {
    await work();
  } catch (error) {
    const code = error.status ?? error.statusCode;
    const refused = [400, 404, 422, 501].includes(code);
    const status = refused ? "refused" : "failed";
    const named = error instanceof Mismatch ? "" : `${error.constructor?.name}: `;
    outcome = { status, note: named + error.message };
  }
  console.log(JSON.stringify({ dialect, op, ...outcome }));
}

export function cannot(dialect, op, why) {
  if (REAL) return;
  console.log(JSON.stringify({ dialect, op, status: "n/a", note: why }));
}
