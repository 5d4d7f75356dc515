// Markdown as language models write it -> DOM nodes: headings, lists, quotes, tables, fenced code, and inline.js.
// Left out on purpose: raw HTML (shown as text), images (they would be requests to other hosts; shown as links),
// indented code, setext headings ("---" is a rule) and references. A line break in a paragraph is one in the page.

import { copyButton, el } from "./dom.js";
import { highlight } from "./code.js";
import { inline } from "./inline.js";

const DEPTH_MAX = 10; // lists and quotes inside each other; deeper ones are text
const COLUMNS_MAX = 40;

const FENCE = /^ {0,3}(`{3,}|~{3,})[ \t]*([^`\s]*)[^`]*$/;
const HEADING = /^ {0,3}(#{1,6})(?=[ \t]|$)/;
const RULE = /^ {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,8})([-*+]|\d{1,9}[.)])(?:([ \t]{1,4})|$)/;

const isBlank = (line) => !/\S/.test(line);
const indentOf = (line) => /^ */.exec(line)[0].length;
const startsBlock = (line) =>
  FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line) || startsItem(line);
const startsItem = (line) => { // a number in a running text is no list unless it is 1
  const item = ITEM.exec(line);
  return item !== null && item[3] !== undefined && (!/^\d/.test(item[2]) || /^1[.)]/.test(item[2]));
};

// Each reader gets the lines and where it may begin, and answers null or {end, node}, end behind its last line.

function readFence(lines, at) {
  const open = FENCE.exec(lines[at]);
  if (!open) return null;
  const indent = indentOf(lines[at]);
  const mark = open[1][0];
  const code = [];
  let end = at + 1;
  for (; end < lines.length; end++) { // without a closing fence the rest of the text is code
    const line = lines[end].trim();
    if (line.length >= open[1].length && line === mark.repeat(line.length) && indentOf(lines[end]) < 4) {
      end++;
      break;
    }
    code.push(lines[end].slice(Math.min(indent, indentOf(lines[end]))));
  }
  return { end, node: () => codeBlock(code.join("\n"), open[2]) };
}

function codeBlock(code, language) {
  const name = language.slice(0, 24);
  return el("figure.code", null,
    el("figcaption", null, el("span", null, name || "text"), copyButton(() => code, "Copy")),
    el("pre", { tabindex: "0", "aria-label": `Code, ${name || "text"}` }, el("code", null, highlight(code, name))));
}

function readHeading(lines, at) {
  const open = HEADING.exec(lines[at]);
  if (!open) return null;
  let text = lines[at].slice(open[0].length).trim();
  let end = text.length;
  while (end > 0 && text[end - 1] === "#") end--;
  if (end === 0 || /[ \t]/.test(text[end - 1])) text = text.slice(0, end).trim();
  // the page has the levels 1 and 2 itself
  return { end: at + 1, node: () => el(`h${Math.min(6, open[1].length + 2)}.h${open[1].length}`, null, inline(text)) };
}

function readRule(lines, at) {
  return RULE.test(lines[at]) ? { end: at + 1, node: () => el("hr") } : null;
}

function readQuote(lines, at, depth) {
  let end = at;
  while (end < lines.length && QUOTE.test(lines[end])) end++;
  if (end === at) return null;
  const inner = lines.slice(at, end).map((line) => line.replace(QUOTE, ""));
  return { end, node: () => el("blockquote", null, build(blocks(inner, depth + 1))) };
}

function readList(lines, at, depth) {
  const first = ITEM.exec(lines[at]);
  if (!first) return null;
  const ordered = /^\d/.test(first[2]);
  const items = [];
  let loose = false;
  let end = at;
  while (end < lines.length) {
    const mark = ITEM.exec(lines[end]);
    if (!mark || /^\d/.test(mark[2]) !== ordered || RULE.test(lines[end]) || mark[1].length > first[1].length + 1) break;
    const inside = mark[1].length + 2; // from this indentation on a line belongs to the item
    const content = mark[0].length;
    const item = [lines[end].slice(content)];
    let next = end + 1;
    for (; next < lines.length; next++) {
      const line = lines[next];
      if (isBlank(line)) {
        let after = next + 1;
        while (after < lines.length && isBlank(lines[after])) after++;
        if (after === lines.length || indentOf(lines[after]) < inside) break;
        item.push("");
        next = after - 1;
        loose = true;
      } else if (indentOf(line) >= inside) item.push(line.slice(Math.min(content, indentOf(line))));
      else if (!startsBlock(line) && !ITEM.test(line) && !isBlank(lines[next - 1])) item.push(line); // it just goes on
      else break;
    }
    items.push(item);
    end = next;
    while (next < lines.length && isBlank(lines[next])) next++;
    const another = next < lines.length && next > end ? ITEM.exec(lines[next]) : null;
    if (another && /^\d/.test(another[2]) === ordered && another[1].length <= first[1].length + 1) {
      loose = true;
      end = next;
    }
  }
  if (!items.length) return null;
  const start = ordered ? parseInt(first[2], 10) : 1;
  return { end, node: () => el(ordered ? "ol" : "ul", { start: start === 1 ? null : String(start) },
    items.map((item) => el("li", null, build(blocks(item, depth + 1), !loose)))) };
}

function cells(line) {
  const row = line.trim().replace(/^\|/, "").split(/(?<!\\)\|/, COLUMNS_MAX + 1);
  if (row.length > 1 && isBlank(row.at(-1)) && line.trim().endsWith("|")) row.pop();
  return row.slice(0, COLUMNS_MAX).map((cell) => cell.trim().replaceAll("\\|", "|"));
}

function readTable(lines, at) {
  if (at + 1 >= lines.length || !lines[at].includes("|") || !/^[ |:-]+$/.test(lines[at + 1])) return null;
  const rule = cells(lines[at + 1]);
  const head = cells(lines[at]);
  if (rule.length !== head.length || !rule.every((cell) => /^:?-+:?$/.test(cell))) return null;
  const align = rule.map((cell) => (!cell.endsWith(":") ? null : cell.startsWith(":") ? "at-center" : "at-end"));
  let end = at + 2;
  while (end < lines.length && lines[end].includes("|") && !isBlank(lines[end])) end++;
  const row = (tag, values) => el("tr", null, align.map((side, i) => el(tag, { class: side }, inline(values[i] ?? ""))));
  return { end, node: () => el("div.table", { tabindex: "0", role: "group", "aria-label": "Table" }, el("table", null,
    el("thead", null, row("th", head)),
    el("tbody", null, lines.slice(at + 2, end).map((line) => row("td", cells(line)))))) };
}

function readParagraph(lines, at, depth) {
  let end = at + 1;
  while (end < lines.length && !isBlank(lines[end]) && (depth >= DEPTH_MAX || !(startsBlock(lines[end]) || readTable(lines, end)))) end++;
  const text = lines.slice(at, end).map((line) => line.trim()).join("\n");
  return { end, paragraph: true, node: () => el("p", null, inline(text)), content: () => inline(text) };
}

const READERS = [readFence, readHeading, readRule, readQuote, readList, readTable];

// lines -> [{source, node(), ...}]
function blocks(lines, depth) {
  const found = [];
  for (let at = 0; at < lines.length; ) {
    if (isBlank(lines[at])) {
      at++;
      continue;
    }
    let block = null;
    for (const read of depth < DEPTH_MAX ? READERS : []) if ((block = read(lines, at, depth))) break;
    block ??= readParagraph(lines, at, depth);
    block.source = lines.slice(at, block.end).join("\n");
    found.push(block);
    at = block.end;
  }
  return found;
}

const build = (list, tight = false) => list.map((block) => (tight && block.paragraph ? block.content() : block.node()));

const shown = new WeakMap(); // container -> sources of its children

// Show text in container. Called again with a longer text, only the blocks that changed are made anew: a stream costs
// little, and what the reader has selected stays selected.
export function renderMarkdown(container, text) {
  const list = blocks(text.replaceAll("\r\n", "\n").replaceAll("\t", "    ").split("\n"), 0);
  const before = shown.get(container) ?? [];
  let same = 0;
  while (same < list.length && same < before.length && list[same].source === before[same]) same++;
  while (container.childNodes.length > same) container.lastChild.remove();
  const fragment = document.createDocumentFragment();
  for (const block of list.slice(same)) fragment.append(block.node());
  container.append(fragment);
  shown.set(container, list.map((block) => block.source));
}
