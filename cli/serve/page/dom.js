// Making elements. Texts are always text: nothing here reads HTML, as names and captions are other people's.

const SVG = "http://www.w3.org/2000/svg";

/** The element of the page that has an id. */
export const byId = (id) => document.getElementById(id);

/** An element with attributes (on...: a listener; a property where it is true or false) and children. */
export function make(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same in SVG. */
export function draw(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (typeof value === "boolean" && name in element) element[name] = value;
    else if (value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** A drawing of the sprite. */
export function icon(name) {
  return draw("svg", { class: "drawing", "aria-hidden": "true" }, draw("use", { href: `/page/icons.svg#${name}` }));
}

/** A button with words. */
export function button(text, onclick, attributes = {}) {
  return make("button", { type: "button", onclick, ...attributes }, text);
}

/** A button that is a drawing; label: what it does, for those who do not see it. */
export function iconButton(name, label, onclick, attributes = {}) {
  return make("button", { type: "button", class: "icon", "aria-label": label, title: label, onclick, ...attributes }, icon(name));
}

/** A field's value as words. */
export function said(value) {
  if (Array.isArray(value)) return value.map(said).join(", ");
  if (typeof value === "number") return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(6)));
  if (value && typeof value === "object") return JSON.stringify(value);
  return String(value);
}

/** The last part of a path. */
export const nameOf = (uri) => uri.slice(uri.lastIndexOf("/") + 1) || uri;

/** A number with its thousands apart. */
export const grouped = (number) => number.toLocaleString("en");
