// The tabs: pictures, and a map and trainings where the server has them.

import { button, byId } from "./dom.js";

const FEWEST = 3; // pictures that make a map
let now = null;

/** Is there a map of the index that is searched? */
const mapped = (search, info) => (info.indexes.find((one) => one.name === search.index) ?? info.indexes[0])?.rows >= FEWEST;

/** Draw the tabs. go: called with a view. */
export function tabs(search, info, go) {
  const views = [["", "Pictures"], ...(mapped(search, info) ? [["map", "Map"]] : []), ...(info.runs?.length ? [["training", "Training"]] : [])];
  const here = byId("tabs").contains(document.activeElement) ? document.activeElement.dataset.view : undefined;
  byId("tabs").replaceChildren(...(views.length < 2 ? [] : views.map(([view, name]) =>
    button(name, () => go(view), { "data-view": view, "data-test": `tab-${view || "pictures"}`, "aria-current": view === search.view ? "page" : null }))));
  if (here !== undefined) byId("tabs").querySelector(`[data-view="${here}"]`)?.focus();
}

/** Show a view in place of the pictures. Its code is fetched when it is first wanted. */
export async function showView(search, info, does) {
  const view = (search.view === "map" && mapped(search, info)) || (search.view === "training" && info.runs?.length) ? search.view : "";
  const key = `${view} ${view === "map" ? search.index : ""}`;
  if (key === now) return;
  const last = now?.split(" ")[0];
  now = key;
  for (const id of ["view", "bar"]) byId(id).hidden = Boolean(view);
  for (const id of ["map", "training"]) byId(id).hidden = id !== view;
  document.body.dataset.view = view;
  if (last === "training") (await import("./runs.js")).closeRuns();
  if (view === "training") (await import("./runs.js")).openRuns(info.runs);
  if (view === "map") (await import("./map.js")).openMap(search.index, { words: does.words, alike: (id) => alike(id, search.index, does) });
}

async function alike(id, index, does) {
  const { get } = await import("./api.js");
  does.alike((await get(`/api/items/${id}${index ? `?index=${encodeURIComponent(index)}` : ""}`)).uri);
}
