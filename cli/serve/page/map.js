// The map: all pictures as points, near ones alike. A canvas for the points, buttons for the names of their clusters.

import { get, superseded } from "./api.js";
import { button, byId, grouped, make } from "./dom.js";
import { show } from "./thumbs.js";

const MOST = 5000;
const NEAR = 12; // pixels between the pointer and a point
let asking = null;

/** Show the map of an index. does: {alike(id), words(text)}. */
export async function openMap(index, does) {
  const place = byId("map");
  asking?.abort();
  asking = new AbortController();
  place.replaceChildren(make("p", { role: "status" }, "Drawing the map ..."));
  try {
    const more = index ? `&index=${encodeURIComponent(index)}` : "";
    fill(place, await get(`/api/map?n=${MOST}${more}`, asking.signal), more, does);
  } catch (error) {
    if (!superseded(error)) place.replaceChildren(make("p", { role: "alert" }, error.message));
  }
}

function fill(place, map, more, does) {
  const canvas = make("canvas", { "aria-hidden": "true", "data-test": "canvas" });
  const tip = make("div", { class: "tip", hidden: true });
  const names = map.clusters.map((one) => {
    const name = button(one.name, () => does.words(one.name), { class: "cluster", title: `${grouped(one.count)} pictures`, "data-test": "cluster" });
    Object.assign(name.style, { left: `${one.x * 100}%`, top: `${one.y * 100}%` });
    return name;
  });
  const stage = make("div", { class: "plane", role: "group", "aria-label": `${grouped(map.points.length)} pictures; their clusters by name` }, canvas, ...names, tip);
  place.replaceChildren(stage);
  let here = null;
  new ResizeObserver(() => paint(canvas, stage, map.points, here)).observe(stage);
  canvas.addEventListener("pointermove", (event) => {
    const found = nearest(canvas, map.points, event);
    if (found === here) return;
    here = found;
    paint(canvas, stage, map.points, here);
    point(tip, here, more);
  });
  canvas.addEventListener("pointerleave", () => ((here = null), (tip.hidden = true), paint(canvas, stage, map.points, null)));
  canvas.addEventListener("click", () => here && does.alike(here.id));
}

function paint(canvas, stage, points, here) {
  const scale = devicePixelRatio || 1;
  const [wide, high] = [stage.clientWidth, stage.clientHeight];
  if (canvas.width !== wide * scale || canvas.height !== high * scale) Object.assign(canvas, { width: wide * scale, height: high * scale });
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, wide, high);
  for (const one of points) {
    pen.fillStyle = colour(one.cluster);
    pen.fillRect(one.x * wide - 1.5, one.y * high - 1.5, 3, 3);
  }
  if (!here) return;
  pen.strokeStyle = getComputedStyle(stage).color;
  pen.lineWidth = 2;
  pen.strokeRect(here.x * wide - 5, here.y * high - 5, 10, 10);
}

const colour = (cluster) => `hsl(${((cluster ?? 0) * 137.5) % 360} 55% 52%)`;

function nearest(canvas, points, event) {
  const box = canvas.getBoundingClientRect();
  const [x, y] = [event.clientX - box.left, event.clientY - box.top];
  let [best, least] = [null, NEAR * NEAR];
  for (const one of points) {
    const far = (one.x * box.width - x) ** 2 + (one.y * box.height - y) ** 2;
    if (far < least) [best, least] = [one, far];
  }
  return best;
}

function point(tip, here, more) {
  tip.hidden = !here;
  if (!here) return;
  const image = make("img", { alt: "" });
  tip.replaceChildren(image);
  show(image, `/api/items/${here.id}/thumb?s=256${more}`, (line) => tip.replaceChildren(line));
  Object.assign(tip.style, { left: `${here.x * 100}%`, top: `${here.y * 100}%`, transform: `translate(${here.x > 0.5 ? "-105%" : "5%"}, ${here.y > 0.5 ? "-105%" : "5%"})` });
}
