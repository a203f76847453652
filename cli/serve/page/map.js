// The map: all pictures as points, near ones alike. A canvas for the points, buttons for the names of their clusters.

import { get, superseded } from "./api.js";
import { button, byId, grouped, make } from "./dom.js";
import { ahead, beside } from "./ahead.js";
import { show } from "./thumbs.js";

const MOST = 5000;
const NEAR = 12; // pixels between the pointer and a point
const TOLD = 250; // ms without a key, after which a point is shown large
const WAYS = { pca: "what differs most", umap: "neighbors (UMAP)" };
let asking = null;
let by = "pca";

/** Show the map of an index. does: {alike(id), words(text)}. */
export async function openMap(index, does) {
  const place = byId("map");
  asking?.abort();
  asking = new AbortController();
  place.replaceChildren(make("p", { role: "status" }, by === "umap" ? "Drawing the map; by UMAP it can take a minute ..." : "Drawing the map ..."));
  try {
    const more = index ? `&index=${encodeURIComponent(index)}` : "";
    const map = await get(`/api/map?n=${MOST}&by=${by}${more}`, asking.signal);
    place.replaceChildren(...(map.ways.length > 1 ? [choice(map.ways, () => openMap(index, does))] : []), stage(map, more, does));
  } catch (error) {
    if (!superseded(error)) place.replaceChildren(make("p", { role: "alert" }, error.message));
  }
}

function choice(ways, again) {
  const select = make("select", { id: "by", "data-test": "by" }, ways.map((way) => make("option", { value: way, selected: way === by }, WAYS[way] ?? way)));
  select.addEventListener("change", () => ((by = select.value), again().then(() => byId("by")?.focus())));
  return make("p", { class: "by" }, make("label", { for: "by" }, "Placed by "), select);
}

function stage(map, more, does) {
  const canvas = make("canvas", { tabindex: 0, role: "application", "aria-roledescription": "map", "aria-label": `${grouped(map.points.length)} pictures, alike ones near each other`, "aria-describedby": "map-keys", "data-test": "canvas" });
  const tip = make("div", { class: "tip", hidden: true });
  const live = make("p", { class: "hidden", role: "status", "aria-live": "polite", "data-test": "map-told" });
  const names = map.clusters.filter((one) => !one.again).map((one) => Object.assign(button(one.name, () => does.words(one.name), { class: "cluster", title: `${one.name}: ${grouped(one.count)} pictures`, "data-test": "cluster" }), { at: one }));
  const plane = make("div", { class: "plane" }, canvas, make("p", { id: "map-keys", class: "hidden" }, "Arrow keys go to the nearest picture in their direction, Enter shows more like it."), ...names, tip, live);
  new ResizeObserver(() => settle(names, plane)).observe(plane);
  listen(canvas, map, does, painting(canvas, plane, map.points), { tip, live, more });
  return plane;
}

/** Put names at the middles of their clusters, within the plane, and below others that they would lie on. */
function settle(names, plane) {
  const placed = [];
  for (const name of names) {
    const box = { wide: name.offsetWidth, high: name.offsetHeight };
    box.left = name.at.x * (plane.clientWidth - box.wide);
    box.top = name.at.y * (plane.clientHeight - box.high);
    const lies = (other) => Math.abs(box.left - other.left + (box.wide - other.wide) / 2) < (box.wide + other.wide) / 2 && Math.abs(box.top - other.top) < box.high;
    for (let tries = 0; tries < names.length && placed.some(lies); tries += 1) box.top = placed.find(lies).top + box.high + 2;
    placed.push(box);
    Object.assign(name.style, { left: `${box.left}px`, top: `${box.top}px` });
  }
}

/** Paints the points with one marked; called again with the same one where the size has changed. */
function painting(canvas, plane, points) {
  let marked = null;
  const paint = (here) => painted(canvas, plane, points, (marked = here));
  new ResizeObserver(() => paint(marked)).observe(plane);
  return paint;
}

function listen(canvas, map, does, paint, { tip, live, more }) {
  let here = null;
  let timer = 0;
  const go = (point, wait = 0) => {
    if (point === here) return;
    here = point;
    paint(here);
    tip.hidden = true;
    clearTimeout(timer);
    timer = setTimeout(tell, wait, tip, here, more);
  };
  canvas.addEventListener("pointermove", (event) => go(nearest(canvas, map.points, event)));
  canvas.addEventListener("pointerleave", () => go(null));
  canvas.addEventListener("click", () => here && does.alike(here.id));
  canvas.addEventListener("focus", () => !here && canvas.matches(":focus-visible") && move(beside(map.points, { x: 0.5, y: 0.5 })));
  canvas.addEventListener("blur", () => go(null));
  const move = (point) => {
    if (!point) return;
    go(point, TOLD);
    const cluster = map.clusters.find((one) => one.cluster === point.cluster);
    live.textContent = `${point.name}${cluster ? `, among: ${cluster.name}` : ""}`;
  };
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const box = { wide: canvas.clientWidth, high: canvas.clientHeight };
    if (event.key === "Enter" && here) does.alike(here.id);
    else if (event.key.startsWith("Arrow")) move(here ? ahead(map.points, here, event.key.slice(5), box) : beside(map.points, { x: 0.5, y: 0.5 }));
    else return;
    event.preventDefault();
  });
}

function painted(canvas, plane, points, here) {
  const scale = devicePixelRatio || 1;
  const [wide, high] = [plane.clientWidth, plane.clientHeight];
  if (canvas.width !== wide * scale || canvas.height !== high * scale) Object.assign(canvas, { width: wide * scale, height: high * scale });
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, wide, high);
  for (const one of points) {
    pen.fillStyle = colour(one.cluster);
    pen.fillRect(one.x * wide - 1.5, one.y * high - 1.5, 3, 3);
  }
  if (!here) return;
  pen.strokeStyle = getComputedStyle(plane).color;
  pen.lineWidth = 2;
  pen.strokeRect(here.x * wide - 5, here.y * high - 5, 10, 10);
}

const colour = (cluster) => `hsl(${((cluster ?? 0) * 137.5) % 360} 55% 52%)`;

function nearest(canvas, points, event) {
  const box = canvas.getBoundingClientRect();
  const at = { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height };
  const found = beside(points, at, { wide: box.width, high: box.height });
  return found && Math.hypot((found.x - at.x) * box.width, (found.y - at.y) * box.height) < NEAR ? found : null;
}

function tell(tip, here, more) {
  tip.hidden = !here;
  if (!here) return;
  const image = make("img", { alt: "" });
  tip.replaceChildren(image, make("p", {}, here.name));
  show(image, `/api/items/${here.id}/thumb?s=256${more}`, (line) => tip.replaceChildren(line));
  Object.assign(tip.style, { left: `${here.x * 100}%`, top: `${here.y * 100}%`, transform: `translate(${here.x > 0.5 ? "-105%" : "5%"}, ${here.y > 0.5 ? "-105%" : "5%"})` });
}
