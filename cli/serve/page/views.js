// The tabs: pictures, and a map, trainings and their reports where the server has them.

import { button, byId } from "./dom.js";

const FEWEST = 3; // pictures that make a map
let now = null;

/** Is there a map of the index that is searched? */
const mapped = (search, info) => (info.indexes.find((one) => one.name === search.index) ?? info.indexes[0])?.rows >= FEWEST;

/** Has the server runs, or reports? */
const trained = (info) => Boolean(info.runs?.length || info.reports?.length);

/** Draw the tabs. go: called with a view. */
export function tabs(search, info, go) {
  const views = [["", "Pictures"], ...(mapped(search, info) ? [["map", "Map"]] : []), ...(trained(info) ? [["training", "Training"]] : [])];
  const here = byId("tabs").contains(document.activeElement) ? document.activeElement.dataset.view : undefined;
  byId("tabs").replaceChildren(...(views.length < 2 ? [] : views.map(([view, name]) =>
    button(name, () => go(view), { "data-view": view, "data-test": `tab-${view || "pictures"}`, "aria-current": view === search.view ? "page" : null }))));
  if (here !== undefined) byId("tabs").querySelector(`[data-view="${here}"]`)?.focus();
}

/** Show a view in place of the pictures. Its code is fetched when it is first wanted. */
export async function showView(search, info, does) {
  const view = (search.view === "map" && mapped(search, info)) || (search.view === "training" && trained(info)) ? search.view : "";
  const key = `${view} ${view === "map" ? search.index : ""}`;
  if (key === now) return;
  const last = now?.split(" ")[0];
  now = key;
  for (const id of ["view", "bar"]) byId(id).hidden = Boolean(view);
  for (const id of ["map", "training"]) byId(id).hidden = id !== view;
  document.body.dataset.view = view;
  if ("training" === last || "training" === view) await training(view === "training", info);
  if (view === "map") (await import("./map.js")).openMap(search.index, { words: does.words, alike: (id) => alike(id, search.index, does) });
}

async function training(open, info) {
  const [runs, reports] = await Promise.all([import("./runs.js"), import("./reports.js")]);
  runs.closeRuns();
  reports.closeReports();
  byId("training").replaceChildren();
  if (open && info.runs.length) runs.openRuns(info.runs, byId("training"));
  if (open && info.reports.length) reports.openReports(info.reports, byId("training"));
}

async function alike(id, index, does) {
  const { get } = await import("./api.js");
  does.alike((await get(`/api/items/${id}${index ? `?index=${encodeURIComponent(index)}` : ""}`)).uri);
}
