// The tree of prefixes: from all items down to those on one ID.
import { call, path } from "./server.js";
import { bar, chips, count, el, followers, heading, itemList, link, nameOf, say, service, whole } from "./parts.js";
import * as trail from "./history.js";
import { to } from "./route.js";

// MOST is what the service lists at once.
const FEW = 50, MORE = 200, MOST = 10_000;

// One line for each code that may follow: the code, how many items, one of them.
export function branches(found, most) {
  const sorted = [...found.children].sort((a, b) => b.items - a.items || a.code - b.code).slice(0, most);
  trail.remember(sorted.map((child) => child.example).filter(Boolean));
  const top = Math.max(...sorted.map((child) => child.items));
  return el("ul", { class: "branches", role: "list" }, sorted.map((child) => el("li", null,
    link(`/prefix/${child.prefix}`, { class: "branch" },
      el("span", { class: "code" }, String(child.code)),
      el("span", { class: "n" }, count(child.items, "item"), bar(child.items / top)),
      el("span", { class: "eg", dir: "auto" }, child.example ? nameOf(child.example) : "")))));
}

function crumbs(codes) {
  return el("nav", { class: "crumbs", "aria-label": "Prefix" }, el("ol", { role: "list" },
    el("li", null, link("/prefix/", { "aria-current": codes.length ? null : "page" }, "All items")),
    codes.map((code, level) => el("li", null, link(to.prefix(codes.slice(0, level + 1)), {
      class: "chip on", "aria-label": `Prefix ${codes.slice(0, level + 1).join("-")}`, "aria-current": level + 1 === codes.length ? "page" : null,
    }, String(code))))));
}

export async function treeView({ rest }, signal) {
  const found = await call(path.prefix(rest, FEW), { signal });
  const { codes, children, items_total: total } = found, written = codes.join("-");
  const page = el("div");
  const title = codes.length ? `${count(total, "item")} ${children.length ? "under" : "on"} ${written}` : "The tree of prefixes";
  page.append(crumbs(codes), heading(title));
  if (codes.length) {
    const next = children.length;
    page.append(el("p", { class: "lead" }, el("code", null, found.prefix), next > 1
      ? total > FEW && ` · ${whole(next)} of ${whole(service.codebook_sizes[codes.length] ?? next)} codes follow`
      : next === 1 ? " · one code follows" : total > 1 ? " · they share every code" : ""));
  } else {
    page.append(el("p", { class: "lead" }, `${count(total, "item")} begin with one of ${count(children.length, "code")}, the most frequent first. Each code below parts them more finely.`));
  }
  // Where all items are listed below, a line for each code would say the same twice.
  if (total > FEW && children.length) page.append(branches(found));
  else if (children.length > 1) page.append(followers(found, children.length, (child) => `/prefix/${child.prefix}`));
  if (codes.length) page.append(listed(found, rest));
  return { title: codes.length ? `${written} · Tree` : "Tree", node: page };
}

// The items under a prefix, with a button for more of them.
function listed(found, prefix) {
  const total = found.items_total, box = el("section", null);
  const draw = (items) => {
    box.replaceChildren(...[
      el("h2", null, items.length < total ? `The first ${whole(items.length)} items` : found.children.length ? "All of them" : "Items"),
      itemList(items, { shared: found.codes.length }), more(items.length)].filter(Boolean));
  };
  const more = (have) => {
    if (have >= total) return null;
    if (have + MORE > MOST) return el("p", { class: "soft" }, "The codes above lead to shorter lists.");
    const button = el("button", { type: "button" }, `Show ${whole(Math.min(MORE, total - have))} more of ${whole(total)}`);
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        const next = await call(path.prefix(prefix, have + MORE));
        // A service may list no more than it has said it would.
        if (next.items.length <= have) { button.remove(); return; }
        draw(next.items);
        box.querySelectorAll(".name")[have]?.focus();
        say(`${next.items.length} items.`);
      } catch (error) {
        button.disabled = false;
        button.after(el("p", { class: "wrong", role: "alert" }, error.message));
      }
    });
    return button;
  };
  draw(found.items);
  return box;
}

// The first screen: what is here, an example, the largest prefixes.
export async function homeView(_, signal) {
  const page = el("div", { class: "home" });
  const sizes = service.codebook_sizes, same = new Set(sizes).size === 1;
  if (!service.items) {
    page.append(heading("No items are served here"), el("p", { class: "lead" }, "The service has a codec and gives IDs under /v1/encode. Start it with a run’s folder to see items here."));
    return { title: "", node: page };
  }
  const [root, example] = await Promise.all([call(path.prefix("", 1), { signal }), exampleItem(signal)]);
  page.append(heading(`${count(service.items, "item")}, named by what they mean`),
    el("p", { class: "lead" }, `Each has an ID of ${count(service.levels, "code")}, coarse to fine, ${same ? `each one of ${whole(sizes[0])}` : `out of ${sizes.map(whole).join(" × ")}`}. The longer the beginning that two IDs share, the more alike are the items.`));
  if (example) {
    page.append(el("section", { class: "example" }, el("h2", null, "For example"),
      el("p", null, link(to.item(example.key), { class: "name", dir: "auto" }, nameOf(example)), " ", example.title && el("bdi", { class: "key" }, example.key)),
      funnel(example)));
  }
  page.append(el("section", null, el("h2", null, "The largest groups"), branches(root, 12),
    root.children.length > 12 && el("p", null, link("/prefix/", { class: "button" }, `All ${whole(root.children.length)} first codes`))));
  return { title: "", node: page };
}

async function exampleItem(signal) {
  if (!service.example_id) return null;
  try {
    const { items } = await call(path.id(service.example_id), { signal });
    return items.length ? await call(path.item(items[0].key, 0), { signal }) : null;
  } catch (error) {
    if (signal.aborted) throw error;
    return null;
  }
}

// An item's place: how many items share each longer beginning of its ID. The bars are logarithms, as prefixes shrink by tens.
export function funnel(item) {
  const steps = [{ codes: [], items: service.items }, ...item.path.slice(0, item.codes.length).map((step, level) => ({
    codes: item.codes.slice(0, level + 1), items: step.items, token: step.token }))];
  return el("ol", { class: "funnel", role: "list" }, steps.map((step, level) => el("li", null,
    level ? chips(step.codes, { shared: level, tabs: true, from: level - 1 }) : link("/prefix/", { class: "chip on all" }, "All"),
    el("code", { class: "token" }, step.token ?? ""),
    el("span", { class: "n" }, level && step.items === 1 ? "this item alone" : count(step.items, "item"), bar(Math.log1p(step.items) / Math.log1p(service.items))))));
}
