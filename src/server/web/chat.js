// One answer: what is asked of the server, and what comes back put into a message with its figures.

import { streamChat } from "./api.js";
import { samplingOf } from "./settings.js";

// The request for an answer to the messages of chat so far, but for those that are left out.
export function requestOf(chat, settings, model) {
  const messages = chat.messages.slice(chat.skipped ?? 0).map(({ role, content }) => ({ role, content }));
  if (chat.system.trim()) messages.unshift({ role: "system", content: chat.system });
  return { ...(model ? { model } : {}), messages, ...samplingOf(settings) };
}

// How many of the first messages to leave out, so that the rest fills about half of the context (tokens, or null): more
// than now, and by whole turns. Just as many as now if there is but the last question left.
export function leaveOut(chat, context) {
  const now = chat.skipped ?? 0;
  const characters = (from, to) => chat.messages.slice(from, to).reduce((sum, { content }) => sum + content.length, chat.system.length);
  const questions = chat.messages.flatMap(({ role }, index) => (role === "user" && index > now ? [index] : []));
  const last = chat.messages.findLastIndex(({ stats }, index) => index > now && stats?.prompt);
  const { prompt = 1, completion = 0 } = chat.messages[last]?.stats ?? {};
  const perToken = last < 0 ? 4 : characters(now, last + 1) / (prompt + completion);
  const room = context ? (context / 2) * perToken : characters(now) / 2;
  return questions.find((index) => characters(index) <= room) ?? questions.at(-1) ?? now;
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
