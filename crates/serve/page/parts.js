// What every screen is made of: elements, numbers, chips, rows of items.
import * as trail from "./history.js";
import { href, to } from "./route.js";

// What the service can do, as `/v1/info` told it.
export const service = { can: {}, items: 0, levels: 0, codebook_sizes: [] };

// An element: attributes, `on…` listeners, children. A child that is null or false is left out.
export function el(tag, given, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(given ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}
export function link(place, given, ...children) {
  return el("a", { ...given, href: href(place), "data-to": place }, ...children);
}
export const whole = (n) => n.toLocaleString("en");
export const count = (n, what) => `${whole(n)} ${what}${n === 1 ? "" : "s"}`;
export function percent(share) {
  const x = 100 * share;
  if (x > 0 && x < 0.01) return "< 0.01\u00a0%";
  return `${x < 1 ? Number(x.toPrecision(2)) : x.toFixed(x < 99.95 ? 1 : 0)}\u00a0%`;
}
// Figures at the end of a row, which a screen reader is told the meaning of.
export const chance = (item) => el("span", null, el("span", { class: "unseen" }, "probability "), percent(item.probability));
export const distance = (item) => (item.distance === undefined ? null
  : el("span", null, el("span", { class: "unseen" }, "distance "), item.distance.toFixed(3)));
export const nameOf = (item) => item.title || item.key;
export const prefixOf = (codes) => codes.join("-");
export const counterOf = (item) => (item.counter ? item.counter : 0);
export const plain = (item) => prefixOf(item.codes) + (counterOf(item) ? `-${item.counter}` : "");

const status = document.getElementById("status");
let later = 0;
// Tells a screen reader; what comes soon after replaces it.
export function say(text, after = 0) {
  clearTimeout(later);
  later = setTimeout(() => { status.textContent = text; }, after);
}

// What is compared: without case, accents and other ways to write the same letters.
export function fold(text) {
  text = text.toLowerCase();
  if (/[^\x00-\x7f]/.test(text)) {
    text = text.normalize("NFKD").replace(/[\u0300-\u036f]/g, "").toLowerCase().replace(/\u03c2/g, "\u03c3");
  }
  return text;
}
// The words of what was typed, as the service parts them; the last may be the beginning of one.
export function wordsOf(text) {
  const words = fold(text).split(/[^\p{L}\p{N}]+/u).filter(Boolean);
  return words.map((word, i) => ({ word, open: i === words.length - 1 && /[\p{L}\p{N}]$/u.test(text) }));
}
// Text in which the words that were looked for are marked.
export function marked(node, text, words) {
  if (!words?.length) { node.textContent = text; return node; }
  const characters = Array.from(text), place = [];
  let folded = "";
  characters.forEach((character, i) => {
    const f = fold(character);
    for (let k = 0; k < f.length; k++) place.push(i);
    folded += f;
  });
  const on = new Uint8Array(characters.length);
  for (const found of folded.matchAll(/[\p{L}\p{N}]+/gu)) {
    for (const { word, open } of words) {
      if (found[0] !== word && !(open && found[0].startsWith(word))) continue;
      for (let k = 0; k < word.length; k++) on[place[found.index + k]] = 1;
    }
  }
  for (let i = 0, j = 0; i < characters.length; i = j) {
    while (j < characters.length && on[j] === on[i]) j++;
    const part = characters.slice(i, j).join("");
    node.append(on[i] ? el("mark", null, part) : part);
  }
  return node;
}

// Codes as chips, each a link to its prefix; the first `shared` are filled. In lists they are out of the order of tabs, as a row would
// take five steps: the item's own page has the same links.
export function chips(codes, { shared = 0, counter = 0, tabs = false, from = 0 } = {}) {
  const all = codes.map((code, level) => link(to.prefix(codes.slice(0, level + 1)), {
    class: level < shared ? "chip on" : "chip",
    tabindex: tabs ? null : "-1",
    "aria-label": `Prefix ${prefixOf(codes.slice(0, level + 1))}${level < shared ? ", shared" : ""}`,
  }, String(code)));
  if (counter) all.push(el("span", { class: "chip nth", title: "Tells items on the same codes apart" }, String(counter)));
  return el("span", { class: "id" }, all.slice(from));
}

// The button that puts an item into the history or takes it out; null where nothing recommends.
export function adder(item, wide = false) {
  if (!service.can.recommend) return null;
  const button = el("button", {
    type: "button", class: wide ? "add wide" : "add", "data-key": item.key,
    onclick: () => trail.toggle(item.key),
  });
  pressed(button);
  return button;
}
function pressed(button) {
  const on = trail.has(button.dataset.key), item = trail.known(button.dataset.key);
  button.setAttribute("aria-pressed", String(on));
  if (button.classList.contains("wide")) button.textContent = on ? "✓ In the history" : "+ Add to the history";
  else {
    button.textContent = on ? "✓" : "+";
    button.setAttribute("aria-label", `In the history: ${item ? nameOf(item) : button.dataset.key}`);
    button.title = on ? "Take it out of the history" : "Add to the history";
  }
}
export function refreshAdders() {
  document.querySelectorAll("button.add").forEach(pressed);
}

// A row: chips, title, key, what `more` adds, and the button for the history.
export function itemRow(item, { shared, words, more, figure } = {}) {
  const title = item.title, about = el("div", { class: "about" });
  about.append(marked(link(to.item(item.key), { class: "name", dir: "auto" }), title || item.key, words));
  if (title) about.append(" ", marked(el("bdi", { class: "key" }), item.key, words));
  if (more) about.append(more);
  return el("li", { class: "item" },
    chips(item.codes, { shared: shared ?? item.shared ?? 0, counter: counterOf(item) }), about,
    figure && el("span", { class: "figure" }, figure), adder(item));
}
export function itemList(items, options = {}) {
  trail.remember(items);
  return el("ul", { class: "items", role: "list" }, items.map((item) =>
    itemRow(item, typeof options === "function" ? options(item) : options)));
}

// What went wrong, as the service words it.
export function wrong(error, again) {
  const box = el("div", { class: "notes wrong" },
    el("p", null, el("b", null, sentence(error.message))),
    error.hint && el("p", null, sentence(error.hint)),
    el("p", { class: "row" },
      again && el("button", { type: "button", onclick: again }, "Try again"),
      error.code && el("code", { class: "soft" }, error.status ? `${error.status} ${error.code}` : error.code)));
  return box;
}
// The service begins its messages with a small letter and ends them without a full stop.
export function sentence(text) {
  const first = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.?!…]$/.test(first) ? first : `${first}.`;
}
export function heading(title, given) {
  return el("h1", { tabindex: "-1", ...given }, title);
}
// How much of all, as a bar of this share.
export function bar(share) {
  const node = el("i", { class: "bar", "aria-hidden": "true" });
  node.style.width = `${(100 * share).toFixed(2)}%`;
  return node;
}
// The codes that may follow a prefix, the most frequent first, each as `place` has it.
export function followers(found, most, place) {
  const sorted = [...found.children].sort((a, b) => b.items - a.items || a.code - b.code).slice(0, most);
  return el("p", { class: "next" }, `${count(found.children.length, "code")} may follow${found.children.length > most ? ", most often" : ""}: `,
    sorted.map((child) => [link(place(child), { class: "pill", "aria-label": `${child.prefix}, ${count(child.items, "item")}` },
      el("b", null, String(child.code)), " ", el("small", null, whole(child.items))), " "]));
}
