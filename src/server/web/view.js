// The transcript: an article for each message. It only shows; what buttons do is the caller's.

import { button, copyButton, el } from "./dom.js";
import { renderMarkdown } from "./markdown.js";

const whole = new Intl.NumberFormat("en");
const tenth = new Intl.NumberFormat("en", { maximumFractionDigits: 1, minimumFractionDigits: 1 });
export const count = (n) => whole.format(n);
export const rate = (perSecond) => `${tenth.format(perSecond)} tok/s`;

function figures({ stats, stopped, cut }) {
  const parts = [];
  if (stopped) parts.push("stopped");
  if (cut) parts.push("cut at the token limit");
  if (stats?.completion) parts.push(`${count(stats.completion)} ${stats.completion === 1 ? "token" : "tokens"}`);
  if (stats?.rate) parts.push(rate(stats.rate));
  if (stats?.first) parts.push(`first after ${stats.first < 1 ? `${Math.round(stats.first * 1000)} ms` : `${tenth.format(stats.first)} s`}`);
  return parts.join(" · ");
}

export class Transcript {
  // actions: {edit(index, text), again(index)}
  constructor(container, actions) {
    this.container = container;
    this.actions = actions;
    this.frame = 0;
  }

  // All messages of chat; `running` is the one that is being written, if any.
  show(chat, running) {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    this.container.replaceChildren(...chat.messages.flatMap((message, index) => [
      index > 0 && index === chat.skipped ? el("p.quiet.left-out", null, "What is above is no longer sent: it does not fit into the context.") : "",
      this.#article(chat, message, index, message === running)]).filter(Boolean));
    this.container.setAttribute("aria-busy", String(Boolean(running)));
  }

  // The last message has grown: at most one rendering per frame.
  grow(message, after) {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      const body = this.container.lastElementChild?.querySelector(".body");
      if (body) renderMarkdown(body, message.content);
      after();
    });
  }

  #article(chat, message, index, running) {
    const user = message.role === "user";
    const body = el("div.body", { dir: "auto" });
    if (user) body.textContent = message.content;
    else if (message.content) renderMarkdown(body, message.content);
    else if (running) body.append(el("span.waiting", { role: "img", "aria-label": "The answer is on its way" }, el("i"), el("i"), el("i")));
    else body.append(el("p.quiet", null, "The answer is empty."));
    const article = el(`article.${message.role}`, { "aria-label": user ? "You" : "Answer" }, body);
    if (running) {
      article.classList.add("running");
      return article;
    }
    const last = index === chat.messages.length - 1;
    article.append(el("footer", null,
      copyButton(() => message.content, "Copy"),
      user ? button("edit", "Edit", () => this.#edit(article, message, index)) : null,
      last ? button("again", user ? "Answer this" : "Regenerate", () => this.actions.again(index)) : null,
      user ? null : el("span.number", null, figures(message))));
    return article;
  }

  #edit(article, message, index) {
    const area = el("textarea", { "aria-label": "Edit your message", rows: "1" });
    area.value = message.content;
    const before = [...article.childNodes];
    const cancel = () => {
      article.classList.remove("editing");
      article.replaceChildren(...before);
      article.querySelectorAll("footer button")[1]?.focus();
    };
    const save = () => {
      if (area.value.trim()) this.actions.edit(index, area.value);
    };
    area.addEventListener("keydown", (event) => {
      if (event.isComposing) return;
      if (event.key === "Enter" && !event.shiftKey) {
        event.preventDefault();
        save();
      } else if (event.key === "Escape") {
        event.stopPropagation();
        cancel();
      }
    });
    area.addEventListener("input", () => fit(area));
    article.classList.add("editing");
    article.replaceChildren(area, el("footer", null,
      el("span.quiet", null, "What follows this message will be cut."),
      el("button", { type: "button", onclick: cancel }, "Cancel"),
      el("button.primary", { type: "button", onclick: save }, "Send")));
    fit(area);
    area.focus();
    area.setSelectionRange(area.value.length, area.value.length);
  }
}

// A textarea as high as its text, up to the maximum that the style sheet sets.
export function fit(area) {
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight + area.offsetHeight - area.clientHeight}px`;
}
