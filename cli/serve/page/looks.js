// Sizes, dark and light, the filters' place, and the words that stand where there are no pictures.

import { button, byId, grouped, make } from "./dom.js";

const NARROW = "(max-width: 800px)";

/** Listen to what changes the looks alone. resize: called with the width that pictures should have. */
export function listenLooks(resize) {
  const size = byId("size");
  size.value = localStorage.getItem("mmr-size") || (matchMedia(NARROW).matches ? 120 : 180);
  size.addEventListener("input", () => (localStorage.setItem("mmr-size", size.value), resize(Number(size.value))));
  resize(Number(size.value));
  theme(localStorage.getItem("mmr-theme"));
  byId("theme").addEventListener("click", () => theme(isDark() ? "light" : "dark"));
  const filters = () => show(!byId("filters").classList.contains("open"));
  byId("show-filters").addEventListener("click", filters);
  show(!matchMedia(NARROW).matches);
  return { filters };
}

const isDark = () => (document.documentElement.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";

function theme(name) {
  if (!name) return;
  document.documentElement.dataset.theme = name;
  localStorage.setItem("mmr-theme", name);
}

function show(open) {
  byId("filters").classList.toggle("open", open);
  byId("show-filters").setAttribute("aria-expanded", open);
}

/** How many there are, of what the index holds, and how long it took. */
export function countLine(answer, pages, search, info) {
  const many = pages.search.terms.length && answer.total > pages.end ? `the nearest ${grouped(pages.end)} of ${grouped(answer.total)}` : grouped(answer.total);
  const unit = unitOf(info, answer.index), noun = answer.total === 1 ? unit.slice(0, -1) : unit;
  const text = answer.total ? `${many} ${noun}${search.terms.length ? `, ${answer.took_ms} ms` : ""}` : `No ${unit}`;
  if (byId("count").textContent !== text) byId("count").textContent = text;
}

const unitOf = (info, name) => info.indexes.find((one) => one.name === name)?.unit ?? "pictures";

/** Say why there is nothing to see; hide it where there is something. change: another search. */
export function sayNothing(answer, search, info, change) {
  const place = byId("empty");
  place.hidden = answer.hits.length > 0;
  byId("scroll").hidden = !place.hidden;
  if (answer.hits.length) return;
  const [title, text, act] = reason(answer, search, info, change);
  place.replaceChildren(make("h2", {}, title), make("p", {}, text), act ?? "");
}

function reason(answer, search, info, change) {
  const index = info.indexes.find((one) => one.name === (search.index || info.indexes[0].name));
  if (answer.error) return ["That cannot be answered", answer.error];
  if (!info.indexes.length) return ["No index", "Start the server with one: mmr serve photos.mmr"];
  if (index?.problem) return ["This index cannot be read now", index.problem];
  if (index && !index.rows) return ["The index is empty", "Put pictures into it: mmr index FOLDER"];
  if (answer.fits === false) {
    const all = button("Show the nearest all the same", () => change({ fit: false }), { class: "main", "data-test": "unfit" });
    return ["Nothing that fits", "No picture here is near enough to these words to be sure of.", all];
  }
  const narrowed = search.where.length || search.inside;
  const all = narrowed ? button("Take the filters away", () => change({ where: [], inside: "" }), { class: "main" }) : null;
  return [`No ${unitOf(info, index?.name)}`, narrowed ? "None meets these filters." : "None answers.", all];
}
