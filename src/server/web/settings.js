// The sampling controls: one row of this table each. An empty field is not sent: the server's default holds.

import { el } from "./dom.js";

const FIELDS = [
  { name: "temperature", label: "Temperature", min: 0, max: 2, step: 0.05, usual: 0.8, about: "0 takes the likeliest token every time" },
  { name: "top_p", label: "Top p", min: 0.01, max: 1, step: 0.01, usual: 0.95, about: "the likeliest tokens that together reach this share" },
  { name: "top_k", label: "Top k", min: 0, max: 200, step: 1, usual: 40, about: "so many likeliest tokens; 0 is off" },
  { name: "min_p", label: "Min p", min: 0, max: 1, step: 0.01, usual: 0.05, about: "against the likeliest token; 0 is off" },
  { name: "max_tokens", label: "Longest answer", min: 1, step: 1, about: "in tokens" },
  { name: "seed", label: "Seed", min: 0, max: Number.MAX_SAFE_INTEGER, step: 1, about: "the same seed gives the same answer again" },
  { name: "frequency_penalty", label: "Frequency penalty", min: -2, max: 2, step: 0.1, usual: 0, about: "per time that a token was used" },
  { name: "presence_penalty", label: "Presence penalty", min: -2, max: 2, step: 0.1, usual: 0, about: "once a token was used" },
  { name: "repeat_penalty", label: "Repeat penalty", min: 1, max: 2, step: 0.05, usual: 1, about: "a factor; 1 is off" },
];

const inRange = (field, value) => typeof value === "number" && value >= field.min && !(value > field.max) &&
  (field.step !== 1 || Number.isInteger(value));

// Of settings, what a request carries.
export const samplingOf = (settings) =>
  Object.fromEntries(FIELDS.filter((field) => inRange(field, settings[field.name])).map(({ name }) => [name, settings[name]]));

// Build the controls in container; changed() after each change of settings. Returns a function that shows them anew.
export function samplingControls(container, settings, changed) {
  const shows = FIELDS.map((field) => {
    const { name, label, min, max, step, usual, about } = field;
    const id = `sampling-${name}`;
    const number = el("input", { id, type: "number", min, max, step: step === 1 ? 1 : "any", inputmode: step === 1 ? "numeric" : "decimal",
      placeholder: "default", "aria-describedby": `${id}-about` });
    const slider = usual === undefined ? null
      : el("input", { type: "range", min, max, step, "aria-label": label, "aria-describedby": `${id}-about` });
    const show = () => {
      const value = settings[name];
      number.value = value ?? "";
      number.setAttribute("aria-invalid", "false");
      if (!slider) return;
      slider.value = value ?? usual;
      slider.classList.toggle("unset", value === undefined);
    };
    number.addEventListener("input", () => {
      const value = number.value === "" && !number.validity.badInput ? undefined : number.valueAsNumber;
      const good = value === undefined || inRange(field, value);
      number.setAttribute("aria-invalid", String(!good));
      if (!good) return;
      if (value === undefined) delete settings[name];
      else settings[name] = value;
      if (slider) {
        slider.value = value ?? usual;
        slider.classList.toggle("unset", value === undefined);
      }
      changed();
    });
    number.addEventListener("change", show); // what was out of range goes back to what holds
    slider?.addEventListener("input", () => {
      settings[name] = slider.valueAsNumber;
      show();
      changed();
    });
    container.append(el("div.field", null,
      el("div.row", null, el("label", { for: id }, label), number), slider, el("p.quiet", { id: `${id}-about` }, about)));
    return show;
  });
  const showAll = () => shows.forEach((show) => show());
  showAll();
  return showAll;
}

export function clearSampling(settings) {
  for (const { name } of FIELDS) delete settings[name];
}
