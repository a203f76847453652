// One picture, large: its captions and fields, why it answers, and what can be done with it.

import { get, post, superseded } from "./api.js";
import { fitting } from "./captions.js";
import { button, byId, iconButton, make, nameOf, said } from "./dom.js";
import { copy, download } from "./selection.js";
import { args, term } from "./state.js";
import { show, thumb } from "./thumbs.js";
import { whereButton } from "./where.js";

const LARGE = 1024;
let asking = null;

/**
 * Show an item. hit: null where only its id is known. does: {step, close, alike, unlike, narrow, words};
 * step(by) goes to another one, and is null where there is none.
 */
export async function openDetail(id, hit, search, info, does) {
  const dialog = byId("detail");
  frame(dialog, id, hit, does);
  if (!dialog.open) dialog.showModal();
  asking?.abort();
  asking = new AbortController();
  const query = new URLSearchParams(args(search.terms).map((word) => ["q", word]));
  if (search.index) query.set("index", search.index);
  try {
    const item = await get(`/api/items/${encodeURIComponent(id)}?${query}`, asking.signal);
    facts(dialog.querySelector(".facts"), item, hit, search, info, does);
    byId("detail-name").textContent = nameOf(item.uri);
  } catch (error) {
    if (!superseded(error)) dialog.querySelector(".facts").replaceChildren(make("p", { role: "alert" }, error.message));
  }
}

/** Is one shown? */
export const isOpen = () => byId("detail").open;

/** Close it, if it is open. */
export function closeDetail() {
  asking?.abort();
  byId("detail").close();
}

/** Listen for its keys. does: as of openDetail, asked anew each time. */
export function listenDetail(does) {
  const dialog = byId("detail");
  dialog.addEventListener("cancel", (event) => (event.preventDefault(), does().close()));
  dialog.addEventListener("click", (event) => event.target === dialog && does().close());
  dialog.addEventListener("keydown", (event) => {
    if (event.target.closest("input, video, audio") || event.ctrlKey || event.metaKey || event.altKey) return;
    const act = { ArrowLeft: () => does().step?.(-1), ArrowRight: () => does().step?.(1), m: () => does().alike?.(), l: () => does().unlike?.() }[event.key];
    if (act) (event.preventDefault(), act());
  });
}

function frame(dialog, id, hit, does) {
  const gone = (line) => dialog.querySelector(".large")?.replaceChildren(make("p", { class: "gone", role: "alert" }, line));
  const source = hit ?? { thumb: `/api/items/${encodeURIComponent(id)}/thumb?s=${LARGE}${does.index ? `&index=${encodeURIComponent(does.index)}` : ""}` };
  const image = make("img", { alt: hit?.caption || "The picture", "data-test": "large" });
  const focused = dialog.contains(document.activeElement) && document.activeElement.getAttribute("aria-label");
  dialog.replaceChildren(
    make("div", { class: "head" }, make("h2", { id: "detail-name" }, hit ? nameOf(hit.uri) : "Picture"),
      iconButton("left", "Previous", () => does.step?.(-1), { disabled: !does.step, "data-test": "previous" }),
      iconButton("right", "Next", () => does.step?.(1), { disabled: !does.step, "data-test": "next" }),
      iconButton("close", "Close", () => does.close(), { "data-test": "close" })),
    make("div", { class: "large" }, image), make("div", { class: "facts", tabindex: 0, role: "region", "aria-label": "About it" }, make("p", { class: "quiet" }, "Reading ...")));
  show(image, thumb(source, LARGE), gone);
  const back = focused && [...dialog.querySelectorAll("button")].find((one) => one.getAttribute("aria-label") === focused);
  if (back) back.focus();
}

function facts(place, item, hit, search, info, does) {
  const line = make("p", { role: "status", class: "quiet" });
  const doing = (work, done) => work.then(() => (line.textContent = done), (error) => (line.textContent = error.message));
  const index = does.index ? `?index=${encodeURIComponent(does.index)}` : "";
  place.replaceChildren(
    make("p", { class: "buttons" },
      button("More like this", () => does.alike(), { "data-test": "alike" }), button("Less like this", () => does.unlike(), { "data-test": "unlike" }),
      button("Download", () => doing(download(item, does.index), "Sent to your downloads.")),
      search.terms.length && item.kind !== "sound" ? whereButton(item, search, does.index, place.parentElement.querySelector(".large"), line) : null,
      info.local && item.path ? button("Copy path", () => doing(copy(item.path), "Copied."), { "data-test": "copy-path" }) : null,
      info.local ? button("Open folder", () => doing(post(`/api/items/${item.id}/open${index}`, {}), "Opened."), { "data-test": "open-folder" }) : null),
    line, ...captions(item, does), fitting(term("id", item.uri), { search, info, words: does.words }, item.captions) ?? "", ...why(item, hit, search), ...fields(item, does),
    make("p", { class: "quiet path" }, item.path || item.uri), ...(item.kind === "clip" ? [make("p", { class: "quiet" }, "A clip: download it to see it move.")] : []),
    ...(item.kind === "sound" ? [make("audio", { controls: "", preload: "none", src: `/api/items/${item.id}/file${index}`, "aria-label": "Listen", "data-test": "listen" })] : []));
}

function captions(item, does) {
  const near = item.why?.captions?.length ? item.why.captions : (item.captions || []).map((caption) => ({ caption }));
  if (!near.length) return [];
  const one = ({ caption, score }) => make("li", {}, button(caption, () => does.words(caption), { class: "text", title: "Search for these words" }), score === undefined ? null : make("small", {}, score.toFixed(3)));
  return [make("h3", {}, near.length > 1 ? "Captions" : "Caption"), make("ul", { class: "captions", "data-test": "captions" }, near.map(one))];
}

function why(item, hit, search) {
  if (!item.why || !search.terms.length) return [];
  const row = (name, value) => make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, value.toFixed(3), meter(value)));
  const sure = hit?.confidence ?? item.why.confidence;
  const rows = [row("Score", item.why.score), ...(sure === null || sure === undefined ? [] : [row("Confidence", sure)])];
  if (hit?.by) rows.unshift(make("tr", {}, make("th", { scope: "row" }, "By"), make("td", { class: "by", "data-test": "by" }, hit.by)));
  const sign = (at) => (search.terms[at]?.sign < 0 ? "\u2212 " : "+ ");
  const named = (one, at) => sign(at) + (search.terms[at]?.kind === "picture" ? "the picture" : nameOf(one.term));
  const terms = item.why.terms.length > 1 ? item.why.terms.map((one, at) => row(named(one, at), one.score)) : [];
  const table = make("table", { class: "why", "data-test": "why" }, make("tbody", {}, rows, terms));
  return [make("h3", {}, "Why it answers"), table, ...mattered(item.why.terms)];
}

/** Which words of the query mattered: what the score loses without each. */
function mattered(terms) {
  const all = terms.flatMap(({ words = [] }) => words);
  if (!all.length) return [];
  const row = ({ word, matters }) => make("tr", {}, make("th", { scope: "row" }, word), make("td", {}, `${matters < 0 ? "\u2212" : "+"}${Math.abs(matters).toFixed(3)}`, meter(matters)));
  return [make("h3", {}, "Which words mattered"), make("table", { class: "why", "data-test": "words" }, make("tbody", {}, all.map(row)))];
}

function meter(value) {
  const bar = make("span", { class: "meter", "aria-hidden": "true" });
  bar.style.width = `${Math.max(0, Math.min(1, value)) * 60}px`;
  return bar;
}

function fields(item, does) {
  const all = Object.entries(item.fields || {}).filter(([, value]) => value !== null && value !== "");
  if (!all.length) return [];
  const one = (name, value) => (value && typeof value === "object" && !Array.isArray(value) ? said(value) : [value].flat().map((part) => button(said(part), () => does.narrow(name, part), { class: "text", title: "Only these" })));
  return [make("h3", {}, "Fields"), make("dl", { "data-test": "fields" }, all.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, one(name, value))]))];
}
