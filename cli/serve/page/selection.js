// The pictures that are chosen, and what is done with many of them.

import { blob, get, post } from "./api.js";
import { button, byId, grouped, make, nameOf } from "./dom.js";
import { notice } from "./notice.js";

const MOST = 1000; // between two clicks
const QUIET = 6000; // ms that a line stays

/** The choice. changed: called after each change. labelled: when the index holds other labels. alike: called with all of them. */
export class Selection {
  constructor({ changed, labelled, alike }) {
    this._chosen = new Map(); // id -> hit
    this._changed = changed;
    this._alike = alike;
    this._labelled = labelled;
    this._from = null;
  }

  /** Is it chosen? */
  has(hit) {
    return this._chosen.has(hit.id);
  }

  /** Choose these too. */
  take(hits) {
    for (const hit of hits) this._chosen.set(hit.id, hit);
    this._show();
  }

  /** Choose one, or leave it; through: all since the one before, of pages. */
  pick(hit, place, through, pages) {
    if (through && this._from !== null) this._through(place, pages);
    else if (!this._chosen.delete(hit.id)) this._chosen.set(hit.id, hit);
    this._from = place;
    this._show();
  }

  /** Choose none. Returns whether there were any. */
  clear() {
    const any = this._chosen.size > 0;
    this._chosen.clear();
    this._from = null;
    if (any) this._show();
    return any;
  }

  /** What the server allows. */
  allow(info, index) {
    this._info = info;
    this._index = index;
  }

  _through(place, pages) {
    const [first, last] = [Math.min(place, this._from), Math.max(place, this._from)];
    let missing = 0;
    for (let at = first; at <= last && at < first + MOST; at += 1) {
      const hit = pages.at(at);
      if (hit) this._chosen.set(hit.id, hit);
      else missing += 1;
    }
    if (missing) notice("select", `${missing} pictures between them are not loaded: scroll over them, then choose again.`, QUIET);
  }

  _show() {
    const count = this._chosen.size;
    const bar = byId("selection");
    bar.hidden = !count;
    if (count) bar.replaceChildren(make("span", { role: "status" }, `${grouped(count)} selected`), ...this._buttons());
    this._changed();
  }

  _buttons() {
    const copy = this._info?.local ? "Copy paths" : "Copy names";
    return [
      button("More like these", () => this._alike([...this._chosen.values()]), { "data-test": "alike-selected" }),
      button("Download", () => this._done(this._download()), { "data-test": "download" }),
      button(copy, () => this._done(this._copy()), { "data-test": "copy" }),
      ...(this._info?.may_write ? [this._labelling()] : []),
      button("Clear", () => this.clear(), { "data-test": "clear-selected" }),
    ];
  }

  _labelling() {
    const name = make("input", { type: "text", size: 8, value: "label", "aria-label": "Name of the label", required: true });
    const value = make("input", { type: "text", size: 12, placeholder: "value; empty removes", "aria-label": "Value of the label; empty removes it", "data-test": "label-value" });
    const send = (event) => (event.preventDefault(), this._done(this._label(name.value.trim(), value.value.trim())));
    return make("form", { onsubmit: send }, name, value, make("button", { type: "submit", "data-test": "label" }, "Label"));
  }

  _done(doing) {
    doing.then((line) => notice("select", line, QUIET), (error) => notice("select", error.message, QUIET));
  }

  async _label(name, value) {
    const said = await post("/api/labels", { ids: [...this._chosen.keys()], name, value: value || null, ...(this._index && { index: this._index }) });
    this._labelled();
    return `${grouped(said.labelled)} labelled.`;
  }

  async _download() {
    const [first, ...others] = this._chosen.values();
    if (!others.length) return download(first, this._index).then(() => "Sent to your downloads.");
    notice("select", "Packing them ...");
    save(await blob("/api/download", { ids: [...this._chosen.keys()], ...(this._index && { index: this._index }) }), "pictures.zip");
    return `A zip of ${grouped(others.length + 1)} files was sent to your downloads; what cannot be had is named in it.`;
  }

  async _copy() {
    const lines = [];
    for (const hit of this._chosen.values()) {
      lines.push(this._info?.local ? (await get(`/api/items/${hit.id}${of(this._index)}`)).path || hit.uri : hit.uri);
    }
    await copy(lines.join("\n"));
    return `${grouped(lines.length)} copied.`;
  }
}

const of = (index) => (index ? `?index=${encodeURIComponent(index)}` : "");

/** Save a hit's file. Raises Refused. */
export async function download(hit, index) {
  save(await blob(`/api/items/${hit.id}/file${of(index)}`), nameOf(hit.uri));
}

function save(content, name) {
  const url = URL.createObjectURL(content);
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

/** Put a text on the clipboard, also where the page is not a secure one. */
export async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = make("textarea", { "aria-label": "Text to copy" });
  area.value = text;
  (document.querySelector("dialog[open]") ?? document.body).append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("The browser did not let it be copied.");
}
