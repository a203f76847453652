// A picture as the query: chosen, pasted or dropped; and a part of one that was sent from here.

import { byId, button, make } from "./dom.js";
import { notice } from "./notice.js";

const MOST = 20 * 1024 * 1024;
const KEPT = 8; // that can still be cropped
const sent = new Map(); // the server's name of a picture -> {file, url}

/** The address of a small view of a picture that was sent, or undefined. */
export const preview = (name) => sent.get(name)?.url;

/** The file that was sent under a name, or undefined. */
export const fileOf = (name) => sent.get(name)?.file;

/** Remember what the server called a picture. */
export function remember(name, file) {
  const old = [...sent.values()].find((one) => one.file === file);
  sent.set(name, { file, url: old?.url ?? URL.createObjectURL(file) });
  while (sent.size > KEPT) {
    const [first, { url }] = sent.entries().next().value;
    sent.delete(first);
    if (![...sent.values()].some((one) => one.url === url)) URL.revokeObjectURL(url);
  }
}

/** Listen for pictures, wherever they are dropped or pasted. search: called with a file. */
export function listen(search) {
  const take = (files) => {
    const file = [...files].find((one) => one.type.startsWith("image/"));
    if (!file) return notice("picture", "That is no picture: give a file of one.", 5000);
    if (file.size > MOST) return notice("picture", "More than 20 MB: give a smaller picture.", 5000);
    notice("picture", "");
    search(file);
  };
  byId("choose").addEventListener("click", () => byId("file").click());
  byId("file").addEventListener("change", (event) => (take(event.target.files), (event.target.value = "")));
  document.addEventListener("paste", (event) => event.clipboardData.files.length && (event.preventDefault(), take(event.clipboardData.files)));
  document.addEventListener("dragover", (event) => event.dataTransfer.types.includes("Files") && (event.preventDefault(), document.body.classList.add("dropping")));
  document.addEventListener("dragleave", (event) => event.relatedTarget || document.body.classList.remove("dropping"));
  document.addEventListener("drop", (event) => {
    document.body.classList.remove("dropping");
    if (event.dataTransfer.files.length) (event.preventDefault(), take(event.dataTransfer.files));
  });
}

/** Let a part of a picture be drawn, by dragging or in numbers. search: called with {x, y, w, h} in shares, or null for all. */
export function cropping(name, search) {
  const dialog = byId("crop");
  const frame = make("div", { class: "frame" });
  const stage = make("div", { class: "stage", "data-test": "crop-stage" }, make("img", { src: preview(name), alt: "The picture that is searched by", draggable: "false" }), frame);
  const sides = Object.fromEntries(["Left", "Top", "Width", "Height"].map((side, at) => [side, number(side, at < 2 ? 0 : 100)]));
  const read = () => limited(...Object.values(sides).map(({ field }) => Number(field.value) / 100));
  const put = (box) => (Object.values(sides).forEach(({ field }, at) => (field.value = Math.round(box[at] * 1000) / 10)), lay(frame, box));
  for (const { field } of Object.values(sides)) field.addEventListener("change", () => put(read()));
  drag(stage, put);
  const end = (box) => (dialog.close(), search(box));
  dialog.replaceChildren(
    make("h2", { id: "crop-title" }, "Search by a part"), make("p", { class: "quiet" }, "Drag a rectangle on the picture, or give its sides in percent."), stage,
    make("p", { class: "sides" }, ...Object.values(sides).map(({ label }) => label)),
    make("p", { class: "buttons" },
      button("Search this part", () => end(whole(read()) ? null : read()), { class: "main", "data-test": "crop-search" }),
      button("The whole picture", () => end(null)), button("Cancel", () => dialog.close())));
  lay(frame, [0, 0, 1, 1]);
  dialog.showModal();
}

const whole = ([x, y, w, h]) => x === 0 && y === 0 && w === 1 && h === 1;

function number(side, value) {
  const field = make("input", { type: "number", min: 0, max: 100, step: "any", value });
  return { field, label: make("label", {}, `${side} `, field, " %") };
}

function limited(x, y, w, h) {
  const inside = (value, most) => Math.min(Math.max(value || 0, 0), most);
  const [left, top] = [inside(x, 0.98), inside(y, 0.98)];
  return [left, top, Math.max(0.02, inside(w, 1 - left)), Math.max(0.02, inside(h, 1 - top))];
}

function lay(frame, [x, y, w, h]) {
  Object.assign(frame.style, { left: `${x * 100}%`, top: `${y * 100}%`, width: `${w * 100}%`, height: `${h * 100}%` });
}

function drag(stage, put) {
  let from = null;
  const at = (event) => {
    const box = stage.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height].map((share) => Math.min(1, Math.max(0, share)));
  };
  stage.addEventListener("pointerdown", (event) => (event.preventDefault(), stage.setPointerCapture(event.pointerId), (from = at(event))));
  stage.addEventListener("pointerup", () => (from = null));
  stage.addEventListener("pointermove", (event) => {
    if (!from) return;
    const to = at(event);
    put(limited(Math.min(from[0], to[0]), Math.min(from[1], to[1]), Math.abs(to[0] - from[0]), Math.abs(to[1] - from[1])));
  });
}
