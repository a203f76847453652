// Asking the server: one place for the token, for waiting when it is away, and for what an error says.

import { askToken, notice } from "./notice.js";

const KEY = "mmr-token";
const FIRST = 1000; // ms until a request is tried again
const LONGEST = 30000;

/** An answer that is an error. status: of HTTP; the message is the server's own line. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** The token that was given in this tab, or null. */
export const token = () => sessionStorage.getItem(KEY);

/** Is this the error of a request that nobody waits for any more? */
export const superseded = (error) => error.name === "AbortError";

/** JSON of an address. Waits and asks again while the server is away, until signal says no. */
export const get = (path, signal) => asked(path, { signal });

/** JSON of an answer to a body: a file or blob as it is, anything else as JSON. */
export function post(path, body, signal) {
  const raw = body instanceof Blob;
  const type = raw ? "application/octet-stream" : "application/json";
  return asked(path, { method: "POST", body: raw ? body : JSON.stringify(body), headers: { "Content-Type": type }, signal });
}

/** The bytes of an address, asked with JSON where a body is given. Raises Refused at once: they are not waited for. */
export async function blob(path, body) {
  const asking = body ? { method: "POST", body: JSON.stringify(body), headers: withToken({ "Content-Type": "application/json" }) } : { headers: withToken({}) };
  const answer = await fetch(path, asking);
  if (!answer.ok) throw await refused(answer);
  return answer.blob();
}

async function asked(path, options) {
  for (let wait = FIRST; ; wait = Math.min(wait * 2, LONGEST)) {
    const [answer, error] = await once(path, options);
    if (answer) return answer;
    if (error.status === 401) {
      sessionStorage.setItem(KEY, await askToken(Boolean(token())));
      wait = FIRST / 2;
      continue;
    }
    if (![0, 429, 503].includes(error.status)) throw error;
    const ms = error.after || wait;
    notice("server", `${error.message} Trying again in ${Math.ceil(ms / 1000)} s.`);
    await pause(ms, options.signal);
  }
}

async function once(path, options) {
  try {
    const answer = await fetch(path, { ...options, priority: "high", headers: withToken(options.headers) });
    if (!answer.ok) return [null, await refused(answer)];
    const json = await answer.json();
    notice("server", "");
    return [json, null];
  } catch (error) {
    if (superseded(error)) throw error;
    return [null, new Refused(0, "The server is away.")];
  }
}

function withToken(headers) {
  return token() ? { ...headers, Authorization: `Bearer ${token()}` } : { ...headers };
}

async function refused(answer) {
  const line = await answer.json().then((said) => said.error, () => "");
  const error = new Refused(answer.status, lead(answer.status) + (line || answer.statusText || `status ${answer.status}`));
  error.after = 1000 * Number(answer.headers.get("Retry-After") || 0);
  return error;
}

function lead(status) {
  if (status === 429) return "Too much is asked at once: ";
  if (status === 503) return "The index cannot be read now: ";
  return "";
}

function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => (clearTimeout(timer), reject(new DOMException("superseded", "AbortError")));
    const timer = setTimeout(() => (signal?.removeEventListener("abort", stop), resolve()), ms);
    if (signal?.aborted) stop();
    signal?.addEventListener("abort", stop, { once: true });
  });
}
