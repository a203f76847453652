// The answers of a search, page by page: those on the screen are fetched, a few screens are remembered.

import { get, superseded } from "./api.js";
import { request } from "./state.js";

export const PAGE = 60;
const REMEMBERED = 40;
const AT_ONCE = 3;

/** The answers. changed: called when a page has come. failed: called with an error. */
export class Pages {
  constructor(search, first, { changed, failed }) {
    this.search = search;
    this.total = first.total;
    this.end = Math.min(first.total, first.deepest ?? Infinity); // the server pages through no more
    this._changed = changed;
    this._failed = failed;
    this._held = new Map(); // page -> hits, the least recently used first
    this._counts = new Map(); // page -> hits, where folding left fewer than a page has
    this._asked = new Map(); // page -> its AbortController
    this._keep(0, first);
  }

  /** Places there are, as far as is known: folding is found page by page. */
  get length() {
    let length = this.end;
    for (const [page, count] of this._counts) length -= Math.min(PAGE, this.end - page * PAGE) - count;
    return Math.max(0, length);
  }

  /** The hit at a place, or undefined while it is not here. */
  at(place) {
    const [page, within] = this._where(place);
    const hits = this._held.get(page);
    if (!hits) return undefined;
    this._held.delete(page);
    this._held.set(page, hits);
    return hits[within];
  }

  /** Fetch what is missing of the places from..to, and nothing else any more. */
  want(from, to) {
    const [first] = this._where(from);
    const [last] = this._where(Math.max(from, to - 1));
    for (const [page, aborting] of this._asked) if (page < first || page > last) aborting.abort();
    for (let page = first; page <= last && page * PAGE < this.end; page += 1) {
      if (!this._held.has(page) && !this._asked.has(page) && this._asked.size < AT_ONCE) this._fetch(page);
    }
  }

  /** Wait for nothing any more. */
  stop() {
    for (const aborting of this._asked.values()) aborting.abort();
    this._changed = this._failed = () => {};
  }

  _where(place) {
    if (!this._counts.size) return [Math.floor(place / PAGE), place % PAGE];
    let page = 0;
    let start = 0;
    for (; (page + 1) * PAGE < this.end; page += 1) {
      const count = this._counts.get(page) ?? PAGE;
      if (place < start + count) break;
      start += count;
    }
    return [page, place - start];
  }

  async _fetch(page) {
    const aborting = new AbortController();
    this._asked.set(page, aborting);
    try {
      const offset = page * PAGE;
      const k = Math.min(PAGE, this.end - offset); // the server refuses what is deeper
      const answer = await get(`/api/search?${request(this.search, { k, offset })}`, aborting.signal);
      this._keep(page, answer);
    } catch (error) {
      if (!superseded(error)) {
        this._held.set(page, []); // it is not asked for again at once
        this._counts.set(page, 0);
        this._failed(error);
      }
    } finally {
      if (this._asked.get(page) === aborting) this._asked.delete(page);
    }
    if (!aborting.signal.aborted) this._changed();
  }

  _keep(page, answer) {
    this._held.set(page, answer.hits);
    if (answer.next === null) this.end = Math.min(this.end, (page + 1) * PAGE);
    const whole = Math.min(PAGE, this.end - page * PAGE);
    if (answer.hits.length < whole) this._counts.set(page, answer.hits.length);
    while (this._held.size > REMEMBERED) this._held.delete(this._held.keys().next().value);
  }
}
