// Conversations and settings in localStorage: "tern.chat.ID" each, "tern.settings".
//
// A conversation: {id, title, created, updated, system, messages: [{role: "user" | "assistant", content, stats?, stopped?, cut?}], skipped?: how many of the
// first messages are not sent any more}

const PREFIX = "tern.chat.";
const SETTINGS = "tern.settings";
const FORMAT = "tern-conversations";

export const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");

export const newChat = (system = "") => ({ id: newId(), title: "", created: Date.now(), updated: Date.now(), system, messages: [] });

const text = (value) => (typeof value === "string" ? value : "");
const time = (value) => (Number.isFinite(value) ? value : Date.now());

// What comes from storage or from a file may be anything: take over what fits, or null.
function checked(value) {
  if (!value || typeof value !== "object" || !Array.isArray(value.messages)) return null;
  const messages = value.messages
    .filter((message) => message && ["user", "assistant"].includes(message.role) && typeof message.content === "string")
    .filter((message) => message.content || message.stats) // no answer that had not begun when the page was left
    .map(({ role, content, stats, stopped, cut }) => ({
      role,
      content,
      ...(role === "assistant" && stats && typeof stats === "object" ? { stats: checkedStats(stats) } : {}),
      ...(stopped ? { stopped: true } : {}),
      ...(cut ? { cut: true } : {}),
    }));
  return {
    id: /^[0-9a-f]{16}$/.test(value.id) ? value.id : newId(),
    title: text(value.title).slice(0, 200),
    created: time(value.created),
    updated: time(value.updated),
    system: text(value.system),
    messages,
    ...(Number.isInteger(value.skipped) && value.skipped > 0 && value.skipped < messages.length ? { skipped: value.skipped } : {}),
  };
}

function checkedStats(stats) {
  const numbers = {};
  for (const name of ["prompt", "completion", "cached", "first", "rate"])
    if (Number.isFinite(stats[name])) numbers[name] = stats[name];
  return numbers;
}

function read(key) {
  try {
    return JSON.parse(localStorage.getItem(key));
  } catch {
    return null;
  }
}

// Newest first.
export function listChats() {
  const chats = [];
  try {
    for (let i = 0; i < localStorage.length; i++) {
      const key = localStorage.key(i);
      const chat = key.startsWith(PREFIX) ? checked(read(key)) : null;
      if (chat) chats.push(chat);
    }
  } catch {
    // storage is switched off
  }
  return chats.sort((a, b) => b.updated - a.updated);
}

export const loadChat = (id) => checked(read(PREFIX + id));
export const isChatKey = (key) => key === null || key.startsWith(PREFIX);

// false if the browser refuses: storage is full or switched off
export function saveChat(chat) {
  try {
    localStorage.setItem(PREFIX + chat.id, JSON.stringify(chat));
    return true;
  } catch {
    return false;
  }
}

export function removeChat(id) {
  try {
    localStorage.removeItem(PREFIX + id);
  } catch {
    // nothing was stored either
  }
}

export function loadSettings() {
  const settings = read(SETTINGS);
  return settings && typeof settings === "object" && !Array.isArray(settings) ? settings : {};
}

export function saveSettings(settings) {
  try {
    localStorage.setItem(SETTINGS, JSON.stringify(settings));
  } catch {
    // they hold until the page is left
  }
}

export function exportChats() {
  return JSON.stringify({ format: FORMAT, version: 1, conversations: listChats() }, null, 2);
}

// How many were taken over; throws an Error that says what is wrong with the file. What is there already stays as it is.
export function importChats(json) {
  let file;
  try {
    file = JSON.parse(json);
  } catch {
    throw new Error("This file is no JSON.");
  }
  if (file?.format !== FORMAT || !Array.isArray(file.conversations))
    throw new Error("This file holds no conversations that tern exported.");
  const chats = file.conversations.map(checked).filter((chat) => chat !== null);
  let count = 0;
  for (const chat of chats) {
    const present = loadChat(chat.id);
    if (present && JSON.stringify(present) === JSON.stringify(chat)) continue;
    if (present) chat.id = newId();
    if (!saveChat(chat)) throw new Error(`The browser's storage is full: ${count} of ${chats.length} conversations were imported.`);
    count++;
  }
  return count;
}
