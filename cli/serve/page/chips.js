// The terms of the query as chips: signs, weights and words that can be changed, and conditions beside them.

import { button, byId, icon, iconButton, make, nameOf } from "./dom.js";
import { term } from "./state.js";
import { preview } from "./picture.js";

/** Draw the chips of terms, and the conditions of a search. search(): as it is now. change: called with what is other. crop: with a picture's term. */
export function drawChips(terms, search, change, crop) {
  const swap = (list, one, other) => list.flatMap((each) => (each === one ? (other ? [other] : []) : [each]));
  const now = search();
  const place = byId("terms");
  const add = (sign) => {
    place.insertBefore(chip(term("words", "", sign), (one) => one?.text && change({ terms: [...search().terms, one] }), crop), place.querySelector(".add"));
    [...place.querySelectorAll("[data-new] .text")].at(-1).focus();
  };
  const count = now.like.length + now.unlike.length;
  const any = terms.length || now.where.length || now.inside || count;
  place.replaceChildren(
    ...terms.map((one) => chip(one, (other) => change({ terms: swap(search().terms, one, other) }), crop)),
    ...now.where.map((clause) => condition(clause, (other) => change({ where: swap(search().where, clause, other) }))),
    ...(now.inside ? [condition(`in ${now.inside}`, () => change({ inside: "" }), true)] : []),
    ...(count ? [thumbed(now, () => change({ like: [], unlike: [] }))] : []),
    button("+ term", () => add(1), { class: "add", "data-test": "add-plus" }),
    button("\u2212 term", () => add(-1), { class: "add", "data-test": "add-minus" }),
    ...(any ? [button("Clear all", () => change({ terms: [], where: [], inside: "", like: [], unlike: [] }), { class: "add", "data-test": "clear" })] : []));
}

function chip(one, put, crop) {
  const less = one.sign < 0;
  const label = one.kind === "words" ? one.text : one.kind === "id" ? nameOf(one.text) : "picture";
  const sign = iconButton(less ? "minus" : "plus", less ? "Taken away: add instead" : "Added: take away instead", () => put({ ...one, sign: -one.sign }), { "data-test": "sign" });
  const fresh = one.kind === "words" && !one.text;
  const weight = make("input", { class: "weight", type: "number", min: 0.1, max: 99, step: 0.1, value: one.weight, "aria-label": `Weight of ${label || "the term"}`, onchange: (event) => put({ ...one, weight: Math.max(0.01, Number(event.target.value) || 1) }) });
  const element = make("div", { class: less ? "chip less" : "chip", role: "group", "aria-label": `${less ? "minus" : "plus"} ${label}`, "data-test": "chip" },
    sign, one.kind === "words" ? words(one, put) : shown(one, label, crop), ...(fresh ? [] : [weight]), iconButton("close", `Remove ${label || "the term"}`, () => (fresh ? element.remove() : put(null)), { "data-test": "remove" }));
  if (fresh) element.dataset.new = "";
  return element;
}

function words(one, put) {
  const field = make("input", { type: "text", class: "text", value: one.text, "aria-label": "Words of the term", maxlength: 1000 });
  const wide = () => (field.style.width = `${Math.min(40, Math.max(6, field.value.length + 1))}ch`);
  let said = false;
  const done = () => !said && field.value.trim() !== one.text && ((said = true), put(field.value.trim() ? { ...one, text: field.value.trim() } : null));
  field.addEventListener("input", wide);
  field.addEventListener("change", done);
  field.addEventListener("keydown", (event) => event.key === "Enter" && done());
  wide();
  return field;
}

function shown(one, label, crop) {
  if (one.kind !== "picture") return make("span", { class: "label", title: one.text }, `like ${label}`);
  const url = preview(one.text);
  const picture = url ? [make("img", { src: url, alt: "" })] : [];
  if (!url) return make("span", { class: "label", title: "It was sent from another page; choose it again to crop it" }, "a picture that was sent");
  return make("button", { type: "button", class: "label", title: "Crop it", onclick: () => crop(one), "data-test": "crop-open" }, ...picture, "picture: crop");
}

function condition(text, put, fixed = false) {
  const label = fixed ? make("span", { class: "label" }, text) : words({ text }, (one) => put(one?.text ?? null));
  if (!fixed) label.setAttribute("aria-label", "Condition on fields");
  return make("div", { class: "chip where", role: "group", "aria-label": `Filter: ${text}`, "data-test": "where" }, label, iconButton("close", `Remove the filter ${text}`, () => put(null)));
}

/** How many answers were thumbed up and down. */
function thumbed(now, forget) {
  const label = `${now.like.length} right, ${now.unlike.length} wrong`;
  return make("div", { class: "chip", role: "group", "aria-label": `Judged: ${label}`, "data-test": "judged" }, icon("up"), make("span", { class: "label", title: [...now.like, ...now.unlike.map((uri) => `not ${uri}`)].join("\n") }, label), iconButton("close", "Forget what was judged", forget, { "data-test": "forget" }));
}
