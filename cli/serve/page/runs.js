// Trainings: what each run has logged, as curves, and asked again while it goes on.

import { get, superseded } from "./api.js";
import { byId, draw, make, said } from "./dom.js";

const EVERY = 2000; // ms
const [WIDE, HIGH] = [320, 120];
let asking = null;

/** Show the runs of a server, by name, in an element. */
export function openRuns(names, place) {
  const choice = make("select", { id: "run", "data-test": "run" }, names.map((name) => make("option", { value: name }, name)));
  choice.addEventListener("change", () => follow(choice.value));
  place.append(make("h2", {}, "Runs"), make("p", {}, make("label", { for: "run" }, "Run "), choice), make("div", { id: "curves" }));
  follow(names[0]);
}

/** Ask no more. */
export const closeRuns = () => asking?.abort();

async function follow(name) {
  asking?.abort();
  const { signal } = (asking = new AbortController());
  try {
    for (;;) {
      const run = await get(`/api/runs/${encodeURIComponent(name)}`, signal);
      fill(run);
      if (run.done || signal.aborted) return;
      await new Promise((go) => setTimeout(go, EVERY));
      if (signal.aborted) return;
    }
  } catch (error) {
    if (!superseded(error)) byId("curves").replaceChildren(make("p", { role: "alert" }, error.message));
  }
}

function fill(run) {
  const last = run.steps.at(-1)?.step;
  const state = run.done ? "Done" : "Running";
  byId("curves").replaceChildren(
    make("p", { role: "status", "data-test": "run-state" }, last === undefined ? `${state}: no step is logged yet.` : `${state}, step ${last}.`),
    make("div", { class: "curves" }, curves(run.steps), curves(run.evals)),
    make("details", {}, make("summary", {}, "Settings"), make("dl", {}, Object.entries(run.settings || {}).flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, said(value))]))));
}

/** {a: {b: 1}} as {"a b": 1}. */
function flat(line, before = "") {
  return Object.fromEntries(Object.entries(line).flatMap(([name, value]) =>
    value && typeof value === "object" && !Array.isArray(value) ? Object.entries(flat(value, `${before}${name} `)) : [[before + name, value]]));
}

function curves(logged) {
  const lines = logged.map((line) => flat(line));
  const names = [...new Set(lines.flatMap((line) => Object.keys(line)))].filter((name) => name !== "step");
  return names.map((name) => {
    const points = lines.filter((line) => Number.isFinite(line[name])).map((line, at) => [Number.isFinite(line.step) ? line.step : at, line[name]]);
    if (points.length > 1 && points.every(([, y]) => y === points[0][1])) return make("p", { class: "same" }, make("b", {}, name), ` ${said(points[0][1])} always`);
    return points.length ? curve(name, points) : null;
  });
}

function curve(name, points) {
  const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)];
  const [left, right] = [xs[0], xs.at(-1)];
  const [low, high] = [ys.reduce((a, b) => Math.min(a, b)), ys.reduce((a, b) => Math.max(a, b))];
  const at = ([x, y]) => `${(((x - left) / (right - left || 1)) * WIDE).toFixed(1)},${(HIGH - ((y - low) / (high - low || 1)) * HIGH).toFixed(1)}`;
  const text = `${name}: ${said(ys.at(-1))} at ${right}; between ${said(low)} and ${said(high)}`;
  const line = points.length > 1 ? draw("polyline", { points: points.map(at).join(" "), fill: "none" }) : draw("circle", { cx: WIDE / 2, cy: HIGH / 2, r: 3 });
  return make("figure", { "data-test": "curve" },
    make("figcaption", {}, make("b", {}, name), " ", said(ys.at(-1))),
    draw("svg", { viewBox: `-4 -4 ${WIDE + 8} ${HIGH + 8}`, role: "img", "aria-label": text }, line),
    make("small", {}, `${said(low)} \u2013 ${said(high)}, to ${right}`));
}
