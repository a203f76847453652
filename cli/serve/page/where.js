// Where in an open picture the query is: a map over it, and boxes around the best places.

import { get, superseded } from "./api.js";
import { button, make } from "./dom.js";
import { args } from "./state.js";

const LONGEST = 640; // pixels of the map's longer side; the page scales it as it does the picture
const HIDES = 0.72; // how much of the picture the best place hides
const COLORS = [[40, 10, 90], [147, 38, 103], [221, 81, 58], [252, 165, 10], [252, 255, 164]];

/** A button that lays the map over the picture of `large`, and takes it away. line: where to say what went wrong. */
export function whereButton(item, search, index, large, line) {
  const shown = button("Where is it?", () => toggle(), { "aria-pressed": "false", "data-test": "where", title: "Show where in the picture the query is" });
  const toggle = async () => {
    const there = large.querySelector("canvas");
    shown.setAttribute("aria-pressed", String(!there));
    if (there) return there.remove();
    line.textContent = "Looking ...";
    try {
      const found = await get(address(item, search, index));
      if (!large.isConnected || shown.getAttribute("aria-pressed") === "false") return;
      large.querySelector("canvas")?.remove();
      large.append(map(found));
      line.textContent = said(found);
    } catch (error) {
      shown.setAttribute("aria-pressed", "false");
      if (!superseded(error)) line.textContent = error.message;
    }
  };
  return shown;
}

function address(item, search, index) {
  const query = new URLSearchParams(args(search.terms).map((word) => ["q", word]));
  if (index) query.set("index", index);
  return `/api/items/${encodeURIComponent(item.id)}/places?${query}`;
}

function said({ boxes, confidence }) {
  if (!boxes.length) return "All places are equally near to it.";
  if (confidence !== null && confidence < 0.9) return "It may not be there: most other things have a place as near.";
  return "";
}

function map(found) {
  const scale = LONGEST / Math.max(found.width, found.height);
  const canvas = make("canvas", { class: "heat", role: "img", "aria-label": label(found), "data-test": "heat" });
  canvas.width = Math.max(1, Math.round(found.width * scale));
  canvas.height = Math.max(1, Math.round(found.height * scale));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(places(found), 0, 0, canvas.width, canvas.height);
  found.boxes.forEach((box, rank) => outline(context, box, scale, rank ? 1.5 : 3));
  return canvas;
}

function label({ boxes, width, height }) {
  if (!boxes.length) return "No place is nearer than another";
  const [x, y] = [boxes[0].peak[0] / width, boxes[0].peak[1] / height].map((share) => Math.round(share * 100));
  return `The best place is ${x} percent from the left and ${y} percent from the top`;
}

/** The scores as a small drawing, a pixel a place. */
function places({ grid: [rows, columns], scores }) {
  const all = scores.flat();
  const [least, most] = [Math.min(...all), Math.max(...all)];
  const small = make("canvas");
  Object.assign(small, { width: columns, height: rows });
  const pixels = new ImageData(columns, rows);
  all.forEach((score, at) => pixels.data.set(color(most > least ? (score - least) / (most - least) : 0), at * 4));
  small.getContext("2d").putImageData(pixels, 0, 0);
  return small;
}

function color(share) {
  const at = share * (COLORS.length - 1);
  const low = Math.min(Math.floor(at), COLORS.length - 2);
  return [...COLORS[low].map((from, channel) => from + (COLORS[low + 1][channel] - from) * (at - low)), 255 * (0.15 + share * (HIDES - 0.15))];
}

function outline(context, box, scale, width) {
  for (const [style, wide] of [["#000", width + 2], ["#fff", width]]) {
    Object.assign(context, { strokeStyle: style, lineWidth: wide });
    context.strokeRect(box.left * scale + 2, box.top * scale + 2, box.width * scale - 4, box.height * scale - 4);
  }
}
