// Reports of evaluations: recalls both ways, figures of heads, and which classes are taken for which.

import { get, superseded } from "./api.js";
import { button, byId, grouped, make } from "./dom.js";
import { matrix } from "./matrix.js";

const SHOWN = 30; // classes in a table at first
const DIRECTIONS = [["text_to_image", "Words find their picture"], ["image_to_text", "A picture finds any of its captions"]];
const PLAIN = new Set(["map", "map@10", "r_precision", "ndcg@10", "mrr", "r2", "mae", "rmse", "ece"]); // as papers tell them: no percent
const HITS = ["hit@1", "hit@5", "hit@10"];
const SEVERAL = ["recall@1", "recall@5", "recall@10", "map", "map@10", "r_precision"]; // other than these only of several right answers
const NAMES = { map: "MAP", "map@10": "MAP@10", mrr: "MRR", "ndcg@10": "nDCG@10", r_precision: "R-precision", macro_f1: "macro-F1", micro_f1: "micro-F1", r2: "R\u00b2", ece: "calibration error", mae: "mean error", rmse: "root mean square error" };
let asking = null;

/** Show the reports of a server, by name, in an element. */
export function openReports(names, place) {
  const choice = make("select", { id: "report", "data-test": "report" }, names.map((name) => make("option", { value: name }, name)));
  choice.addEventListener("change", () => read(choice.value));
  place.append(make("h2", {}, "Reports"), make("p", {}, make("label", { for: "report" }, "Report "), choice), make("div", { id: "reported", "data-test": "reported" }));
  read(names[0]);
}

/** Ask no more. */
export const closeReports = () => asking?.abort();

async function read(name) {
  asking?.abort();
  const { signal } = (asking = new AbortController());
  byId("reported").replaceChildren(make("p", { role: "status" }, "Reading ..."));
  try {
    const { reports } = await get(`/api/reports/${encodeURIComponent(name)}`, signal);
    const of = (kind) => reports.filter((one) => one.kind === kind);
    const left = of("other").length;
    byId("reported").replaceChildren(...of("retrieval").map(retrieval), ...differences(of("difference")), ...slices(of("slice")), ...of("head").map(head),
      ...(left ? [make("p", { class: "quiet" }, `${left} more ${left === 1 ? "line is" : "lines are"} not drawn here: mmr eval shows them.`)] : []));
  } catch (error) {
    if (!superseded(error)) byId("reported").replaceChildren(make("p", { role: "alert" }, error.message));
  }
}

/** A table in a region that the keyboard can scroll. */
function table(caption, heads, rows, attributes = {}) {
  return make("div", { class: "scrolls", role: "region", tabindex: 0, "aria-label": caption },
    make("table", { class: "figures", ...attributes }, make("caption", {}, caption),
      make("thead", {}, make("tr", {}, heads.map((one) => make("th", { scope: "col" }, one)))), make("tbody", {}, rows)));
}

const row = (name, cells) => make("tr", {}, make("th", { scope: "row" }, name), cells.map((one) => make("td", {}, one)));

// ---------------------------------------------------------------- of retrieval

function retrieval(report) {
  const skipped = report.skipped ? `, ${grouped(report.skipped)} could not be read` : "";
  return make("article", { "data-test": "retrieval" },
    make("h3", {}, report.encoder || "Retrieval"),
    make("p", { class: "quiet" }, `${grouped(report.items)} pictures, ${grouped(report.queries)} captions${skipped} `, make("code", {}, report.fingerprint)),
    make("div", { class: "tables" }, DIRECTIONS.map(([name, title]) => direction(title, chosen(report, name), report.intervals[name] ?? {}, report.chance[name] ?? {}))),
    ...(report.r_sum === null ? [] : [make("p", {}, `rSum ${report.r_sum.toFixed(1)} of 600`)]), ...report.notes.map((line) => make("p", {}, line)));
}

/** The values that say something: of a caption, which has one picture, recall@k is hit@k. */
function chosen(report, direction) {
  const values = report[direction];
  const several = direction === "image_to_text" && report.queries > report.items;
  const wanted = "hit@1" in values ? [...HITS, ...(several ? SEVERAL : []), "ndcg@10", "mrr", "median_rank", "mean_rank"] : Object.keys(values);
  return Object.fromEntries(wanted.filter((name) => name in values).map((name) => [name, values[name]]));
}

function direction(title, values, intervals, chance) {
  const any = Object.keys(intervals).length > 0;
  const surely = (name, value) => (any ? [name in intervals ? range(name, intervals[name]) : "", name in chance ? told(name, chance[name]) : "", name in intervals ? bar(value, intervals[name], chance[name]) : ""] : []);
  const rows = Object.entries(values).map(([name, value]) => row(NAMES[name] ?? name.replace("_", " "), [told(name, value), ...surely(name, value)]));
  return table(title, [blank("metric"), blank("value"), ...(any ? ["95 %", "chance", blank("drawn")] : [])], rows);
}

function differences(found) {
  if (!found.length) return [];
  const line = (one) => row(`${one.encoder} beside ${one.beside}`, [titled(one.direction), NAMES[one.metric] ?? one.metric, points(one.value), `${points(one.low)} \u2013 ${points(one.high)}`, one.mcnemar === null ? "" : one.mcnemar.toPrecision(2)]);
  return [make("article", { "data-test": "differences" }, make("h3", {}, "Differences"), table("In points of a hundred; sure where the interval leaves out 0", [blank("encoders"), blank("direction"), blank("metric"), blank("difference"), "95 %", "McNemar p"], found.map(line)))];
}

function slices(found) {
  const sets = Map.groupBy(found, (one) => `${titled(one.direction)}, by ${one.by}${one.encoder ? `: ${one.encoder}` : ""}`);
  const line = (one) => row(one.name, [grouped(one.queries), ...Object.entries(one.values).map(([name, value]) => told(name, value)), range("hit@10", one.interval)]);
  const one = ([caption, parts]) => table(caption, [blank("part"), "queries", ...Object.keys(parts[0].values).map((name) => NAMES[name] ?? name), "95 % of hit@10"], parts.map(line));
  return sets.size ? [make("article", { "data-test": "slices" }, make("h3", {}, "Slices"), [...sets].map(one))] : [];
}

const titled = (direction) => Object.fromEntries(DIRECTIONS)[direction] ?? direction;
const points = (share) => (share * 100).toFixed(1);

const blank = (text) => make("span", { class: "hidden" }, text);

/** A share as a bar, its interval as a line over it, chance as a mark. */
function bar(value, [low, high], chance) {
  const part = (kind, from, to) => {
    const element = make("span", { class: kind });
    Object.assign(element.style, { left: `${from * 100}%`, width: `${Math.max(0, to - from) * 100}%` });
    return element;
  };
  return make("span", { class: "share-of", "aria-hidden": "true" }, part("is", 0, value ?? 0), part("sure", low ?? 0, high ?? 0), ...(chance > 0 ? [part("chance", chance, chance)] : []));
}

function told(name, value) {
  if (value === null || value === undefined) return "\u2013";
  if (name.endsWith("_rank")) return value.toFixed(1);
  return PLAIN.has(name) ? value.toFixed(3) : `${(value * 100).toFixed(1)} %`;
}

const range = (name, [low, high]) => `${told(name, low)} \u2013 ${told(name, high)}`;

// ---------------------------------------------------------------- of a head

function head(report) {
  const [first] = Object.keys(report.figures);
  const rows = Object.entries(report.figures).map(([name, value]) => row(NAMES[name] ?? name, [told(name, value), name === first ? range(name, report.interval) : ""]));
  const unseen = report.unseen ? `; ${grouped(report.unseen)} have a label that training never saw` : "";
  return make("article", { "data-test": "head" },
    make("h3", {}, report.classes ? `A head of ${grouped(report.classes)} classes` : "A head for a number"),
    make("p", { class: "quiet" }, `${grouped(report.examples)} examples${unseen}`),
    table("Figures", [blank("figure"), blank("value"), "95 %"], rows),
    ...(report.confusion.length ? [matrix(report)] : []), ...classes(report.per_class));
}

function classes(perClass) {
  const ordered = Object.entries(perClass).sort(([, one], [, other]) => other.support - one.support);
  if (!ordered.length) return [];
  const line = ([name, of]) => row(name, [told("", of.precision), told("", of.recall), of.f1.toFixed(3), grouped(of.support)]);
  const shown = table("Classes, the most frequent first", [blank("class"), "precision", "recall", "F1", "rows"], ordered.slice(0, SHOWN).map(line), { "data-test": "classes" });
  const rest = button(`All ${grouped(ordered.length)} classes`, () => (shown.querySelector("tbody").append(...ordered.slice(SHOWN).map(line)), shown.focus(), rest.remove()), { class: "more" });
  return [shown, ...(ordered.length > SHOWN ? [rest] : [])];
}
