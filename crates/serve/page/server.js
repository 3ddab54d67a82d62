// Calls of the service: its errors in its own words, its token, and patience where it is busy.
import { say, sentence } from "./parts.js";

// What the service says is wrong: `code`, `message`, `hint`; `status` 0 where it did not answer.
export class Failure extends Error {
  constructor(status, code, message, hint) {
    super(message);
    this.status = status;
    this.code = code;
    this.hint = hint;
  }
}

const KEPT = "sememe-token";
const PATIENCE = 2, LONGEST_WAIT = 8;
let asking = null;

function kept() {
  try { return sessionStorage.getItem(KEPT); } catch { return null; }
}
function keep(token) {
  try { sessionStorage.setItem(KEPT, token); } catch { /* A browser may forbid it: then the token is asked for again. */ }
}

// Asks for a token, once however many calls wait for it; null where the reader would rather not.
function askForToken(why) {
  asking ??= new Promise((resolve) => {
    const dialog = document.getElementById("token"), value = document.getElementById("token-value");
    document.getElementById("token-error").textContent = why && sentence(why);
    let token = null;
    const form = dialog.querySelector("form");
    const submit = (event) => {
      event.preventDefault();
      token = value.value.trim();
      if (token) dialog.close();
    };
    form.addEventListener("submit", submit);
    document.getElementById("token-cancel").onclick = () => dialog.close();
    dialog.addEventListener("close", () => {
      form.removeEventListener("submit", submit);
      value.value = "";
      asking = null;
      resolve(token);
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); }, { once: true });
  });
}

async function failure(response) {
  let error;
  try { error = (await response.json()).error; } catch { /* Not from the service: a proxy, say. */ }
  return error?.message
    ? new Failure(response.status, error.code, error.message, error.hint)
    : new Failure(response.status, "http", `The answer is ${response.status} ${response.statusText}`.trim());
}

async function answer(path, body, signal) {
  for (let tries = 0; ;) {
    const token = kept(), headers = {};
    if (token) headers.authorization = `Bearer ${token}`;
    if (body) headers["content-type"] = "application/json";
    let response;
    try {
      response = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new Failure(0, "no_answer", "The service does not answer", "It may have stopped, or the network is away.");
    }
    if (response.ok) return response;
    const failed = await failure(response);
    if (response.status === 401) {
      // Another call may have been given a token while this one was under way.
      if (kept() !== token) continue;
      const given = await askForToken(token ? failed.message : "");
      if (given === null) throw failed;
      keep(given);
      continue;
    }
    const wait = Number(response.headers.get("retry-after"));
    if ((response.status === 429 || response.status === 503) && tries < PATIENCE && wait > 0 && wait <= LONGEST_WAIT) {
      tries += 1;
      say(`${sentence(failed.message)} Asking again in ${wait} s.`);
      await pause(wait, signal);
      continue;
    }
    throw failed;
  }
}

// GET, or POST where there is a body; the answer's JSON.
export async function call(path, { body, signal } = {}) {
  const response = await answer(path, body, signal);
  try {
    return await response.json();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Failure(response.status, "http", "The answer is no JSON", "Does a proxy stand before the service?");
  }
}

// POST whose answer comes as events; `each` gets every one, parsed, until `[DONE]`.
export async function stream(path, { body, signal, each }) {
  const response = await answer(path, body, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "", data = [], ended = false;
  const event = () => {
    const text = data.join("\n");
    data = [];
    if (!text || ended) return;
    if (text === "[DONE]") { ended = true; return; }
    const part = JSON.parse(text);
    if (part.error) throw new Failure(response.status, part.error.code, part.error.message, part.error.hint);
    each(part);
  };
  for (;;) {
    const { value, done } = await reader.read();
    if (value) rest += value;
    const lines = rest.split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    for (const line of lines) {
      if (line === "") event();
      else if (line.startsWith("data:")) data.push(line.slice(line[5] === " " ? 6 : 5));
    }
    if (done) break;
  }
  event();
  if (!ended) throw new Failure(response.status, "cut", "The answer was cut short", "Ask again.");
}

export const path = {
  info: () => "v1/info",
  item: (key, neighbours) => `v1/items/${encodeURIComponent(key)}?neighbours=${neighbours}`,
  id: (id) => `v1/ids/${encodeURIComponent(id)}`,
  prefix: (prefix, limit) => (prefix ? `v1/prefixes/${encodeURIComponent(prefix)}?limit=${limit}` : `v1/prefixes?limit=${limit}`),
};
