// One answer: what is asked of the server, and what comes back put into a message with its figures.

import { streamChat } from "./api.js";
import { samplingOf } from "./settings.js";

// The request for an answer to the messages of chat so far.
export function requestOf(chat, settings, model) {
  const messages = chat.messages.map(({ role, content }) => ({ role, content }));
  if (chat.system.trim()) messages.unshift({ role: "system", content: chat.system });
  return { ...(model ? { model } : {}), messages, ...samplingOf(settings) };
}

// Stream the answer into message: content grows, changed() after each piece, stats at the end: tokens of prompt and
// completion, cached of the prompt, seconds to the first piece, tokens per second after it.
export async function streamAnswer(request, message, signal, changed) {
  const begin = performance.now();
  let first = 0;
  let last = 0;
  let pieces = 0;
  let usage = null;
  const finish = () => {
    const completion = usage?.completion_tokens ?? pieces;
    message.stats = { completion };
    if (usage) message.stats.prompt = usage.prompt_tokens;
    if (usage?.prompt_tokens_details?.cached_tokens) message.stats.cached = usage.prompt_tokens_details.cached_tokens;
    if (first) message.stats.first = (first - begin) / 1000;
    if (completion > 1 && last > first) message.stats.rate = (completion - 1) / ((last - first) / 1000);
  };
  try {
    for await (const chunk of streamChat(request, signal)) {
      if (chunk.usage) usage = chunk.usage;
      const choice = chunk.choices?.[0];
      const text = choice?.delta?.content;
      if (choice?.finish_reason === "length") message.cut = true;
      if (!text) continue;
      last = performance.now();
      first ||= last;
      pieces++;
      message.content += text;
      message.live = { pieces, rate: last > first ? (pieces - 1) / ((last - first) / 1000) : 0 };
      changed();
    }
  } finally {
    delete message.live;
    if (pieces || usage) finish();
  }
}
