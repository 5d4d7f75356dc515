// The page: conversations, the message box, settings and keys, and the one answer that may be running.

import { ApiError, hasKey, listModels, setKey } from "./api.js";
import { leaveOut, requestOf, streamAnswer } from "./chat.js";
import { button, el } from "./dom.js";
import { clearSampling, samplingControls } from "./settings.js";
import * as store from "./store.js";
import { count, fit, rate, Transcript } from "./view.js";

const $ = (id) => document.getElementById(id);
const IDEAS = ["Tell me a story about a small bird", "Explain why the sky is blue", "Write a haiku about the sea"];
const RETRIES = 5; // when the server says how long to wait
const SAVE_EVERY = 1000; // ms, while an answer is written

const settings = store.loadSettings();
let chat = store.newChat(typeof settings.system === "string" ? settings.system : "");
let run = null; // {chat, message, controller}: the answer that is being written
let models = [];
let atEnd = true; // the newest message is in sight, and shall stay so

const transcript = new Transcript($("messages"), { edit: editMessage, again: answerAgain });

// ------------------------------------------------------------------ showing

const titleOf = (conversation) => conversation.title || "New chat";
const model = () => models.find(({ id }) => id === settings.model) ?? models[0];

function showChat() {
  $("welcome").hidden = chat.messages.length > 0;
  $("title").textContent = titleOf(chat);
  document.title = chat.title ? `${chat.title} · tern` : "tern";
  $("system").value = chat.system;
  transcript.show(chat, run?.chat === chat ? run.message : null);
  $("notices").replaceChildren();
  showFigures();
  showSend();
  toEnd(true);
}

function showList() {
  const chats = store.listChats();
  $("chats").replaceChildren(...(chats.length ? [el("ul", null, chats.map((entry) => el("li", null,
    el("button.open", { type: "button", "aria-current": entry.id === chat.id ? "true" : null, onclick: () => openChat(entry.id) }, titleOf(entry)),
    button("delete", `Delete "${titleOf(entry)}"`, () => deleteChat(entry), { iconOnly: true, class: "square" }))))]
    : [el("p.quiet", null, "Nothing yet.")]));
}

function showSend() {
  const running = run !== null;
  const label = running ? "Stop" : "Send";
  $("send").classList.toggle("stop", running);
  $("send").setAttribute("aria-label", label);
  $("send").title = label;
  $("send").querySelector("use").setAttribute("href", running ? "#i-stop" : "#i-send");
  $("send").disabled = !running && !$("input").value.trim();
}

// Speed of the running answer, and how much of the context the conversation fills.
function showFigures() {
  const running = run?.chat === chat ? run.message : null;
  $("speed").textContent = running?.live?.rate ? rate(running.live.rate) : "";
  const known = chat.messages.findLast((message) => message.stats?.prompt !== undefined)?.stats;
  const size = model()?.context;
  const sum = (known ? known.prompt + known.completion : 0) + (running?.live?.pieces ?? 0);
  const used = Math.min(sum, size ?? sum); // the last token of a full context was never put into it
  const meter = $("context");
  meter.hidden = !used;
  if (!used) return;
  const share = size ? Math.min(1, used / size) : 0;
  meter.querySelector(".number").textContent = size ? `${count(used)} of ${count(size)} tokens` : `${count(used)} tokens`;
  meter.querySelector(".track").hidden = !size;
  meter.querySelector(".fill").style.width = `${share * 100}%`;
  meter.classList.toggle("high", share > 0.85);
  meter.setAttribute("aria-valuenow", String(used));
  meter.setAttribute("aria-valuemax", String(size ?? used));
  meter.setAttribute("aria-valuetext", meter.textContent);
}

function toEnd(force) {
  if (force) atEnd = true;
  if (atEnd) $("scroller").scrollTop = $("scroller").scrollHeight;
  $("to-end").hidden = atEnd;
}

const say = (text) => ($("status").textContent = text);

// A card under the messages; gone when the next one, or another conversation, comes.
function notice(text, ...buttons) {
  const words = el("p", null, text);
  const card = el("div.notice", { role: "alert" }, words, el("div.buttons", null, buttons));
  $("notices").replaceChildren(card);
  toEnd(false);
  return words;
}

function save(conversation) {
  conversation.updated = Date.now();
  if (!store.saveChat(conversation))
    notice("The browser does not store this conversation: its storage is full or switched off. Export what you want to keep, and delete some.");
}

// -------------------------------------------------------------- conversations

function openChat(id) {
  chat = run?.chat.id === id ? run.chat : store.loadChat(id) ?? store.newChat();
  closeDrawers();
  showChat();
  showList();
  $("input").focus();
}

function startChat() {
  chat = store.newChat(typeof settings.system === "string" ? settings.system : "");
  closeDrawers();
  showChat();
  showList();
  $("input").focus();
}

function deleteChat(entry) {
  if (run?.chat.id === entry.id) run.controller.abort();
  const kept = run?.chat.id === entry.id ? run.chat : entry;
  kept.deleted = true; // the answer that is being stopped must not store it again
  store.removeChat(entry.id);
  if (chat.id === entry.id) startChat();
  else showList();
  notice(`"${titleOf(entry)}" was deleted.`, el("button", { type: "button", onclick: () => {
    delete kept.deleted;
    store.saveChat(kept);
    openChat(kept.id);
  } }, "Undo"));
}

function exportAll() {
  const url = URL.createObjectURL(new Blob([store.exportChats()], { type: "application/json" }));
  el("a", { href: url, download: `tern-${new Date().toISOString().slice(0, 10)}.json` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

async function importFile() {
  const [file] = $("import-file").files;
  $("import-file").value = "";
  if (!file) return;
  try {
    const n = store.importChats(await file.text());
    notice(n === 1 ? "One conversation was imported." : `${n} conversations were imported.`);
  } catch (error) {
    notice(error.message);
  }
  showList();
}

// --------------------------------------------------------------------- answers

function send() {
  const text = $("input").value;
  if (run || !text.trim()) return;
  $("input").value = "";
  fit($("input"));
  chat.messages.push({ role: "user", content: text });
  chat.title ||= text.trim().replace(/\s+/g, " ").slice(0, 60);
  answer();
}

function editMessage(index, text) {
  stop();
  chat.messages.length = index;
  if (index < (chat.skipped ?? 0)) delete chat.skipped;
  chat.messages.push({ role: "user", content: text });
  if (index === 0) chat.title = text.trim().replace(/\s+/g, " ").slice(0, 60);
  answer();
}

function answerAgain(index) {
  if (run) return;
  const replaced = chat.messages[index].role === "assistant" ? chat.messages.pop() : null;
  answer(replaced);
}

function stop() {
  run?.controller.abort();
  run = null;
}

// Have the last message answered. `replaced` is the answer that stood here before; it comes back if there is no other.
async function answer(replaced = null) {
  const request = requestOf(chat, settings, model()?.id);
  const mine = { chat, message: { role: "assistant", content: "" }, controller: new AbortController() };
  const { message, controller } = mine;
  run = mine;
  chat.messages.push(message);
  showChat();
  save(chat);
  showList();
  say("The answer is being written.");
  const failure = await attempts(request, mine);
  const stopped = controller.signal.aborted;
  if (stopped && message.content) message.stopped = true;
  const at = mine.chat.messages.indexOf(message);
  if (!message.content && (failure || stopped) && at >= 0) mine.chat.messages.splice(at, 1, ...(replaced ? [replaced] : []));
  if (!mine.chat.deleted) save(mine.chat);
  if (run !== mine) return; // an edit has begun another answer
  run = null;
  showSend();
  if (mine.chat !== chat) return;
  showFigures();
  if (!document.querySelector("article.editing")) transcript.show(chat, null); // an edit that was begun meanwhile stays
  toEnd(false);
  if (failure?.code === "context_length_exceeded") {
    offerRoom();
    say("");
  } else if (failure) {
    notice(failure.message, button("again", "Try again", () => answerAgain(chat.messages.length - 1)));
    say("");
  } else say(stopped ? "Stopped." : `The answer is complete${message.stats ? `: ${count(message.stats.completion)} tokens` : ""}.`);
}

// The conversation does not fit into the context any more.
function offerRoom() {
  const skipped = leaveOut(chat, model()?.context);
  const more = skipped > (chat.skipped ?? 0);
  const goOn = () => {
    chat.skipped = skipped;
    answerAgain(chat.messages.length - 1);
  };
  notice(more ? "The conversation is too long for the model's context." : "The message is too long for the model's context. Make it shorter.",
    ...(more ? [button("again", "Leave out the oldest messages", goOn)] : []), el("button", { type: "button", onclick: startChat }, "New chat"));
}

// Ask until there is an answer: again with a key, again after the time that a busy server names. Returns the error that
// ended it, or null.
async function attempts(request, mine) {
  const { message, controller } = mine;
  let saved = performance.now();
  const changed = () => {
    if (performance.now() - saved > SAVE_EVERY && !mine.chat.deleted) {
      saved = performance.now();
      store.saveChat(mine.chat);
    }
    if (mine.chat !== chat) return;
    showFigures();
    transcript.grow(message, () => toEnd(false));
  };
  for (let retries = 0; ; retries++) {
    try {
      await streamAnswer(request, message, controller.signal, changed);
      return null;
    } catch (error) {
      if (controller.signal.aborted) return null;
      const known = error instanceof ApiError ? error : new ApiError("The server's answer makes no sense to this page.", 0);
      if (message.content) return known;
      if (known.status === 401) {
        if (!(await askKey(known.message))) return known;
        loadModels();
      } else if (known.retryAfter !== null && retries < RETRIES) {
        if (!(await pause(known, mine))) return null;
      } else return known;
    }
  }
}

// Count down the seconds that the server asked for; false if the answer was stopped meanwhile.
async function pause(error, { controller, chat: waiting }) {
  const end = performance.now() + Math.max(1, error.retryAfter) * 1000;
  let skip = false;
  const words = waiting === chat ? notice(error.message, button("again", "Try now", () => (skip = true))) : null;
  const counter = el("span.number", { "aria-hidden": "true" });
  words?.append(" ", counter);
  while (!skip && !controller.signal.aborted && performance.now() < end) {
    counter.textContent = `Next try in ${Math.ceil((end - performance.now()) / 1000)} s.`;
    await new Promise((done) => setTimeout(done, 100));
  }
  if (words?.isConnected) $("notices").replaceChildren();
  return !controller.signal.aborted;
}

// ---------------------------------------------------------------- keys, models

let asking = null; // one dialog for all who ask

function askKey(reason) {
  asking ??= new Promise((done) => {
    const dialog = $("key-dialog");
    $("key-reason").textContent = reason;
    $("key").value = "";
    dialog.returnValue = "";
    dialog.addEventListener("close", () => {
      asking = null;
      const used = dialog.returnValue === "use";
      if (used) setKey($("key").value);
      $("key").value = "";
      showKey();
      done(used);
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}

const showKey = () => ($("key-state").textContent = hasKey() ? "A key is set for this tab." : "No key is set. Servers that need one ask for it.");

async function loadModels() {
  try {
    models = await listModels();
  } catch (error) {
    if (error.status === 401 && (await askKey(error.message))) return loadModels();
    if (!chat.messages.length) notice(error.message, button("again", "Try again", () => {
      $("notices").replaceChildren();
      loadModels();
    }));
    return;
  }
  const select = $("model");
  select.replaceChildren(...models.map(({ id }) => el("option", { value: id }, id)));
  select.value = model()?.id ?? "";
  select.disabled = models.length < 2;
  select.title = model()?.id ?? "";
  showFigures();
}

// -------------------------------------------------------------- drawers, theme

const narrow = matchMedia("(max-width: 820px)");
const dark = matchMedia("(prefers-color-scheme: dark)");

function setDrawer(name, open) {
  document.body.classList.toggle(`${name}-open`, open);
  $(`toggle-${name}`).setAttribute("aria-expanded", String(open));
}

function toggleDrawer(name) {
  const open = !document.body.classList.contains(`${name}-open`);
  setDrawer(name, open);
  if (open && narrow.matches) $(name).querySelector("button, textarea").focus();
  if (!open) $(`toggle-${name}`).focus();
}

// On a narrow page drawers lie over the conversation: true if one was closed.
function closeDrawers() {
  if (!narrow.matches) return false;
  const open = ["sidebar", "settings"].filter((name) => document.body.classList.contains(`${name}-open`));
  for (const name of open) setDrawer(name, false);
  return open.length > 0;
}

function switchTheme() {
  const root = document.documentElement;
  const next = (root.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark" ? "light" : "dark";
  const system = dark.matches ? "dark" : "light";
  try {
    if (next === system) localStorage.removeItem("tern.theme"); // follow the system again
    else localStorage.setItem("tern.theme", next);
  } catch {
    // it holds until the page is left
  }
  if (next === system) delete root.dataset.theme;
  else root.dataset.theme = next;
}

// ---------------------------------------------------------------------- wiring

function onKey(event) {
  if (event.isComposing || event.defaultPrevented) return;
  if (event.key === "Escape" && !$("key-dialog").open) {
    if (!closeDrawers()) run?.controller.abort();
  } else if (event.key === "/" && !event.target.closest("input, textarea, select") && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    $("input").focus();
  }
}

function wire() {
  const input = $("input");
  input.addEventListener("input", () => {
    fit(input);
    showSend();
  });
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  });
  $("send").addEventListener("click", () => (run ? run.controller.abort() : send()));
  $("new-chat").addEventListener("click", startChat);
  $("export").addEventListener("click", exportAll);
  $("import").addEventListener("click", () => $("import-file").click());
  $("import-file").addEventListener("change", importFile);
  $("to-end").addEventListener("click", () => toEnd(true));
  $("scroller").addEventListener("scroll", () => {
    const { scrollTop, clientHeight, scrollHeight } = $("scroller");
    atEnd = scrollTop + clientHeight > scrollHeight - 48;
    $("to-end").hidden = atEnd;
  }, { passive: true });
  for (const name of ["sidebar", "settings"]) $(`toggle-${name}`).addEventListener("click", () => toggleDrawer(name));
  $("close-settings").addEventListener("click", () => toggleDrawer("settings"));
  $("scrim").addEventListener("click", closeDrawers);
  $("theme").addEventListener("click", switchTheme);
  $("model").addEventListener("change", () => {
    settings.model = $("model").value;
    store.saveSettings(settings);
    showFigures();
  });
  $("system").addEventListener("input", () => {
    chat.system = settings.system = $("system").value;
    store.saveSettings(settings);
    if (chat.messages.length) save(chat);
  });
  const showSampling = samplingControls($("sampling"), settings, () => store.saveSettings(settings));
  $("reset").addEventListener("click", () => {
    clearSampling(settings);
    store.saveSettings(settings);
    showSampling();
  });
  $("change-key").addEventListener("click", () => askKey("It is sent with every request. Leave it empty to send none."));
  $("key-use").addEventListener("click", () => $("key-dialog").close("use"));
  $("key-cancel").addEventListener("click", () => $("key-dialog").close(""));
  $("key").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.isComposing) $("key-dialog").close("use");
  });
  $("ideas").append(...IDEAS.map((idea) => el("button", { type: "button", onclick: () => {
    input.value = idea;
    send();
  } }, idea)));
  document.addEventListener("keydown", onKey);
  addEventListener("storage", (event) => { // another tab of this page
    if (!store.isChatKey(event.key)) return;
    showList();
    if (event.key?.endsWith(chat.id) && event.newValue && run?.chat !== chat && !document.querySelector("article.editing")) {
      chat = store.loadChat(chat.id) ?? chat;
      showChat();
    }
  });
  addEventListener("pagehide", () => {
    if (run && !run.chat.deleted) store.saveChat(run.chat);
  });
  narrow.addEventListener("change", () => setDrawer("sidebar", !narrow.matches));
}

wire();
setDrawer("sidebar", !narrow.matches);
setDrawer("settings", false);
const [newest] = store.listChats();
if (newest) chat = newest; // a reload goes on where it was
showKey();
showChat();
showList();
loadModels();
if (!narrow.matches) $("input").focus();
