// The fields and folders of what answers, with counts; a click narrows the search.

import { get, superseded } from "./api.js";
import { button, byId, grouped, make } from "./dom.js";
import { histogram, short } from "./histogram.js";
import { field, literal, narrowed } from "./state.js";

const SHOWN = 8;
const LEFT_OUT = new Set(["uri", "caption", "folder"]);
const opened = new Map(); // name -> was it opened by hand
let shown = "";
let asking = null;

/** Draw the filters of a search, if they are other ones. change: called with what is other in it. */
export async function drawFacets(search, generation, change) {
  const query = new URLSearchParams(Object.entries(narrowed(search)).filter(([, value]) => value)).toString();
  if (`${query} ${generation}` === shown) return;
  shown = `${query} ${generation}`;
  asking?.abort();
  asking = new AbortController();
  try {
    fill(await get(`/api/facets?${query}`, asking.signal), search, change);
  } catch (error) {
    if (superseded(error)) return;
    shown = "";
    byId("filters").replaceChildren(make("p", { class: "quiet" }, error.message));
  }
}

/** A condition that a field has a value; null where a condition cannot say it. */
export function has(facet, value) {
  const name = field(facet.name);
  if (facet.type === "bool") return String(value).toLowerCase() === "true" ? name : `${name} == false`;
  if (facet.type === "date") return `${name} == ${literal(value)}`;
  return `${name} == ${literal(facet.type === "number" ? Number(value) : value)}`;
}

/** A condition that a field lies between two values, both included; one of them may be null. */
export function between(facet, from, to) {
  const name = field(facet.name);
  const said = (value) => (facet.type === "date" ? short(facet, value) : literal(value));
  return [from === null ? "" : `${name} >= ${said(from)}`, to === null ? "" : `${name} <= ${said(to)}`].filter(Boolean).join(" and ");
}

function fill(facets, search, change) {
  const narrow = (clause) => clause && !search.where.includes(clause) && change({ where: [...search.where, clause] });
  const fields = facets.fields.filter((facet) => !LEFT_OUT.has(facet.name) && (facet.values.length > 1 || facet.bins?.length > 1));
  fields.sort((one, other) => (other.type === "date") - (one.type === "date"));
  byId("filters").replaceChildren(
    make("h2", { class: "hidden" }, "Filters"), own(narrow),
    ...(facets.folders.length > 1 ? [folders(facets.folders, change)] : []),
    ...fields.map((facet, at) => section(facet, at < 4, narrow)));
}

function own(narrow) {
  const input = make("input", { type: "text", placeholder: "year >= 2011 and not sold", "aria-label": "Condition on fields", spellcheck: "false", "data-test": "condition" });
  return make("form", { onsubmit: (event) => (event.preventDefault(), narrow(input.value.trim())) }, input);
}

function section(facet, open, narrow) {
  const ranged = facet.bins?.length > 1;
  const values = () => list(facet.values, (value) => narrow(has(facet, value)));
  const body = ranged ? histogram(facet, (from, to) => narrow(between(facet, from, to))) : values();
  return folding(facet.name, facet.count, open, body);
}

function folders(values, change) {
  return folding("Folders", values.length, true, list(values, (value) => change({ inside: value })));
}

function folding(name, count, open, body) {
  const details = make("details", { open: opened.get(name) ?? open, "data-test": "facet", "data-name": name }, make("summary", {}, name, " ", make("small", {}, grouped(count))), body);
  details.addEventListener("toggle", () => opened.set(name, details.open));
  return details;
}

function list(values, take) {
  const most = Math.max(...values.map((one) => one.count));
  const items = values.map((one, at) => {
    const share = make("span", { class: "share" });
    share.style.width = `${(one.count / most) * 100}%`;
    const line = make("button", { type: "button", class: "value", title: one.value, onclick: () => take(one.value), "data-test": "value" }, share, make("span", { class: "name" }, one.value), make("small", {}, grouped(one.count)));
    return make("li", { hidden: at >= SHOWN }, line);
  });
  const rest = button(`${values.length - SHOWN} more`, () => (items.forEach((item) => (item.hidden = false)), rest.remove()), { class: "more" });
  return make("div", {}, make("ul", {}, items), values.length > SHOWN ? rest : null);
}
