// What the page says of itself: lines under the query, and the form for a token.

import { byId, make } from "./dom.js";

const lines = new Map();
let asking = null;

/** Say a line under a name, in place of its last one; "" takes it away. ms: how long it stays, for ever if not given. */
export function notice(name, text, ms = 0) {
  const old = lines.get(name);
  if ((old?.text || "") === text) return;
  clearTimeout(old?.timer);
  if (text) lines.set(name, { text, timer: ms ? setTimeout(() => notice(name, ""), ms) : 0 });
  else lines.delete(name);
  byId("notice").replaceChildren(...[...lines].map(([name, line]) => make("p", { "data-name": name }, line.text)));
}

/** Ask for the token in a dialog; many who ask at once wait for one answer. wrong: one was given before. */
export function askToken(message, wrong) {
  asking ??= new Promise((resolve) => {
    const field = make("input", { id: "token", type: "password", autocomplete: "off", required: true, "data-test": "token" });
    const form = make("form", { method: "dialog" },
      make("h2", { id: "ask-title" }, "A token is wanted"),
      make("p", {}, wrong ? "That token does not open this. Give the one that the server was started with." : message),
      make("label", { for: "token" }, "Token"), field,
      make("p", { class: "quiet" }, "It is kept in this tab alone, until it is closed."),
      make("p", { class: "buttons" }, make("button", { type: "submit", "data-test": "token-give" }, "Go on")));
    ask(form, field).then(() => ((asking = null), resolve(field.value.trim())));
  });
  return asking;
}

function ask(form, field) {
  const dialog = byId("ask");
  dialog.replaceChildren(form);
  dialog.oncancel = (event) => event.preventDefault();
  dialog.showModal();
  field.focus();
  return new Promise((resolve) => {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      dialog.close();
      resolve();
    });
  });
}
