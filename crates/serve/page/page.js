// Starts the page, shows the screen that the address names, keeps the panel of the history.
import { call, path } from "./server.js";
import { el, link, nameOf, refreshAdders, say, service, wrong, heading } from "./parts.js";
import * as trail from "./history.js";
import { go, here, href, onShow, parse, refresh, to } from "./route.js";
import { box, searchView } from "./find.js";
import { homeView, treeView } from "./tree.js";
import { itemView } from "./item.js";
import { recommendView } from "./recommend.js";
import { askView } from "./ask.js";

const main = document.getElementById("main"), query = document.getElementById("query");
const panel = document.getElementById("history"), below = document.getElementById("below");
const screens = { "": homeView, search: searchView, item: itemView, prefix: treeView, recommend: recommendView, ask: askView };
const route = () => parse(location.hash);
let running = null, view = null;

// Shows what the address names. What stood there stays until the new is ready.
async function show(cause) {
  running?.abort();
  const mine = (running = new AbortController()), signal = mine.signal, now = route();
  main.setAttribute("aria-busy", "true");
  mark(now, cause);
  let next;
  try {
    const needs = { recommend: "recommend", ask: "chat" }[now.name];
    const screen = needs && !service.can[needs] ? null : screens[now.name];
    next = screen ? await screen(now, signal) : missing();
  } catch (error) {
    if (signal.aborted) return;
    const again = error.status === 404 ? null : () => show("link");
    next = { title: "Error", said: error.message, node: el("div", null, heading(error.status === 404 ? "Nothing is there" : "That did not work"), wrong(error, again)) };
  }
  if (signal.aborted) return;
  view = next;
  main.replaceChildren(next.node);
  main.removeAttribute("aria-busy");
  document.title = next.title ? `${next.title} · Sememe` : "Sememe";
  if (cause === "typing") { say(next.said ?? "", 700); return; }
  if (next.said) say(next.said);
  if (cause === "back") scrollTo(0, history.state?.y ?? 0); else scrollTo(0, 0);
  if (cause !== "start") main.querySelector("h1")?.focus({ preventScroll: true });
}
function missing() {
  return { title: "Not found", node: el("div", null, heading("Nothing is there"),
    el("p", { class: "lead" }, "This address names no screen of this service. ", link("/", null, "To the start"))) };
}

// The search box and the links tell where one is.
function mark(now, cause) {
  document.body.dataset.screen = now.name || "home";
  if (cause !== "typing") query.value = now.name === "search" ? now.rest : "";
  for (const a of document.querySelectorAll("header nav a")) {
    if (a.dataset.to.split("/")[1] === now.name) a.setAttribute("aria-current", "page"); else a.removeAttribute("aria-current");
  }
}

function drawPanel() {
  if (!service.can.recommend) return;
  const keys = trail.list(), one = keys.length === 1;
  const held = panel.contains(document.activeElement) ? document.activeElement.dataset : null;
  const step = (key, name, sign, does, off) => el("button", {
    type: "button", class: "step", "data-for": key, "data-does": does, "aria-label": `${does}: ${name}`, title: does, disabled: off,
    onclick: () => (sign ? trail.move(key, sign) : trail.remove(key)),
  }, { "-1": "↑", 1: "↓", 0: "×" }[sign]);
  panel.replaceChildren(...[
    el("h2", { id: "history-title", tabindex: "-1" }, "History", keys.length ? el("small", null, ` ${keys.length}`) : null),
    keys.length ? el("ol", { role: "list" }, keys.map((key, i) => {
      const item = trail.known(key), name = item ? nameOf(item) : key;
      return el("li", { class: item === null ? "lost" : null },
        el("div", { class: "what" }, link(to.item(key), { class: "name", dir: "auto" }, name),
          el("span", { class: "key" }, item === null ? "no item has this key" : item?.title ? el("bdi", null, key) : "")),
        el("span", { class: "steps" }, step(key, name, -1, "Earlier", i === 0), step(key, name, 1, "Later", i === keys.length - 1), step(key, name, 0, "Remove")));
    })) : el("p", { class: "soft" }, "Add items with + and see what comes next."),
    el("p", { class: "row" },
      keys.length > 0 && link("/recommend", { class: "button main onward" }, "What comes next?"),
      keys.length > 0 && el("button", { type: "button", class: "quiet", "data-does": "Clear", onclick: () => trail.clear() }, "Clear"),
      trail.canRestore() && el("button", { type: "button", "data-does": "Clear", onclick: () => trail.restore() }, "Put it back")),
  ]);
  panel.hidden = false;
  below.hidden = !keys.length;
  below.replaceChildren(el("span", null, `History: ${keys.length} item${one ? "" : "s"}`), el("b", null, "What comes next?"));
  if (!held) return;
  // A button that was pressed keeps the focus, where it is now; one that is gone gives it to its neighbour.
  const same = [...panel.querySelectorAll("button")].find((b) => b.dataset.does === held.does && b.dataset.for === held.for);
  const other = same?.disabled ? same.parentElement.querySelector("button:not([disabled])") : same;
  (other ?? panel.querySelector("ol button:not([disabled])") ?? panel.querySelector("h2")).focus();
}

// Titles of a history that came with the address.
async function nameHistory() {
  const unknown = trail.list().filter((key) => trail.known(key) === undefined);
  if (!unknown.length) return;
  await Promise.all(unknown.map(async (key) => {
    try { trail.remember([await call(path.item(key, 0))]); } catch (error) { if (error.status === 404) trail.lose(key); }
  }));
  drawPanel();
}

trail.watch((said) => {
  history.replaceState({ ...history.state, ours: true }, "", href(here()));
  refresh();
  refreshAdders();
  drawPanel();
  say(said);
  view?.changed?.();
});

document.addEventListener("click", (event) => {
  const a = event.target.closest("a[data-to]");
  if (!a || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  go(a.dataset.to);
});
addEventListener("popstate", (event) => {
  // Steps through what was shown keep the history that one has; an address from elsewhere brings its own.
  if (event.state?.ours) history.replaceState(event.state, "", href(here()));
  else {
    trail.adopt(route().history);
    history.replaceState({ ours: true }, "", location.hash);
    refreshAdders();
    drawPanel();
    nameHistory();
  }
  refresh();
  show(event.state?.ours ? "back" : "link");
});
history.scrollRestoration = "manual";
let settled = 0;
addEventListener("scroll", () => {
  clearTimeout(settled);
  settled = setTimeout(() => history.replaceState({ ...history.state, ours: true, y: scrollY }, ""), 150);
}, { passive: true });

document.addEventListener("keydown", (event) => {
  const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName) || event.target.isContentEditable;
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    query.focus();
    query.select();
  }
  // Arrows go through a list by its names.
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step && event.target.matches("main .name")) {
    const names = [...main.querySelectorAll(".items .name")], at = names.indexOf(event.target) + step;
    if (at < 0) query.focus(); else names[at]?.focus();
    event.preventDefault();
  }
});
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  (main.querySelector("h1") ?? main).focus();
});

async function start() {
  try {
    Object.assign(service, await call(path.info()));
  } catch (error) {
    main.replaceChildren(heading("The service cannot be asked"), wrong(error, start));
    main.removeAttribute("aria-busy");
    return;
  }
  for (const a of document.querySelectorAll("[data-needs]")) a.hidden = !service.can[a.dataset.needs];
  if (!service.can.search_words) query.placeholder = "An ID or a prefix";
  document.body.dataset.history = service.can.recommend ? "on" : "off";
  // Whether an ID fits beside what it names.
  const digits = service.codebook_sizes.reduce((sum, size) => sum + Math.max(2, String(size - 1).length), 0);
  document.body.dataset.ids = digits > 12 ? "long" : "short";
  trail.adopt(route().history);
  refresh();
  drawPanel();
  nameHistory();
  await show("start");
}
onShow(show);
box(document.getElementById("find"), query, go, route);
start();
