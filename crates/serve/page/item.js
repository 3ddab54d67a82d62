// One item: its ID, its place in the tree, its neighbours.
import { call, path } from "./server.js";
import { adder, chips, count, counterOf, distance, el, heading, itemList, nameOf, plain, say, service } from "./parts.js";
import * as trail from "./history.js";
import { funnel } from "./tree.js";

const NEAR = 20;

function copier(text) {
  // Only pages of this machine and of https may write to the clipboard.
  if (!navigator.clipboard) return null;
  const button = el("button", { type: "button", class: "quiet" }, "Copy");
  button.setAttribute("aria-label", "Copy the ID");
  button.addEventListener("click", async () => {
    try { await navigator.clipboard.writeText(text); } catch { say("The browser does not allow to copy."); return; }
    button.textContent = "Copied";
    say("Copied.");
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  return button;
}

// Neighbours in groups by the length of the beginning that they share, the longest first.
function neighbours(item) {
  const box = el("section", null, el("h2", null, "Neighbours by prefix"));
  const levels = item.codes.length, near = item.neighbours ?? [];
  if (!near.length) {
    box.append(el("p", { class: "soft" }, "No other item shares its first code."));
    return box;
  }
  for (let shared = levels; shared > 0; shared--) {
    const group = near.filter((other) => other.shared === shared);
    if (!group.length) continue;
    const all = item.path[shared - 1].items - (item.path[shared]?.items ?? 1);
    box.append(el("h3", null, `${count(all, "other item")} ${shared === levels ? "on the same codes" : all === 1 ? "shares" : "share"} `,
      chips(item.codes.slice(0, shared), { shared, tabs: true }), all > group.length ? el("span", { class: "soft" }, ` the first ${group.length}`) : null));
    box.append(itemList(group, { shared }));
  }
  return box;
}

// The items whose vectors are nearest, where vectors are kept; an item's page stands without them.
async function nearest(key, signal) {
  if (!service.can.search_vector) return null;
  try {
    const found = await call("v1/search", { body: { like: key, limit: 10 }, signal });
    return found.by === "distance" ? found.items.filter((other) => other.key !== key) : null;
  } catch (error) {
    if (signal.aborted) throw error;
    return null;
  }
}
function alike(items) {
  if (!items.length) return null;
  return el("section", null, el("h2", null, "Nearest by distance"),
    el("p", { class: "soft" }, "By the vectors themselves. Codes that are shared are filled."),
    itemList(items, (other) => ({ figure: distance(other) })));
}

export async function itemView({ rest: key }, signal) {
  const [item, found] = await Promise.all([call(path.item(key, NEAR), { signal }), nearest(key, signal)]);
  trail.remember([item]);
  const title = nameOf(item);
  const page = el("article", { class: "one" },
    item.title && el("p", { class: "eyebrow" }, el("bdi", null, item.key)),
    heading(title, { dir: "auto" }),
    el("div", { class: "row idline" }, el("span", { class: "large" }, chips(item.codes, { counter: counterOf(item), tabs: true })),
      el("code", { class: "soft" }, item.id), copier(item.id ?? plain(item))),
    item.text && item.text !== title && el("p", { class: "text", dir: "auto" }, item.text),
    el("p", null, adder(item, true)),
    el("section", null, el("h2", null, "Place in the tree"), funnel(item)),
    neighbours(item), found && alike(found));
  return { title, node: page };
}
