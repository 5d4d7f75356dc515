// Building DOM nodes. Text only ever becomes text nodes: there is no innerHTML anywhere in this page.

const SVG = "http://www.w3.org/2000/svg";

// el("a.link.big", {href: url, onclick: fn, "aria-label": "x"}, "text", node, [nodes], ...); null children are left out.
export function el(selector, properties, ...children) {
  const [tag, ...classes] = selector.split(".");
  const node = document.createElement(tag);
  if (classes.length) node.className = classes.join(" ");
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat()) if (child !== null && child !== undefined) node.append(child);
  return node;
}

// One of the <symbol>s of index.html.
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

// A button with an icon; `text` is what it says, to eyes (unless `iconOnly`) and to screen readers.
export function button(name, text, onclick, { iconOnly = false, ...properties } = {}) {
  const label = iconOnly ? { "aria-label": text, title: text } : {};
  return el("button", { type: "button", onclick, ...label, ...properties }, icon(name), iconOnly ? null : el("span", null, text));
}

// navigator.clipboard exists on https and on loopback only; elsewhere the old command has to do.
export async function copyText(text) {
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      // not permitted: try the other way
    }
  }
  const focused = document.activeElement;
  const area = el("textarea", { readonly: true, class: "offscreen", "aria-hidden": "true" });
  area.value = text;
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  focused?.focus?.();
  return copied;
}

export function copyButton(text, label) {
  let timer = 0;
  const node = button("copy", label, async () => {
    const copied = await copyText(text());
    node.replaceChildren(icon(copied ? "check" : "copy"), el("span", null, copied ? "Copied" : "Not permitted"));
    clearTimeout(timer);
    timer = setTimeout(() => node.replaceChildren(icon("copy"), el("span", null, label)), 1600);
  });
  return node;
}
