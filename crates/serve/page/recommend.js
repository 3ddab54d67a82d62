// What comes next after the history, or answers a wish.
import { call, path } from "./server.js";
import { chance, count, el, heading, itemList, link, nameOf, percent, plain, say, service, wrong } from "./parts.js";
import * as trail from "./history.js";
import { go, to } from "./route.js";

const FEW = 10, MANY = 50;

// Which items of the history share the longest beginning of their IDs with a recommended one.
function why(item) {
  if (!item.why?.length) return null;
  const lengths = [...new Set(item.why.map((reason) => reason.shared))].sort((a, b) => b - a);
  const and = (parts) => parts.map((part, i) => [i > 0 && (i === parts.length - 1 ? " and " : ", "), part]);
  return el("p", { class: "why" }, "shares ", lengths.map((shared, i) => [i > 0 && "; ",
    el("code", null, item.codes.slice(0, shared).join("-")), " with ",
    and(item.why.filter((reason) => reason.shared === shared).map((reason) => link(to.item(reason.key), { dir: "auto" }, reason.title || reason.key)))]));
}
function figure(item, most) {
  const track = el("i", { class: "track", "aria-hidden": "true" }), fill = el("i");
  fill.style.width = `${Math.max(1, (100 * item.probability) / most)}%`;
  track.append(fill);
  return [track, chance(item)];
}

// Items to start with, where there is no history yet: one of each of the largest groups.
async function starters(signal) {
  const root = await call(path.prefix("", 1), { signal });
  const examples = [...root.children].sort((a, b) => b.items - a.items).map((child) => child.example).filter(Boolean);
  return examples.slice(0, 8);
}

export async function recommendView({ params }, signal) {
  let wish = service.can.recommend_text ? params.wish ?? "" : "", seen = false, limit = FEW, asked = null;
  const results = el("section", { class: "results" });

  // Shows the answer to what is asked for now; an earlier question is dropped.
  async function draw() {
    asked?.abort();
    const mine = (asked = new AbortController());
    const history = trail.list();
    results.setAttribute("aria-busy", "true");
    const row = results.contains(document.activeElement)
      ? [...results.querySelectorAll(".item")].findIndex((item) => item.contains(document.activeElement)) : -1;
    let parts;
    try {
      if (!history.length && !wish.trim()) {
        const items = await starters(mine.signal);
        parts = [el("div", { class: "empty" }, el("p", null, service.can.recommend_text
          ? "Say what you wish for, or add items to the history with +: their order matters, the last counts most."
          : "Add items to the history with +: their order matters, the last counts most.")),
        el("h2", null, "Start with one of these"), itemList(items)];
      } else {
        const body = { history, count: limit, include_seen: seen };
        if (wish.trim()) body.text = wish.trim();
        const { items, unread = [] } = await call("v1/recommend", { body, signal: mine.signal });
        const name = (key) => { const item = trail.known(key); return item ? nameOf(item) : key; };
        const most = Math.max(...items.map((item) => item.probability), 0);
        parts = items.length
          ? [el("h2", { class: "unseen" }, "Recommended"), itemList(items, (item) => ({
            shared: Math.max(0, ...(item.why ?? []).map((reason) => reason.shared)), more: why(item), figure: figure(item, most) }))]
          : [el("p", { class: "empty" }, "The recommender names no item for this.")];
        if (unread.length) parts.unshift(el("p", { class: "soft" }, `Not read, as they are newer than the recommender: ${unread.map(name).join(", ")}.`));
        if (items.length >= limit && limit < MANY) {
          parts.push(el("button", { type: "button", onclick: () => { limit = MANY; draw(); } }, "Show more"));
        }
        say(items.length ? `${count(items.length, "item")} recommended, first ${nameOf(items[0])}, ${plain(items[0])}, ${percent(items[0].probability)}.` : "Nothing recommended.", 900);
      }
    } catch (error) {
      if (mine.signal.aborted || signal.aborted) return;
      parts = [wrong(error, draw)];
      say(error.message);
    }
    if (mine.signal.aborted) return;
    results.replaceChildren(...parts);
    results.removeAttribute("aria-busy");
    // The row that was acted upon may be gone: what took its place is where one goes on.
    if (row >= 0) {
      const rows = results.querySelectorAll("button.add");
      (rows[Math.min(row, rows.length - 1)] ?? title).focus({ preventScroll: true });
    }
  }
  signal.addEventListener("abort", () => asked?.abort());

  const title = heading("What comes next");
  const page = el("div", { class: "next-up" }, title,
    el("p", { class: "lead" }, service.can.recommend_text ? "Recommended from the history in its order, from a wish in words, or from both." : "Recommended from the history, in its order.",
      " Filled codes are those that an item shares with one of the history."));
  const tools = el("div", { class: "tools" });
  if (service.can.recommend_text) {
    let timer = 0;
    const box = el("input", { id: "wish", type: "search", value: wish, placeholder: "something small to draw with", autocomplete: "off", enterkeyhint: "go" });
    const take = () => {
      if (box.value === wish) return;
      wish = box.value;
      limit = FEW;
      go(to.recommend(wish), { replace: true, quiet: true });
      draw();
    };
    box.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(take, 350); });
    box.addEventListener("change", take);
    tools.append(el("div", { class: "wish" }, el("label", { for: "wish" }, "A wish, in words"), box));
  }
  const again = el("input", { type: "checkbox", id: "seen" });
  again.addEventListener("change", () => { seen = again.checked; draw(); });
  tools.append(el("label", { class: "check", for: "seen" }, again, "Also what is in the history"));
  page.append(tools, results);
  await draw();
  return { title: "What comes next", node: page, changed: () => { limit = FEW; draw(); } };
}
