// The bins of a field as bars: a click takes one, a drag takes many, and two fields say the same in words.

import { draw, make } from "./dom.js";

const HIGH = 40;

/** The bars of a facet. take: called with (from, to), values of the field, both included. */
export function histogram(facet, take) {
  const bins = facet.bins;
  const most = Math.max(...bins.map((bin) => bin.count), 1);
  const bars = bins.map((bin, at) => bar(bin, at, bins.length, most, facet));
  const picture = draw("svg", { class: "bars", viewBox: `0 0 ${bins.length} ${HIGH}`, preserveAspectRatio: "none", "aria-hidden": "true", "data-test": "bars" }, bars);
  const [from, to] = [field(facet, "from"), field(facet, "to")];
  brush(picture, bars, (first, last) => take(bins[first].from, bins[last].to));
  const form = make("form", { class: "range", onsubmit: (event) => (event.preventDefault(), take(typed(facet, from), typed(facet, to))) }, from, "\u2013", to, make("button", { type: "submit", "aria-label": `Keep this range of ${facet.name}` }, "Keep"));
  return make("div", {}, picture, form);
}

/** A date to its day, or to its minute where the field's whole range is a few days. */
export function short(facet, value) {
  if (facet.type !== "date") return value;
  const days = (Date.parse(facet.max) - Date.parse(facet.min)) / 864e5;
  return String(value).slice(0, days > 3 ? 10 : 16);
}

function bar(bin, at, count, most, facet) {
  const high = bin.count ? Math.max(2, (bin.count / most) * HIGH) : 0;
  const text = `${short(facet, bin.from)} \u2013 ${short(facet, bin.to)}: ${bin.count}`;
  return draw("g", {},
    draw("rect", { x: at, y: 0, width: 1, height: HIGH, class: "behind" }), draw("rect", { x: at + 0.06, y: HIGH - high, width: 0.88, height: high, class: "bar" }), draw("title", {}, text));
}

function field(facet, which) {
  const value = short(facet, which === "from" ? facet.min : facet.max);
  const date = facet.type === "date" && String(value).length === 10;
  return make("input", { type: date ? "date" : facet.type === "date" ? "text" : "number", step: "any", value, "aria-label": `${facet.name} ${which}` });
}

const typed = (facet, input) => (facet.type === "date" ? input.value || null : input.value === "" ? null : Number(input.value));

function brush(picture, bars, taken) {
  let from = null;
  let to = null;
  const at = (event) => {
    const box = picture.getBoundingClientRect();
    return Math.min(bars.length - 1, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * bars.length)));
  };
  const mark = () => bars.forEach((one, place) => one.classList.toggle("taken", from !== null && place >= Math.min(from, to) && place <= Math.max(from, to)));
  picture.addEventListener("pointerdown", (event) => (event.preventDefault(), picture.setPointerCapture(event.pointerId), (from = to = at(event)), mark()));
  picture.addEventListener("pointermove", (event) => from !== null && ((to = at(event)), mark()));
  picture.addEventListener("pointercancel", () => ((from = null), mark()));
  picture.addEventListener("pointerup", () => {
    const [first, last] = [Math.min(from, to), Math.max(from, to)];
    from = null;
    mark();
    taken(first, last);
  });
}
