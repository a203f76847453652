// A scrollbar for more rows than a browser has pixels for: small moves are true, large ones are in proportion.

const HIGHEST = 8_000_000; // pixels; browsers end at about 16 million
const SETTLED = 200; // ms without a move, after which the bar is put where it should be

/** Where the rows stand. box scrolls, inside it stands sheet; moved: called when the top has changed. */
export class Scroll {
  constructor(box, sheet, moved) {
    this.top = 0; // of all rows, in true pixels
    this.whole = 0;
    this._box = box;
    this._sheet = sheet;
    this._moved = moved;
    this._last = 0;
    box.addEventListener("scroll", () => this._scrolled(), { passive: true });
  }

  /** What is to be seen, in pixels. */
  get view() {
    return this._box.clientHeight;
  }

  /** Where a true height is drawn now. */
  drawn(height) {
    return this.scaled ? height - this.top + this._last : height;
  }

  get scaled() {
    return this.whole > HIGHEST;
  }

  /** So high are all rows. */
  resize(whole) {
    if (whole === this.whole) return;
    this.whole = whole;
    this._sheet.style.height = `${Math.min(whole, HIGHEST)}px`;
    if (this.scaled || this.top > whole - this.view) this.to(this.top);
  }

  /** Put a height at the top. */
  to(top) {
    this.top = Math.max(0, Math.min(top, this.whole - this.view));
    this._box.scrollTop = this._last = this.scaled ? Math.round(this.top / this._ratio()) : this.top;
    this._last = this._box.scrollTop;
    if (!this.scaled) this.top = this._last;
  }

  _ratio() {
    return Math.max(1, (this.whole - this.view) / (Math.min(this.whole, HIGHEST) - this.view));
  }

  _scrolled() {
    const now = this._box.scrollTop;
    const by = now - this._last;
    if (!by) return;
    this._last = now;
    if (!this.scaled) this.top = now;
    else this._scaledMove(now, by);
    this._moved();
  }

  _scaledMove(now, by) {
    const atEnd = now <= 0 || now >= this._box.scrollHeight - this.view - 1;
    const small = Math.abs(by) < this.view * 1.5 && !atEnd;
    this.top = Math.max(0, Math.min(small ? this.top + by : now * this._ratio(), this.whole - this.view));
    clearTimeout(this._settling);
    this._settling = setTimeout(() => (this.to(this.top), this._moved()), SETTLED);
  }
}
