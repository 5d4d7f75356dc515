// Markdown inside a paragraph: emphasis, code, links. Time is linear in the text and nesting is bounded, whatever
// the text is: a model, or who writes its prompt, must not be able to hang the page.

import { el } from "./dom.js";

const OPEN_MAX = 16; // emphasis that is open at once; older ones become text
const RUN_MAX = 3; // "****" and longer is text
const URL_MAX = 2000;
const TOKEN = /\\|`+|\*+|_+|~+|!?\[|\]|\n|https?:\/\/|</g;
const PUNCTUATION = /[\p{P}\p{S}]/u;
const SPACE = /\s/u;

// The address if it is absolute and http or https, else null: no javascript:, data:, file: and nothing relative.
export function safeUrl(text) {
  let url;
  try {
    url = new URL(text);
  } catch {
    return null;
  }
  return url.protocol === "http:" || url.protocol === "https:" ? url.href : null;
}

function link(href, children) {
  const node = el("a", { href, rel: "noopener noreferrer", target: "_blank", title: href }, children);
  for (const inner of node.querySelectorAll("a")) inner.replaceWith(...inner.childNodes); // none inside another
  return node;
}

// What stands behind "](": {url, end} with end behind the ")", or null.
function destination(text, at) {
  let i = at;
  let url;
  const stop = Math.min(text.length, at + URL_MAX);
  while (i < stop && text[i] === " ") i++;
  if (text[i] === "<") {
    const end = text.slice(i, stop).search(/[>\n]/) + i;
    if (end < i || text[end] !== ">") return null;
    url = text.slice(i + 1, end);
    i = end + 1;
  } else {
    let depth = 0;
    const begin = i;
    for (; i < stop && !/\s/.test(text[i]); i++) {
      if (text[i] === "(") depth++;
      else if (text[i] === ")" && depth-- === 0) break;
      if (depth > 8) return null;
    }
    url = text.slice(begin, i);
  }
  const title = /[ \n]+(?:"[^"]{0,300}"|'[^']{0,300}')/y;
  title.lastIndex = i;
  if (title.test(text)) i = title.lastIndex;
  while (i < text.length && i < stop && text[i] === " ") i++;
  return text[i] === ")" ? { url, end: i + 1 } : null;
}

// A bare address: what follows it as punctuation, or as the ")" of the sentence around it, is not part of it.
function bareUrl(text, at) {
  const pattern = /https?:\/\/[^\s<>"`]{1,2000}/y;
  pattern.lastIndex = at;
  const found = pattern.exec(text)?.[0] ?? "";
  let surplus = found.split(")").length - found.split("(").length;
  let end = found.length;
  for (; end > 0 && ".,;:!?'*_~])".includes(found[end - 1]); end--) if (found[end - 1] === ")" && surplus-- <= 0) break;
  return safeUrl(found.slice(0, end)) ? found.slice(0, end) : null;
}

// Whether a run of delimiters may open or close emphasis (CommonMark 0.31, "left-flanking" and "right-flanking").
function flanking(text, begin, end) {
  const before = begin ? text[begin - 1] : " ";
  const after = end < text.length ? text[end] : " ";
  const left = !SPACE.test(after) && (!PUNCTUATION.test(after) || SPACE.test(before) || PUNCTUATION.test(before));
  const right = !SPACE.test(before) && (!PUNCTUATION.test(before) || SPACE.test(after) || PUNCTUATION.test(after));
  if (text[begin] !== "_") return { open: left, close: right };
  return { open: left && (!right || PUNCTUATION.test(before)), close: right && (!left || PUNCTUATION.test(after)) };
}

// items: nodes, strings and runs {mark, count, open, close} -> nodes and strings
function emphasise(items) {
  const frames = [{ children: [] }]; // frames[0] is the text itself, each other one an open run and what is behind it
  const give = (item) => frames.at(-1).children.push(item);
  const flatten = (at) => { // frame `at` was no emphasis after all
    const [frame] = frames.splice(at, 1);
    const into = frames[at - 1].children;
    into.push(frame.mark.repeat(frame.count));
    for (const child of frame.children) into.push(child);
  };
  for (const item of items) {
    if (item.mark === undefined) {
      give(item);
      continue;
    }
    let { count } = item;
    while (item.close && count) {
      const at = frames.findLastIndex((frame) => frame.mark === item.mark && (item.mark !== "~" || frame.count === count));
      if (at < 1) break;
      while (frames.length > at + 1) flatten(frames.length - 1);
      const frame = frames[at];
      const used = item.mark === "~" ? count : Math.min(2, frame.count, count);
      const node = el(item.mark === "~" ? "del" : used === 2 ? "strong" : "em", null, frame.children);
      frame.count -= used;
      count -= used;
      if (frame.count) frame.children = [node];
      else {
        frames.pop();
        give(node);
      }
    }
    if (!count) continue;
    if (!item.open) {
      give(item.mark.repeat(count));
      continue;
    }
    frames.push({ mark: item.mark, count, children: [] });
    if (frames.length > OPEN_MAX) flatten(1);
  }
  while (frames.length > 1) flatten(frames.length - 1);
  return frames[0].children;
}

// Where the run of backticks is that closes a code span: each list is walked once.
function codeEnds(text) {
  const ends = new Map();
  for (const match of text.matchAll(/`+/g)) {
    const list = ends.get(match[0].length) ?? { at: [], next: 0 };
    list.at.push(match.index);
    ends.set(match[0].length, list);
  }
  return (length, after) => {
    const list = ends.get(length);
    while (list.next < list.at.length && list.at[list.next] < after) list.next++;
    return list.at[list.next] ?? -1;
  };
}

// text -> a fragment
export function inline(text) {
  const fragment = document.createDocumentFragment();
  const items = [];
  const brackets = []; // open "[": where in items, and where its text begins
  const codeEnd = codeEnds(text);
  let done = 0; // everything before is in items
  const take = (end) => {
    if (end > done) items.push(text.slice(done, end));
  };
  TOKEN.lastIndex = 0;
  for (let match; (match = TOKEN.exec(text)); ) {
    const [token] = match;
    const at = match.index;
    const end = at + token.length;
    let node = null; // what the text from `at` to `next` becomes
    let next = end;
    if (token === "\\") {
      if (/[!-/:-@[-`{-~]/.test(text[end] ?? "")) [node, next] = [text[end], end + 1];
    } else if (token[0] === "`") {
      const close = codeEnd(token.length, end);
      if (close >= 0) {
        let code = text.slice(end, close).replaceAll("\n", " ");
        if (code.startsWith(" ") && code.endsWith(" ") && code.trim()) code = code.slice(1, -1);
        [node, next] = [el("code", null, code), close + token.length];
      }
    } else if (token === "\n") {
      node = el("br");
    } else if (token === "<" || token.startsWith("http")) {
      const inside = token === "<" ? end : at;
      const word = token !== "<" && at > 0 && /[\p{L}\p{N}_]/u.test(text[at - 1]);
      const url = word || (token === "<" && !text.startsWith("http", end)) ? null : bareUrl(text, inside);
      if (url && (token !== "<" || text[inside + url.length] === ">"))
        [node, next] = [link(safeUrl(url), [url]), inside + url.length + (token === "<" ? 1 : 0)];
    } else if (token.endsWith("[")) {
      take(at);
      brackets.push({ item: items.length });
      items.push(token);
      done = end;
    } else if (token === "]") {
      const open = brackets.pop();
      const target = open && text[end] === "(" ? destination(text, end + 1) : null;
      const href = target && safeUrl(target.url);
      if (href) {
        take(at);
        const children = emphasise(items.splice(open.item).slice(1));
        done = at;
        brackets.length = 0; // a link holds no other link
        [node, next] = [link(href, children.length ? children : [href]), target.end];
        items.push(node);
        done = next;
        TOKEN.lastIndex = next;
        continue;
      }
    } else if (token.length <= RUN_MAX && !(token[0] === "~" && token.length > 2)) {
      node = { mark: token[0], count: token.length, ...flanking(text, at, end) };
    }
    if (node) {
      take(at);
      items.push(node);
      done = next;
    }
    TOKEN.lastIndex = next;
  }
  take(text.length);
  for (const item of emphasise(items)) fragment.append(item);
  fragment.normalize(); // neighbouring strings become one node
  return fragment;
}
