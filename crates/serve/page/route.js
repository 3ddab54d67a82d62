// Addresses: `#/item/3dchess?history=a,b`. The part before the question mark says what is shown; the history follows everywhere.
import * as trail from "./history.js";

const decode = (text) => { try { return decodeURIComponent(text); } catch { return text; } };

// What an address names: `name` (`item`), `rest` (what follows, decoded), `params` and `history` (keys).
export function parse(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const cut = path.indexOf("/");
  const params = {};
  let history = [];
  for (const pair of query.split("&")) {
    const at = pair.indexOf("=");
    if (at < 1) continue;
    const key = decode(pair.slice(0, at)), value = pair.slice(at + 1);
    if (key === "history") history = value.split(",").filter(Boolean).map(decode);
    else params[key] = decode(value);
  }
  return { name: cut < 0 ? path : path.slice(0, cut), rest: cut < 0 ? "" : decode(path.slice(cut + 1)), params, history };
}

export function href(to) {
  const keys = trail.list();
  if (!keys.length) return `#${to}`;
  return `#${to}${to.includes("?") ? "&" : "?"}history=${keys.map(encodeURIComponent).join(",")}`;
}

// Where things are, without the history.
export const to = {
  item: (key) => `/item/${encodeURIComponent(key)}`,
  prefix: (codes) => `/prefix/${codes.join("-")}`,
  search: (text, by) => `/search/${encodeURIComponent(text)}${by ? `?by=${by}` : ""}`,
  recommend: (wish) => `/recommend${wish ? `?wish=${encodeURIComponent(wish)}` : ""}`,
};

// The place shown now, without the history.
export function here() {
  const { name, rest, params } = parse(location.hash);
  const query = Object.entries(params).map((pair) => pair.map(encodeURIComponent).join("=")).join("&");
  return `/${name}${rest || name === "prefix" ? `/${encodeURIComponent(rest)}` : ""}${query ? `?${query}` : ""}`;
}

let shown = () => {};
export const onShow = (show) => { shown = show; };

// Goes to a place. `replace` keeps the number of steps back, `quiet` shows nothing anew.
export function go(place, { replace = false, quiet = false, cause = "link" } = {}) {
  if (replace || href(place) === location.hash) history.replaceState({ ...history.state, ours: true }, "", href(place));
  else history.pushState({ ours: true }, "", href(place));
  if (!quiet) shown(cause);
}

// Links carry the history, so that one opened in a new tab or copied has it.
export function refresh(root = document) {
  for (const link of root.querySelectorAll("a[data-to]")) link.href = href(link.dataset.to);
}
