// The page: one search at a time, what it answers, and what each control changes of it.

import { get, post, superseded } from "./api.js";
import { byId, icon } from "./dom.js";
import { drawFitting } from "./captions.js";
import { drawChips } from "./chips.js";
import { drawFacets } from "./facets.js";
import { Grid } from "./grid.js";
import { listenKeys } from "./keys.js";
import { notice } from "./notice.js";
import { Opened } from "./opened.js";
import { PAGE, Pages } from "./pages.js";
import * as pictures from "./picture.js";
import { Selection } from "./selection.js";
import { address, fromAddress, judged, plain, request, same, term, typed } from "./state.js";
import { countLine, listenLooks, sayNothing } from "./looks.js";
import { markView, showView, tabs } from "./views.js";

const PAUSE = 80; // ms after a letter
let search = fromAddress(location.search);
let shown = null; // the search whose answers are on the page
let info = null;
let pages = null;
let asking = null;
let timer = 0;
let chips = []; // the terms that are not in the field

const selection = new Selection({ changed: () => (grid.redraw(), markView()), labelled: () => drawFacets(search, `labelled ${Date.now()}`, change), alike: (hits) => change({ terms: [...search.terms, ...hits.map((hit) => like(hit))] }) });
const grid = new Grid({ open: (hit, at) => opened.open(hit, at), alike: more, unlike: (hit) => more(hit, -1), judge: (hit, liked) => change(judged(search, hit.uri, liked)), near: (hit) => change({ terms: [like(hit)], fold: false }), pick: (hit, at, through) => selection.pick(hit, at, through, pages) }, (hit) => selection.has(hit));
const opened = new Opened({ change, more, now: () => ({ search, pages, info }), back: (place) => grid.focus(place) });

/** Another search. keep: as a step that `back` goes to. */
function change(changes, keep = true, state = null) {
  clearTimeout(timer);
  search = { ...search, ...changes };
  if (keep) history.pushState(state, "", address(search));
  else history.replaceState(history.state, "", address(search));
  typing.begun = false;
  apply();
}

/** Make the page say what the search says. typing: leave the words as they are. */
function apply(typing = false) {
  if (!info) return;
  controls(typing);
  showView(search, info, { alike: (uri) => change({ view: "", terms: [term("id", uri)] }), words, open: (hit) => opened.open(hit, null), selection });
  if (!search.item) opened.close();
  if (!shown || !same(shown, search)) ask();
  else opened.show();
}

function controls(typing) {
  if (!typing) {
    byId("words").value = plain(search.terms[0]) ? search.terms[0].text : "";
    chips = search.terms.slice(plain(search.terms[0]) ? 1 : 0);
    drawChips(chips, () => search, change, crop);
  }
  byId("sort").value = search.sort;
  for (const name of ["fold", "fit", "diverse"]) byId(name).checked = search[name];
  byId("index").value = search.index || info.indexes[0]?.name;
  selection.allow(info, search.index);
  document.title = search.terms.length ? `${search.terms.map((one) => one.text).join(", ").slice(0, 80)} - mmr` : "Pictures by words";
  tabs(search, info, (view) => change({ view }));
}

/** Ask for the first page. file: a picture that goes along; replaced: the term it takes the place of. */
async function ask(file = null, box = null, replaced = null) {
  asking?.abort();
  const { signal } = (asking = new AbortController());
  const wanted = file && replaced ? { ...search, terms: search.terms.filter((one) => one !== replaced) } : search;
  byId("view").setAttribute("aria-busy", "true");
  try {
    const more = { k: PAGE, ...(box && { crop: box.map((share) => share.toFixed(4)).join(",") }) };
    const path = `/api/search?${request(wanted, more)}`;
    const answer = file ? await post(path, file, signal) : await get(path, signal);
    if (file) search = sent(wanted, answer.picture, file);
    if (file) controls(false);
    answered(answer);
  } catch (error) {
    if (!superseded(error)) refused(error);
  } finally {
    if (asking.signal === signal) byId("view").removeAttribute("aria-busy");
  }
}

function sent(wanted, picture, file) {
  const name = picture.replace(/^picture:/, "");
  pictures.remember(name, file);
  const next = { ...wanted, terms: [...wanted.terms, term("picture", name)], view: "" };
  history.pushState(null, "", address(next));
  notice("picture", "The picture is not in the address: who is sent the link sees these answers only while the server remembers it.", 8000);
  return next;
}

function answered(answer) {
  pages?.stop();
  const old = shown;
  shown = search;
  if (old && old.index !== search.index) selection.clear();
  pages = new Pages(search, answer, { changed: () => (grid.redraw(), count(answer)), failed: (error) => notice("server", error.message, 6000) });
  notice("note", answer.note || "");
  sayNothing(answer, search, info, change);
  grid.show(pages);
  count(answer);
  requestAnimationFrame(() => setTimeout(() => afterPaint(answer)));
}

/** What can wait until the pictures are there. */
function afterPaint(answer) {
  if (search !== shown) return;
  if (document.activeElement !== byId("words") && !byId("terms").contains(document.activeElement)) controls(false);
  drawFacets(search, `${answer.index} ${answer.generation}`, change);
  drawFitting({ search, info, words });
  opened.show();
}

function refused(error) {
  pages?.stop();
  pages = null;
  shown = null;
  sayNothing({ error: error.message, hits: [] }, search, info, change);
  byId("count").textContent = "";
  grid.show(new Pages(search, { total: 0, hits: [], next: null }, { changed: () => {}, failed: () => {} }));
}

const count = (answer) => countLine(answer, pages, search, info);

// ---------------------------------------------------------------- pictures

const like = (hit, sign = 1) => term("id", hit.uri, sign);

const words = (text) => change({ view: "", terms: [term("words", text)] });

function more(hit, sign = 1) {
  const others = search.terms.filter((one) => !(one.kind === "id" && one.text === hit.uri));
  change({ terms: [...others, like(hit, sign === -1 ? -1 : 1)], item: "", view: "" });
}

function crop(one) {
  pictures.cropping(one.text, (box) => ask(pictures.fileOf(one.text), box, one));
}

// ---------------------------------------------------------------- words

/** What is typed as a search. keep: it is meant; else more letters may come. */
function typing(keep) {
  clearTimeout(timer);
  const next = { ...search, terms: [...typed(byId("words").value), ...chips], view: "", item: "" };
  if (same(next, search) && !keep) return;
  const none = { like: [], unlike: [] };
  const others = !same({ ...next, ...none }, { ...search, ...none }); // of which nothing was judged
  search = others ? { ...next, ...none } : next;
  if (others && byId("terms").querySelector("[data-test=judged]")) drawChips(chips, () => search, change, crop);
  history[typing.begun ? "replaceState" : "pushState"](null, "", address(search));
  typing.begun = !keep;
  apply(!keep);
}

function listen() {
  byId("words").addEventListener("input", () => (clearTimeout(timer), (timer = setTimeout(typing, PAUSE, false))));
  byId("search").addEventListener("submit", (event) => (event.preventDefault(), typing(true)));
  byId("sort").addEventListener("change", (event) => change({ sort: event.target.value }));
  for (const name of ["fold", "fit", "diverse"]) byId(name).addEventListener("change", (event) => change({ [name]: event.target.checked }));
  byId("index").addEventListener("change", (event) => change({ ...fromAddress(""), index: event.target.value }));
  addEventListener("popstate", () => ((search = fromAddress(location.search)), (typing.begun = false), apply()));
  pictures.listen((file) => ask(file));
  const { filters } = listenLooks((size) => grid.resize(size));
  listenKeys({ words: () => byId("words").select(), filters, clear: () => selection.clear() || grid.focus(grid.here) });
}

async function start() {
  for (const [id, name] of [["choose", "picture"], ["theme", "theme"], ["help", "help"]]) byId(id).append(icon(name));
  listen();
  info = await get("/api/info");
  byId("index").replaceChildren(...info.indexes.map((one) => new Option(one.name, one.name)));
  byId("index").hidden = info.indexes.length < 2;
  const early = byId("words").value; // typed before there was anything to ask
  apply();
  if (early && early !== byId("words").value) ((byId("words").value = early), typing(false));
}

start();
