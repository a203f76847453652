// Which picture is open, which one comes before and after it, and what its buttons do to the search.

import { get } from "./api.js";
import { closeDetail, isOpen, listenDetail, openDetail } from "./detail.js";
import { field, literal, term } from "./state.js";

/** The open picture. change, more: as of the page; now(): its {search, pages, info}; back: called with the place that was open. */
export class Opened {
  constructor({ change, more, now, back }) {
    Object.assign(this, { _change: change, _more: more, _now: now, _back: back, _place: null });
    listenDetail(() => this._deeds());
  }

  /** Open a hit of a place. */
  open(hit, place) {
    this._place = place;
    this._change({ item: hit.id }, true, { opened: true });
  }

  /** Show what the search says is open. */
  show() {
    const { search, info } = this._now();
    if (!search.item) return;
    this._find();
    openDetail(search.item, this._hit(), search, info, this._deeds());
  }

  /** Close it, and put the keyboard where it was. */
  close() {
    if (!isOpen()) return;
    closeDetail();
    if (this._place !== null) this._back(this._place);
  }

  /** The hit that is open, or null: an address may name one that is not among the answers. */
  _hit() {
    const { search, pages } = this._now();
    const hit = this._place === null ? null : pages?.at(this._place);
    return hit?.id === search.item ? hit : null;
  }

  /** Its place, where it is among the first answers. */
  _find() {
    if (this._hit()) return;
    const { search, pages } = this._now();
    this._place = null;
    for (let at = 0; at < (pages?.length ?? 0) && pages.at(at); at += 1) {
      if (pages.at(at).id === search.item) return void (this._place = at);
    }
  }

  _deeds() {
    const { search } = this._now();
    const narrow = (name, value) => {
      const clause = `${field(name)} == ${literal(value)}`;
      this._change({ where: search.where.includes(clause) ? search.where : [...search.where, clause], item: "" });
    };
    return {
      index: search.index, close: () => this._shut(), step: this._hit() && !search.view ? (by) => this._step(by) : null, narrow,
      alike: () => this._about(1), unlike: () => this._about(-1),
      words: (text) => this._change({ terms: [term("words", text)], item: "" }),
    };
  }

  async _about(sign) {
    const { search } = this._now();
    const of = search.index ? `?index=${encodeURIComponent(search.index)}` : "";
    this._more(this._hit() ?? (await get(`/api/items/${encodeURIComponent(search.item)}${of}`)), sign);
  }

  _step(by) {
    const { pages } = this._now();
    const at = this._place + by;
    if (at < 0 || at >= pages.length) return;
    const hit = pages.at(at);
    if (!hit) return pages.want(at, at + 1);
    this._place = at;
    this._change({ item: hit.id }, false);
  }

  _shut() {
    if (history.state?.opened) history.back();
    else this._change({ item: "" }, false);
  }
}
