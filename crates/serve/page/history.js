// The history that a reader builds: keys of items in their order. It lives in the page's address, so that a page can be shared.

let keys = [];
let before = null;
const watchers = [];
// Items that were seen, by key: a history names keys, readers want titles.
const seen = new Map();

export const list = () => keys;
export const has = (key) => keys.includes(key);
export const known = (key) => seen.get(key);
export const watch = (watcher) => { watchers.push(watcher); };

export function remember(items) {
  for (const item of items) seen.set(item.key, item);
}

// Of a key that no item has, null is known.
export function lose(key) { seen.set(key, null); }

export function adopt(given) {
  keys = [...new Set(given)];
}

function change(to, said) {
  keys = to;
  for (const watcher of watchers) watcher(said);
}
const label = (key) => seen.get(key)?.title || key;
const told = () => (keys.length === 1 ? "1 item in the history." : `${keys.length} items in the history.`);

export function add(key) {
  before = null;
  if (!has(key)) { keys = [...keys, key]; change(keys, `Added ${label(key)}. ${told()}`); }
}
export function remove(key) {
  before = null;
  keys = keys.filter((other) => other !== key);
  change(keys, `Removed ${label(key)}. ${told()}`);
}
export function toggle(key) {
  if (has(key)) remove(key); else add(key);
}
// Moves an item one place towards the front (-1) or the end (1).
export function move(key, by) {
  const from = keys.indexOf(key), to = from + by;
  if (from < 0 || to < 0 || to >= keys.length) return;
  const next = [...keys];
  next[from] = next[to];
  next[to] = key;
  change(next, `${label(key)} is now number ${to + 1} of ${next.length}.`);
}
export function clear() {
  before = keys;
  change([], "The history is empty.");
}
export const canRestore = () => before !== null && keys.length === 0;
export function restore() {
  const to = before;
  before = null;
  change(to, told());
}
