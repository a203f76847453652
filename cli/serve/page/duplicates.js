// Near-duplicates: groups as rows of pictures, the best of each first, and all but those chosen at one click.

import { get, superseded } from "./api.js";
import { button, byId, grouped, make, nameOf } from "./dom.js";
import { narrowed } from "./state.js";
import { show, thumb } from "./thumbs.js";

const [LEAST, MOST, USUAL] = [0.9, 1, 0.97]; // cosines
const DRAWN = 50; // groups at a time
const SIDE = 150; // pixels of a picture
let asking = null;
let threshold = USUAL;
let seen = null;

/** Show the groups of a search's index and conditions. does: {open(hit), selection}. */
export function openDuplicates(search, does) {
  const value = make("output", { for: "alike" }, threshold.toFixed(3));
  const slider = make("input", { id: "alike", type: "range", min: LEAST, max: MOST, step: 0.005, value: threshold, "data-test": "threshold" });
  slider.addEventListener("input", () => (value.textContent = Number(slider.value).toFixed(3)));
  slider.addEventListener("change", () => ((threshold = Number(slider.value)), ask(search, does)));
  byId("duplicates").replaceChildren(
    make("h2", { class: "hidden" }, "Duplicates"),
    make("p", { class: "buttons" }, make("label", { for: "alike" }, "Alike from a cosine of"), slider, value),
    make("p", { role: "status", id: "groups-told", "data-test": "groups-told" }), make("div", { id: "groups" }));
  ask(search, does);
}

/** Show which are chosen. selection: of the page. */
export function markDuplicates(selection) {
  for (const box of byId("duplicates").querySelectorAll("input[data-id]")) box.checked = selection.has({ id: box.dataset.id });
}

async function ask(search, does) {
  asking?.abort();
  asking = new AbortController();
  byId("groups-told").textContent = "Comparing all pictures with each other ...";
  byId("groups").setAttribute("aria-busy", "true");
  try {
    const query = new URLSearchParams(Object.entries({ ...narrowed(search), threshold }).filter(([, value]) => value !== ""));
    const { count, groups } = await get(`/api/duplicates?${query}`, asking.signal);
    fill({ count, groups: groups.map((group) => ({ ...group, hits: bestFirst(group.hits) })) }, does);
  } catch (error) {
    if (superseded(error)) return;
    byId("groups-told").textContent = error.message;
    byId("groups").replaceChildren();
  }
  byId("groups").removeAttribute("aria-busy");
}

/** The largest picture first; of equal ones the server's first, which is the most like the others. */
function bestFirst(hits) {
  const area = (hit) => (hit.width ?? 0) * (hit.height ?? 0);
  const best = hits.reduce((one, other) => (area(other) > area(one) ? other : one));
  return [best, ...hits.filter((hit) => hit !== best)];
}

function fill({ count, groups }, does) {
  const pictures = groups.reduce((sum, group) => sum + group.count, 0);
  const of = count > groups.length ? `The ${grouped(groups.length)} largest of ${grouped(count)} groups` : `${grouped(count)} ${count === 1 ? "group" : "groups"}`;
  byId("groups-told").textContent = count ? `${of}: ${grouped(pictures)} pictures, ${grouped(pictures - groups.length)} beside the best of each.` : "No two pictures are so near to each other: move the slider to the left for others.";
  seen?.disconnect();
  seen = new IntersectionObserver((entries) => entries.filter((one) => one.isIntersecting).forEach(({ target }) => (seen.unobserve(target), target.dispatchEvent(new Event("near")))), { rootMargin: "400px" });
  const others = () => groups.flatMap((group) => group.hits.slice(1));
  const list = make("div", {});
  byId("groups").replaceChildren(...(count ? [make("p", { class: "buttons" }, button("Select all but the best of each", () => does.selection.take(others()), { class: "main", "data-test": "all-others" }))] : []), list);
  more(list, groups, 0, does);
}

function more(list, groups, from, does) {
  list.append(...groups.slice(from, from + DRAWN).map((group) => drawn(group, does)));
  const left = groups.length - from - DRAWN;
  if (left <= 0) return;
  const rest = button(`${grouped(left)} more groups`, () => (rest.remove(), more(list, groups, from + DRAWN, does), list.children[from + DRAWN].querySelector("button").focus()), { class: "more" });
  list.append(rest);
}

function drawn(group, does) {
  const name = `${grouped(group.count)} alike`;
  const left = group.count - group.hits.length;
  return make("section", { class: "group", "aria-label": `${name}: ${nameOf(group.hits[0].uri)}`, "data-test": "group" },
    make("div", { class: "group-head" }, make("h3", {}, name), button("Select all but the best", () => does.selection.take(group.hits.slice(1)), { class: "text", "data-test": "others" })),
    make("ul", { class: "alike-row" }, group.hits.map((hit, at) => copyOf(hit, !at, does)), left ? make("li", { class: "quiet" }, `and ${grouped(left)} more, which are not drawn`) : null));
}

function copyOf(hit, best, does) {
  const name = hit.caption || nameOf(hit.uri);
  const image = make("img", { alt: "", draggable: "false", decoding: "async" });
  image.addEventListener("near", () => show(image, thumb(hit, SIDE), (line) => image.replaceWith(make("span", { class: "gone" }, line))));
  seen.observe(image);
  const size = hit.width ? `${hit.width} \u00d7 ${hit.height}` : "";
  const box = make("input", { type: "checkbox", "data-id": hit.id, checked: does.selection.has(hit), "aria-label": `Select ${nameOf(hit.uri)}`, onchange: () => does.selection.pick(hit, null, false) });
  return make("li", {},
    make("button", { type: "button", class: "copy", "aria-label": best ? `${name}, the best` : name, onclick: () => does.open(hit), "data-test": "copy-of" }, image, best ? make("span", { class: "mark", "aria-hidden": "true" }, "best") : null),
    make("label", { title: hit.uri }, box, " ", make("span", {}, nameOf(hit.uri))),
    make("small", {}, [size, best ? "" : hit.score.toFixed(3)].filter(Boolean).join(", ")));
}
