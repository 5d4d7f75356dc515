// The server: OpenAI's API under the address that this page came from.

const KEY = "tern.key";
let key = "";
try {
  key = sessionStorage.getItem(KEY) ?? "";
} catch {
  // without storage the key lasts until the page is left
}

export const hasKey = () => key !== "";

export function setKey(text) {
  key = text.trim();
  try {
    if (key) sessionStorage.setItem(KEY, key);
    else sessionStorage.removeItem(KEY);
  } catch {
    // see above
  }
}

export class ApiError extends Error {
  // status: 0 when there was no answer; retryAfter: seconds, or null; code: OpenAI's word for it, or ""
  constructor(message, status, retryAfter = null, code = "") {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
    this.code = code;
  }
}

const MEANINGS = {
  401: "The server wants an API key.",
  403: "The server refuses this request.",
  404: "The server has no such address.",
  413: "The request is too large for this server.",
  429: "The server is busy.",
  503: "The server takes no requests at the moment.",
};

async function errorOf(response) {
  let message = "";
  let code = "";
  try {
    ({ message, code } = (await response.json()).error);
  } catch {
    // not in OpenAI's shape: the status has to say it
  }
  const seconds = Number(response.headers.get("Retry-After") ?? NaN);
  return new ApiError(typeof message === "string" && message ? message
    : MEANINGS[response.status] ?? `The server answered with status ${response.status}.`,
    response.status, Number.isFinite(seconds) && seconds >= 0 ? Math.min(seconds, 600) : null, String(code ?? ""));
}

async function request(path, options = {}) {
  const headers = { ...options.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  let response;
  try {
    response = await fetch(path, { ...options, headers, credentials: "omit", cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The server cannot be reached.", 0);
  }
  if (!response.ok) throw await errorOf(response);
  return response;
}

// [{id, context_length or null}]
export async function listModels() {
  const { data } = await (await request("v1/models")).json();
  return data.map((model) => ({ id: String(model.id), context: Number(model.context_length ?? model.max_model_len) || null }));
}

// The chunks of a streamed answer, parsed. An error inside the stream, and a stream that just ends, are thrown.
export async function* streamChat(body, signal) {
  const response = await request("v1/chat/completions", {
    method: "POST",
    signal,
    headers: { "Content-Type": "application/json", Accept: "text/event-stream" },
    body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }),
  });
  for await (const data of events(response.body)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new ApiError(String(chunk.error.message ?? "The server gave up."), Number(chunk.error.code) || 500);
    yield chunk;
  }
  throw new ApiError("The connection ended before the answer did.", 0);
}

// The data of each server-sent event; comments and other fields are passed over.
async function* events(stream) {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  let data = [];
  try {
    for (;;) {
      let part;
      try {
        part = await reader.read();
      } catch (error) {
        if (error.name === "AbortError") throw error;
        throw new ApiError("The connection broke off.", 0);
      }
      if (part.done) return;
      const lines = (rest + decoder.decode(part.value, { stream: true })).split("\n");
      rest = lines.pop();
      for (const raw of lines) {
        const line = raw.endsWith("\r") ? raw.slice(0, -1) : raw;
        if (line.startsWith("data:")) data.push(line.slice(line[5] === " " ? 6 : 5));
        else if (line === "" && data.length) {
          yield data.join("\n");
          data = [];
        }
      }
    }
  } finally {
    reader.cancel().catch(() => {}); // leaving early closes the connection: the server stops
  }
}
