// A confusion matrix: a row for each true class, a column for each answer, colored by its share of the true class.

import { button, grouped, make } from "./dom.js";

const FIRST = 30; // classes that are drawn at first

/** The matrix of a head's report. A cell without a number is none. */
export function matrix(report) {
  const place = make("div", { "data-test": "matrix" });
  const draw = (count) => place.replaceChildren(...drawn(report, count, () => (draw(report.labels.length), place.querySelector("[role=region]").focus())));
  draw(FIRST);
  return place;
}

function drawn(report, most, all) {
  const rows = (at) => report.per_class[report.labels[at]]?.support ?? report.confusion[at].reduce((sum, count) => sum + count, 0);
  const places = [...report.labels.keys()];
  const kept = new Set(places.toSorted((one, other) => rows(other) - rows(one)).slice(0, most));
  const shown = places.filter((at) => kept.has(at));
  const lines = shown.map((at) => line(report.confusion[at], at, shown, report.labels[at], rows(at)));
  const classes = report.labels.length + report.confusion_without;
  const few = shown.length < classes ? `the ${shown.length} most frequent of ${grouped(classes)} classes; ` : "";
  const caption = `Confusion: ${few}true classes down, answers across; the fuller the color, the more of the true class; an empty cell is none`;
  const head = make("tr", {}, make("th", { scope: "col" }, "true \u2193 answered \u2192"), shown.map((at) => make("th", { scope: "col", class: "across" }, make("span", {}, report.labels[at]))));
  const table = make("table", { class: "matrix" }, make("caption", {}, caption), make("thead", {}, head), make("tbody", {}, lines));
  return [
    make("div", { class: "scrolls", role: "region", tabindex: 0, "aria-label": "Confusion matrix" }, table),
    shown.length < report.labels.length ? button(`Draw ${report.labels.length} classes`, all, { "data-test": "all-classes" }) : null,
  ].filter(Boolean);
}

function line(counts, own, shown, name, rows) {
  const cells = shown.map((at) => {
    const count = counts[at];
    const cell = make("td", { class: at === own ? "right" : null }, count ? grouped(count) : "");
    if (count) {
      cell.title = `${name}: ${grouped(count)} of ${grouped(rows)}`;
      cell.style.setProperty("--of", Math.sqrt(count / Math.max(1, rows)).toFixed(3));
    }
    return cell;
  });
  return make("tr", {}, make("th", { scope: "row" }, name), cells);
}
