// One picture of the grid: what it shows, says and lets do.

import { button, iconButton, make, nameOf } from "./dom.js";
import { show, thumb } from "./thumbs.js";

/** A cell. hit: undefined while it is on its way. side: pixels. does: {open, alike, unlike, judge, near, pick}. */
export function cellFor(hit, place, side, does) {
  const cell = make("div", { role: "gridcell", class: hit ? "cell" : "cell waiting", "data-place": place, tabindex: -1 });
  Object.assign(cell, { hit, place, side });
  cell.style.width = cell.style.height = `${side}px`;
  if (hit) fill(cell, hit, place, side, does);
  else cell.setAttribute("aria-label", "On its way");
  return cell;
}

function fill(cell, hit, place, side, does) {
  const name = hit.caption || nameOf(hit.uri);
  const told = [hit.kind === "picture" ? "" : hit.kind, hit.folded ? `+${hit.folded} alike` : ""].filter(Boolean);
  cell.setAttribute("aria-label", [name, ...told].join(", "));
  cell.dataset.id = hit.id;
  const image = make("img", { alt: "", draggable: "false", decoding: "async", fetchpriority: "low" });
  show(image, thumb(hit, side), (line) => {
    image.replaceWith(make("span", { class: "gone" }, line));
    cell.setAttribute("aria-label", [line, name, ...told].join(" "));
  });
  cell.append(image, ...marks(hit, does));
  afterPaint(() => (cell.insertBefore(tools(cell, hit, place, name, does), cell.children[1] ?? null), cell.append(thumbs(hit, does))));
  cell.addEventListener("click", (event) => clicked(event, hit, place, does));
  cell.addEventListener("keydown", (event) => pressed(event, hit, place, does));
}

function marks(hit, does) {
  const marks = [];
  if (hit.kind !== "picture") marks.push(make("span", { class: "mark clip", "aria-hidden": "true" }, hit.kind));
  if (hit.folded) marks.push(button(`+${hit.folded} alike`, (event) => (event.stopPropagation(), does.near(hit)), { class: "mark alike", tabindex: -1, title: "Show them", "data-test": "folded" }));
  return marks;
}

const waiting = [];

/** Do it when the pictures are there: buttons are more work than they. */
function afterPaint(act) {
  if (!waiting.length) requestAnimationFrame(() => setTimeout(() => (waiting.splice(0).forEach((one) => one()))));
  waiting.push(act);
}

function tools(cell, hit, place, name, does) {
  const out = { tabindex: -1 };
  return make("div", { class: "tools" },
    make("input", { type: "checkbox", tabindex: -1, "aria-label": `Select ${name}`, checked: cell.getAttribute("aria-selected") === "true", onclick: (event) => (event.stopPropagation(), does.pick(hit, place, event.shiftKey)) }),
    make("span", { class: "words" }, name),
    iconButton("plus", "More like this", (event) => (event.stopPropagation(), does.alike(hit)), out),
    iconButton("minus", "Less like this", (event) => (event.stopPropagation(), does.unlike(hit)), out));
}

/** What is thumbed moves the query, and is not shown again. */
function thumbs(hit, does) {
  const one = (icon, label, liked) => iconButton(icon, label, (event) => (event.stopPropagation(), does.judge(hit, liked)), { tabindex: -1, "data-test": icon });
  return make("div", { class: "thumbs" }, one("up", "Right: more such answers", true), one("down", "Wrong: fewer such answers", false));
}

function clicked(event, hit, place, does) {
  if (event.ctrlKey || event.metaKey || event.shiftKey) does.pick(hit, place, event.shiftKey);
  else does.open(hit, place);
}

function pressed(event, hit, place, does) {
  if (event.target !== event.currentTarget || event.ctrlKey || event.metaKey || event.altKey) return;
  const act = { Enter: does.open, x: does.pick, X: (one, at) => does.pick(one, at, true), m: does.alike, l: does.unlike, a: does.near, u: (one) => does.judge(one, true), d: (one) => does.judge(one, false) }[event.key];
  if (!act) return;
  event.preventDefault();
  act(hit, place);
}
