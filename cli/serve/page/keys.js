// The keys that are good everywhere, and the page that tells them.

import { button, byId, make } from "./dom.js";

const TOLD = [
  ["/", "to the words"], ["Enter", "in the words: keep the search; on a picture: open it"], ["Arrows, Page, Home, End", "move among the pictures"],
  ["m", "more like this"], ["l", "less like this"], ["u, d", "right, wrong: a thumb up or down moves the query"], ["a", "show those that are folded behind it"], ["x", "select; with Shift: all since the last one"], ["Esc", "close, or select none"],
  ["Arrows, Enter", "on the map: the nearest picture in that direction; more like it"], ["Left, Right", "in a picture: the one before, the next"], ["+, -", "alone between words: add, take away"], ["f", "show or hide the filters"], ["?", "these keys"],
];

/** Listen. does: {words, clear, filters}. */
export function listenKeys(does) {
  byId("help").addEventListener("click", help);
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input:not([type=checkbox], [type=range]), select, textarea");
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.key === "Escape") return does.clear(event);
    const act = typing ? null : { "/": does.words, "?": help, f: does.filters }[event.key];
    if (act) (event.preventDefault(), act());
  });
}

function help() {
  const dialog = byId("keys");
  const line = ([key, does]) => [make("dt", {}, make("kbd", {}, key)), make("dd", {}, does)];
  dialog.replaceChildren(make("h2", { id: "keys-title" }, "Keys"), make("dl", {}, TOLD.flatMap(line)), make("p", { class: "buttons" }, button("Close", () => dialog.close(), { autofocus: true })));
  dialog.showModal();
}
