// The tabs: pictures, and what else the server has: a map, near-duplicates, trainings and their reports.

import { button, byId } from "./dom.js";

const rows = (search, info) => (info.indexes.find((one) => one.name === search.index) ?? info.indexes[0])?.rows ?? 0;

// there: can it be shown? of: what it is of, so that it is made anew when that changes.
const VIEWS = {
  map: { name: "Map", there: (search, info) => rows(search, info) >= 3, of: (search) => [search.index], open: map },
  duplicates: { name: "Duplicates", there: (search, info) => rows(search, info) >= 2, of: (search) => [search.index, search.inside, ...search.where], open: duplicates },
  training: { name: "Training", there: (search, info) => Boolean(info.runs.length || info.reports.length), of: () => [], open: training },
};
let now = null; // the view that is shown, and what it is of
let close = () => {};
let mark = () => {};

/** Draw the tabs. go: called with a view. */
export function tabs(search, info, go) {
  const there = Object.entries(VIEWS).filter(([, view]) => view.there(search, info));
  const all = [["", "Pictures"], ...there.map(([id, view]) => [id, view.name])];
  const here = byId("tabs").contains(document.activeElement) ? document.activeElement.dataset.view : undefined;
  byId("tabs").replaceChildren(...(all.length < 2 ? [] : all.map(([view, name]) =>
    button(name, () => go(view), { "data-view": view, "data-test": `tab-${view || "pictures"}`, "aria-current": view === search.view ? "page" : null }))));
  if (here !== undefined) byId("tabs").querySelector(`[data-view="${here}"]`)?.focus();
}

/** Show a view in place of the pictures. Its code is fetched when it is first wanted. does: {words, alike, open, selection}. */
export function showView(search, info, does) {
  const view = VIEWS[search.view]?.there(search, info) ? search.view : "";
  const key = JSON.stringify([view, ...(VIEWS[view]?.of(search) ?? [])]);
  if (key === now) return;
  now = key;
  close();
  [close, mark] = [() => {}, () => {}];
  for (const id of ["view", "bar"]) byId(id).hidden = Boolean(view);
  for (const id of Object.keys(VIEWS)) byId(id).hidden = id !== view;
  document.body.dataset.view = view;
  VIEWS[view]?.open(search, info, does, () => key === now);
}

/** Other pictures are chosen: the view that is shown says so. */
export const markView = () => mark();

async function map(search, info, does, wanted) {
  const { openMap } = await import("./map.js");
  if (wanted()) openMap(search.index, { words: does.words, alike: (id) => alike(id, search.index, does) });
}

async function duplicates(search, info, does, wanted) {
  const { openDuplicates, markDuplicates } = await import("./duplicates.js");
  if (!wanted()) return;
  mark = () => markDuplicates(does.selection);
  openDuplicates(search, does);
}

async function training(search, info, does, wanted) {
  const [runs, reports] = await Promise.all([import("./runs.js"), import("./reports.js")]);
  if (!wanted()) return;
  close = () => (runs.closeRuns(), reports.closeReports());
  byId("training").replaceChildren();
  if (info.runs.length) runs.openRuns(info.runs, byId("training"));
  if (info.reports.length) reports.openReports(info.reports, byId("training"));
}

async function alike(id, index, does) {
  const { get } = await import("./api.js");
  does.alike((await get(`/api/items/${id}${index ? `?index=${encodeURIComponent(index)}` : ""}`)).uri);
}
