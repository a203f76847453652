// A search, its address and what the server is asked. The address holds the whole of it, so that it can be sent.

const WEIGHT = /^-?(\d+\.?\d*|\.\d+):(.+)$/s;
const NAMED = /^(text|id|picture|file|http|https|query|caption):/i;
const SURE = "0.9"; // the confidence of what fits
const VARIED = "0.5";

/** A search for everything. terms: {sign, weight, kind: words | id | picture, text}; where: conditions that all hold; like, unlike: uris of what was judged. */
export function blank() {
  return { terms: [], where: [], like: [], unlike: [], inside: "", sort: "relevance", fold: true, fit: false, diverse: false, index: "", item: "", view: "" };
}

/** A term. */
export const term = (kind, text, sign = 1, weight = 1) => ({ sign, weight, kind, text });

/** The terms of arguments as `mmr search` has them: words between operators are one term. */
export function parsed(words) {
  const terms = [];
  let sign = 1;
  let collected = [];
  const end = () => {
    if (collected.join(" ").trim()) terms.push(named(collected.join(" ").trim(), sign));
    collected = [];
  };
  for (const word of words) {
    if (word === "+" || word === "-") (end(), (sign = word === "+" ? 1 : -1));
    else collected.push(word);
  }
  end();
  return terms;
}

function named(text, sign) {
  const weighed = WEIGHT.exec(text);
  const weight = weighed ? Number(weighed[1]) : 1;
  const rest = weighed ? weighed[2] : text;
  const kind = /^(id|picture|text):/.exec(rest)?.[1];
  if (!kind) return term("words", rest, sign, weight);
  return term(kind === "text" ? "words" : kind, rest.slice(kind.length + 1), sign, weight);
}

/** The terms of what was typed: signs that stand alone part them. All else is words, whatever it looks like. */
export function typed(text) {
  const terms = [];
  let sign = 1;
  for (const part of text.split(/(?:^|\s+)([+-])(?=\s|$)/)) {
    if (part === "+" || part === "-") sign = part === "+" ? 1 : -1;
    else if (part.trim()) terms.push(term("words", part.trim(), sign));
  }
  return terms;
}

/** A term is plain if the search field can hold it as it is. */
export const plain = (one) => one && one.kind === "words" && one.sign > 0 && one.weight === 1 && typed(one.text).length === 1;

/** The arguments of terms again. */
export function args(terms) {
  return terms.flatMap((one, at) => [...(at || one.sign < 0 ? [one.sign < 0 ? "-" : "+"] : []), worded(one)]);
}

function worded(one) {
  const weight = one.weight === 1 ? "" : `${one.weight}:`;
  if (one.kind !== "words") return `${weight}${one.kind}:${one.text}`;
  const special = NAMED.test(one.text) || WEIGHT.test(one.text) || /^[+-]$/.test(one.text);
  return weight + (special ? "text:" : "") + one.text;
}

/** The search that an address holds. */
export function fromAddress(query) {
  const given = new URLSearchParams(query);
  const sort = given.get("sort");
  return {
    terms: parsed(given.getAll("q")), where: given.getAll("where").filter(Boolean),
    like: given.getAll("like").filter(Boolean), unlike: given.getAll("unlike").filter(Boolean), inside: given.get("in") || "",
    sort: ["date", "-date"].includes(sort) ? sort : "relevance", fold: given.get("fold") !== "0",
    fit: given.has("fit"), diverse: given.has("varied"), index: given.get("index") || "", item: given.get("item") || "",
    view: given.get("view") || "",
  };
}

/** The address of a search. */
export function address(search) {
  const query = new URLSearchParams();
  for (const word of args(search.terms)) query.append("q", word);
  for (const clause of search.where) query.append("where", clause);
  for (const judged of ["like", "unlike"]) for (const uri of search[judged]) query.append(judged, uri);
  const rest = {
    in: search.inside, sort: search.sort === "relevance" ? "" : search.sort, fold: search.fold ? "" : "0",
    fit: search.fit ? "1" : "", varied: search.diverse ? "1" : "", index: search.index, item: search.item, view: search.view,
  };
  for (const [name, value] of Object.entries(rest)) if (value) query.set(name, value);
  const text = query.toString();
  return text ? `?${text}` : location.pathname;
}

/** What the server is asked: conditions are one. more: further parameters. */
export function request(search, more = {}) {
  const query = new URLSearchParams();
  for (const word of args(search.terms)) query.append("q", word);
  if (search.terms.length || search.like.length) for (const judged of ["like", "unlike"]) for (const uri of search[judged]) query.append(judged, `id:${uri}`);
  for (const [name, value] of Object.entries({ ...narrowed(search), ...shaped(search), ...more })) {
    if (value !== "" && value !== null && value !== undefined) query.set(name, value);
  }
  return query.toString();
}

/** The part of it that says which items may answer at all. */
export function narrowed(search) {
  const where = search.where.length > 1 ? search.where.map((clause) => `(${clause})`).join(" and ") : search.where[0] || "";
  return { where, in: search.inside, index: search.index };
}

function shaped(search) {
  return {
    sort: search.sort === "relevance" ? "" : search.sort, fold: search.fold ? "1" : "",
    min_confidence: search.fit ? SURE : "", diverse: search.diverse ? VARIED : "",
  };
}

/** The judgements of a search with one more, or another one, of an item. */
export function judged(search, uri, liked) {
  const [like, unlike] = [search.like, search.unlike].map((uris) => uris.filter((one) => one !== uri));
  return liked ? { like: [...like, uri], unlike } : { like, unlike: [...unlike, uri] };
}

/** Do two searches have the same answers? */
export const same = (one, other) => request(one) === request(other);

/** A field's name, and a value, as conditions write them. */
export const field = (name) => (/^[A-Za-z_]\w*$/.test(name) ? name : `\`${name.replaceAll("`", "")}\``);
export function literal(value) {
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  return `'${String(value).replaceAll("'", "''")}'`;
}
