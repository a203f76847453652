// The grid of pictures: rows of one height, and only those on the screen are there.

import { Scroll } from "./scroll.js";
import { byId, make } from "./dom.js";
import { cellFor } from "./cell.js";

const GAP = 4;
const AHEAD = 0.5; // screens drawn above and below

function choose(cell, picked) {
  cell.setAttribute("aria-selected", picked);
  const box = cell.querySelector("input");
  if (box) box.checked = picked;
}

/** The grid. does: {open, alike, unlike, judge, near, pick} of a hit and its place; picked: (hit) => bool. */
export class Grid {
  constructor(does, picked) {
    this._does = does;
    this._picked = picked;
    this._body = byId("grid");
    this._rows = new Map(); // row -> its element
    this._scroll = new Scroll(byId("scroll"), this._body, () => this._later());
    this.here = 0; // the place that the keyboard is at
    this.size = 180;
    new ResizeObserver(() => this._lay()).observe(byId("scroll"));
    this._body.addEventListener("focusin", (event) => this._noted(event));
    this._body.addEventListener("keydown", (event) => this._key(event));
  }

  /** Show other answers, from their top. */
  show(pages) {
    this._pages = pages;
    this.here = 0;
    this._scroll.to(0); // before there is anything to lay out anew
    this._lay();
  }

  /** Draw again what is to be seen: answers came, or a choice has changed. */
  redraw() {
    this._lay();
  }

  /** How wide a picture should be. */
  resize(size) {
    this.size = size;
    const first = Math.floor(this._scroll.top / (this._high || 1)) * (this._across || 1);
    this._lay();
    this._scroll.to(Math.floor(first / this._across) * this._high);
    this._lay();
  }

  /** Put the keyboard at a place. */
  focus(place) {
    this._go(place);
  }

  _lay() {
    if (!this._pages) return;
    const wide = byId("scroll").clientWidth - GAP;
    if (wide <= 0) return;
    this._across = Math.max(2, Math.floor((wide + GAP) / (this.size + GAP)));
    this._side = Math.floor((wide - GAP * (this._across - 1)) / this._across);
    this._high = this._side + GAP;
    this._count = Math.ceil(this._pages.length / this._across);
    this._body.setAttribute("aria-rowcount", this._count);
    this._body.setAttribute("aria-colcount", this._across);
    this._scroll.resize(this._count * this._high);
    for (const row of this._rows.values()) row.stale = true;
    this._draw();
  }

  _later() {
    this._waiting ??= requestAnimationFrame(() => ((this._waiting = null), this._draw()));
  }

  _draw() {
    const { top, view } = this._scroll;
    const first = Math.max(0, Math.floor((top - view * AHEAD) / this._high));
    const last = Math.min(this._count, Math.ceil((top + view * (1 + AHEAD)) / this._high));
    for (const [row, element] of this._rows) if (row < first || row >= last) this._drop(row, element);
    for (let row = first; row < last; row += 1) this._place(row);
    clearTimeout(this._wanting);
    const want = () => this._pages.want(first * this._across, last * this._across);
    this._wanting = setTimeout(want, 40);
    this._rove();
  }

  /** A row that is far away goes, but for the one that the keyboard is in. */
  _drop(row, element) {
    if (row < this._count && element.contains(document.activeElement)) return this._place(row);
    element.remove();
    this._rows.delete(row);
  }

  _place(row) {
    let element = this._rows.get(row);
    const waits = element?.missing && this._pages.at(row * this._across);
    if (!element || element.stale || waits) element = this._filled(row, element);
    element.style.transform = `translateY(${this._scroll.drawn(row * this._high)}px)`;
  }

  _filled(row, old) {
    const element = old ?? make("div", { role: "row", class: "row" });
    const places = [...Array(Math.min(this._across, this._pages.length - row * this._across)).keys()];
    const had = element.contains(document.activeElement);
    const cells = places.map((at) => this._cell(row * this._across + at, at, element));
    element.setAttribute("aria-rowindex", row + 1);
    element.missing = cells.some((cell) => !cell.hit);
    element.stale = false;
    for (const [at, cell] of cells.entries()) if (element.children[at] !== cell) element.insertBefore(cell, element.children[at] ?? null);
    while (element.children.length > cells.length) element.lastChild.remove();
    if (!old) this._insert(row, element);
    if (had && !element.contains(document.activeElement)) element.querySelector(`[data-place="${this.here}"]`)?.focus({ preventScroll: true });
    return element;
  }

  _insert(row, element) {
    this._rows.set(row, element);
    const after = [...this._body.children].find((other) => Number(other.getAttribute("aria-rowindex")) > row + 1);
    this._body.insertBefore(element, after ?? null);
  }

  _cell(place, column, row) {
    const hit = this._pages.at(place);
    let cell = row.children[column];
    if (!cell || cell.hit !== hit || cell.side !== this._side || cell.place !== place) {
      cell = cellFor(hit, place, this._side, this._does);
      cell.setAttribute("aria-colindex", column + 1);
    }
    if (hit) choose(cell, this._picked(hit));
    return cell;
  }

  /** One cell alone is in the order of tabs. */
  _rove() {
    const there = this._at(this.here) ?? this._body.querySelector("[role=gridcell]");
    for (const cell of this._body.querySelectorAll("[role=gridcell]")) cell.tabIndex = cell === there ? 0 : -1;
  }

  _at(place) {
    return this._body.querySelector(`[data-place="${place}"]`);
  }

  _noted(event) {
    const cell = event.target.closest("[role=gridcell]");
    if (cell && cell.place !== this.here) (this.here = cell.place), this._rove();
  }

  _key(event) {
    if (event.altKey || event.metaKey || event.target.closest("input[type=text]")) return;
    const screen = Math.max(1, Math.floor(this._scroll.view / this._high)) * this._across;
    const column = this.here % this._across;
    const to = {
      ArrowRight: this.here + 1, ArrowLeft: this.here - 1, ArrowDown: this.here + this._across, ArrowUp: this.here - this._across,
      PageDown: this.here + screen, PageUp: this.here - screen,
      Home: event.ctrlKey ? 0 : this.here - column, End: event.ctrlKey ? this._pages.length - 1 : this.here - column + this._across - 1,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this._go(to);
  }

  _go(to) {
    if (!this._pages?.length || !this._across) return;
    this.here = Math.max(0, Math.min(to, this._pages.length - 1));
    const top = Math.floor(this.here / this._across) * this._high;
    if (top < this._scroll.top) this._scroll.to(top);
    else if (top + this._high > this._scroll.top + this._scroll.view) this._scroll.to(top + this._high - this._scroll.view);
    this._draw();
    this._at(this.here)?.focus({ preventScroll: true });
  }
}
