// One box: words, an ID or a prefix.
import { call, path } from "./server.js";
import { chips, count, distance, el, followers, heading, itemList, link, say, service, whole, wordsOf } from "./parts.js";
import { to } from "./route.js";

const FEW = 20, MANY = 100;

// Whether a text may be an ID or the beginning of one. The service reads it; this only saves it the question.
function mayBeId(text) {
  if (/^[[\s]*\d{1,10}([\s,\-\u2010-\u2015\u2212]+\d{1,10})*[\s,\-\]]*$/.test(text)) return "plain";
  const example = (service.example_id ?? "").toLowerCase(), lead = /^\D*/.exec(example)[0], typed = text.toLowerCase();
  // A spelling may begin with a token of its own, which one leaves out.
  const inside = /^[^\p{L}\p{N}]/u.test(example) && typed[0] === example[0] && /\d/.test(typed);
  return (lead && typed.startsWith(lead)) || inside ? "spelled" : null;
}
// The character that ends a token of the served spelling; empty where it is a letter, a digit or a blank.
const closing = () => (/[^\w\s]$/.exec(service.example_id ?? "") ?? [""])[0];
// The text as one asks for it: numbers with dashes, or tokens up to the last whole one, in the case of the spelling.
function asked(text, kind) {
  if (kind === "plain") return text.match(/\d+/g).join("-");
  const end = closing(), example = service.example_id, tokens = end ? text.slice(0, text.lastIndexOf(end) + 1).trim() : text;
  return example === example.toUpperCase() ? tokens.toUpperCase() : example === example.toLowerCase() ? tokens.toLowerCase() : tokens;
}
// Without its last code.
function shorter(ask, kind) {
  const end = closing();
  if (kind === "plain") return ask.slice(0, Math.max(0, ask.lastIndexOf("-")));
  return end ? ask.slice(0, ask.lastIndexOf(end, ask.length - 2) + 1).trim() : ask.replace(/\W*\w+\W*$/, "");
}

// The items under what was typed, or under the longest beginning of it that has any. Null where it is no ID.
async function byId(text, signal) {
  const kind = mayBeId(text);
  let ask = kind && asked(text, kind);
  if (!ask) return null;
  const none = (error) => {
    if (error.status !== 404 && error.status !== 400) throw error;
    return null;
  };
  for (let missed = false; ; missed = true) {
    const found = await call(path.prefix(ask, FEW), { signal }).catch(none);
    if (found) return { found, missed };
    // An ID whose counter tells it from others on its codes is no prefix.
    if (!missed && (kind === "spelled" || ask.split("-").length > service.levels)) {
      const one = await call(path.id(ask), { signal }).catch(none);
      if (one) return { found: { ...one, items_total: one.items.length, children: [] }, missed };
    }
    ask = shorter(ask, kind);
    if (!ask) return { found: null, missed: true };
  }
}

function idGroup({ found, missed }, text) {
  const parts = [];
  if (missed) {
    parts.push(el("p", { class: "soft" }, "No item’s ID begins with ", el("bdi", null, `“${text}”`), found ? "; the nearest that do:" : "."));
    if (!found) return parts;
  }
  const all = found.items_total, full = found.children.length === 0;
  parts.push(el("h2", null, `${count(all, "item")} ${full ? "on" : "under"} `, chips(found.codes, { shared: found.codes.length, tabs: true })));
  if (found.children.length > 1) parts.push(followers(found, 12, (child) => to.search(child.prefix)));
  parts.push(itemList(found.items, { shared: found.codes.length }));
  if (found.items.length < all) {
    parts.push(el("p", null, link(to.prefix(found.codes), { class: "button" }, `All ${whole(all)} in the tree`)));
  }
  return parts;
}

function wordsGroup(found, text, limit, words, by) {
  const items = found.items, more = items.length >= limit;
  const title = el("h2", null, by === "meaning" ? "Closest in meaning to " : "Items for ", el("bdi", null, `“${text.trim()}”`));
  const box = el("section", { class: "group" }, title);
  const row = by === "meaning"
    ? (item) => ({ figure: distance(item) })
    : { words };
  if (items[0]?.distance !== undefined) box.append(el("p", { class: "soft" }, "Nearest first, with the distance of the vectors."));
  box.append(itemList(items, row));
  if (more && limit < MANY) {
    const button = el("button", { type: "button" }, "Show more");
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        const next = await call("v1/search", { body: { ...(by === "meaning" ? { text } : { words: text }), limit: MANY } });
        const grown = wordsGroup(next, text, MANY, words, by);
        box.replaceWith(grown);
        grown.querySelectorAll(".name")[limit]?.focus();
        say(`${next.items.length} items.`);
      } catch (error) {
        button.disabled = false;
        button.after(el("p", { class: "wrong", role: "alert" }, error.message));
      }
    });
    box.append(button);
  } else if (more) box.append(el("p", { class: "soft" }, `The first ${limit}. More words bring closer ones up.`));
  return box;
}

export async function searchView({ rest: text, params }, signal) {
  const by = params.by === "meaning" && service.can.search_text ? "meaning" : "words";
  const trimmed = text.trim();
  const page = el("div", { class: "found" }, heading(`Search: ${trimmed || "nothing yet"}`, { class: "unseen" }));
  if (service.can.search_text && service.can.search_words) {
    page.append(el("p", { class: "tabs", role: "group", "aria-label": "Search by" },
      link(to.search(text), { "aria-current": by === "words" ? "true" : null }, "Words, ID"),
      link(to.search(text, "meaning"), { "aria-current": by === "meaning" ? "true" : null }, "Meaning")));
  }
  if (!trimmed) {
    page.append(el("p", { class: "soft" }, "Type words of a title or key, an ID such as ", el("code", null, service.example_id ?? "25-4-47"), ", or the beginning of one."));
    return { title: "Search", node: page };
  }
  const said = await (by === "meaning" ? byMeaning : byWords)(page, text, signal);
  return { title: `${trimmed} · Search`, node: page, said };
}

// An ID is an ID, whichever way texts are looked for.
async function byMeaning(page, text, signal) {
  const [id, found] = await Promise.all([byId(text.trim(), signal), call("v1/search", { body: { text: text.trim(), limit: FEW }, signal })]);
  if (id?.found && !id.missed) page.append(...idGroup(id, text.trim()));
  page.append(wordsGroup(found, text.trim(), FEW, [], "meaning"));
  return `${count(found.items.length, "item")} closest in meaning.`;
}

// Several numbers, and tokens, are an ID and words only where there is no such ID; one number may as well be a part of a title: `2048`.
async function byWords(page, text, signal) {
  const typed = text.trim(), kind = mayBeId(typed), surely = kind === "spelled" || (kind === "plain" && /\d\D+\d/.test(typed));
  // The service reads a blank at the end: the last word is whole then.
  const ask = () => (service.can.search_words ? call("v1/search", { body: { words: text, limit: FEW }, signal }) : null);
  let [id, found] = await Promise.all([byId(typed, signal), surely ? null : ask()]);
  if (surely && !id?.found && kind === "plain") found = await ask();
  const texts = found?.items.length ? [wordsGroup(found, text, FEW, wordsOf(text), "words")] : [];
  const ids = id && (surely || !id.missed || !texts.length) ? idGroup(id, typed) : [];
  page.append(...ids, ...texts);
  if (!ids.length && !texts.length) {
    page.append(el("div", { class: "empty" },
      el("p", null, "No item has ", el("bdi", null, `“${typed}”`), " in its title or key."),
      service.can.search_text
        ? el("p", null, link(to.search(text, "meaning"), { class: "button main" }, "Search by meaning"))
        : el("p", { class: "soft" }, "Other words, or the beginning of one, may find more.")));
  }
  const told = [];
  if (id?.found && !id.missed) told.push(`${count(id.found.items_total, "item")} with this ID or prefix`);
  if (texts.length) told.push(found.items.length >= FEW ? `the first ${FEW} items for these words` : `${count(found.items.length, "item")} for these words`);
  return `${told.join(", ") || "Nothing found"}.`;
}

// The box itself: answers come while one types, the last one asked for wins.
export function box(form, input, go, route) {
  let timer = 0, last = 0;
  const run = () => {
    last = performance.now();
    const now = route(), text = input.value;
    if (!text.trim() && now.name !== "search") return;
    go(to.search(text, now.name === "search" && now.params.by), { replace: now.name === "search", cause: "typing" });
  };
  input.addEventListener("input", () => {
    clearTimeout(timer);
    // Letters at the pace of a hand are asked for at once, a held key or a paste of several only when it rests.
    if (performance.now() - last > 60) run(); else timer = setTimeout(run, 30);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(timer);
    const first = document.querySelector("main .found .name");
    if (route().name === "search" && route().rest === input.value && first) first.focus(); else run();
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown") {
      const first = document.querySelector("main .items .name");
      if (first) { event.preventDefault(); first.focus(); }
    } else if (event.key === "Escape" && input.value) {
      event.preventDefault();
      input.value = "";
      run();
    }
  });
}
