// Captions that fit a picture: the nearest ones of the whole index, each a search for its words.

import { get } from "./api.js";
import { button, byId, make } from "./dom.js";
import { args } from "./state.js";

const FEW = 2000; // pictures, up to which they are read unasked: the first time, the server encodes every caption
const TOLD = 5;
const none = new Set(); // the indexes that have no caption
let opened = null; // as it was left by hand
let turn = Promise.resolve(); // one is asked for at a time: while captions are encoded, each would hold a thread of the server

/**
 * A part of the page that tells them. one: a term. of: {search, info, words(text)}. without: captions that are told elsewhere.
 * Returns null where the index has none.
 */
export function fitting(one, { search, info, words }, without = []) {
  const index = info.indexes.find((each) => each.name === search.index) ?? info.indexes[0];
  if (!index || none.has(index.name)) return null;
  const list = make("ul", { class: "captions" });
  const details = make("details", { open: opened ?? index.rows <= FEW, class: "fitting", "data-test": "fitting" }, make("summary", {}, "Captions that fit"), list);
  const ask = () => {
    if (!details.open || list.children.length) return;
    list.replaceChildren(make("li", { class: "quiet", role: "status" }, "Reading the captions ..."));
    turn = turn.then(() => details.isConnected && fill(details, list, one, index.name, words, without));
  };
  details.addEventListener("toggle", ask);
  details.firstChild.addEventListener("click", () => (opened = !details.open));
  ask();
  return details;
}

/** Tell them under the query, where it is one picture. */
export function drawFitting(of) {
  const [one, ...others] = of.search.terms;
  const place = byId("fitting");
  const wanted = one && !others.length && one.kind !== "words" && one.sign > 0;
  const told = wanted ? fitting(one, of) : null;
  place.replaceChildren(...(told ? [told] : []));
  place.hidden = !told;
}

async function fill(details, list, one, index, words, without) {
  try {
    const query = new URLSearchParams(args([one]).map((word) => ["q", word]));
    query.set("index", index);
    query.set("k", TOLD + Math.min(50, without.length));
    const { captions, any } = await get(`/api/captions?${query}`);
    if (!any) return none.add(index), details.remove();
    const others = captions.filter(({ caption }) => !without.includes(caption)).slice(0, TOLD);
    const line = ({ caption, score }) => make("li", {}, button(caption, () => words(caption), { class: "text", title: "Search for these words" }), make("small", {}, score.toFixed(3)));
    list.replaceChildren(...(others.length ? others.map(line) : [make("li", { class: "quiet" }, "No others.")]));
  } catch (error) {
    list.replaceChildren(make("li", { role: "alert" }, error.message));
  }
}
