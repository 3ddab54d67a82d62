// Walks the page of a running `sememe serve` as a reader does, and says what is wrong with it.
//
//     npm install --no-package-lock --ignore-scripts
//     SEMEME_SERVE_URL=http://127.0.0.1:8080/ node walk.mjs
//
// SEMEME_SERVE_TOKEN: a token, where the service asks for one. SEMEME_CHROMIUM: the browser, else /usr/bin/chromium.
// SEMEME_SHOTS: a folder for pictures of every screen, and of what failed.
//
// It takes its words and items from the service, so it walks any catalogue. Times are printed, never judged.
import { mkdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const base = new URL((process.env.SEMEME_SERVE_URL ?? "http://127.0.0.1:8080").replace(/\/*$/, "/"));
const token = process.env.SEMEME_SERVE_TOKEN;
const shots = process.env.SEMEME_SHOTS;
const axeSource = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

// While one types an ID, some beginnings of it name nothing: the service says so, and the browser's console tells.
const TYPING = /\b40[04]\b.*\/v1\/prefixes\//;
const faults = [], allowed = { now: null };
const fault = (text) => { faults.push(text); console.log(`  FAULT ${text}`); };
function check(holds, text) { if (!holds) throw new Error(text); }
if (shots) await mkdir(shots, { recursive: true });

async function api(path, body) {
  const response = await fetch(new URL(path, base), {
    method: body ? "POST" : "GET", body: body && JSON.stringify(body),
    headers: { ...(body && { "content-type": "application/json" }), ...(token && { authorization: `Bearer ${token}` }) },
  });
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  return response.json();
}

const browser = await chromium.launch({
  executablePath: process.env.SEMEME_CHROMIUM || "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});

async function open(options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, reducedMotion: "reduce", ...options });
  if (token) await context.addInitScript((value) => {
    try { sessionStorage.setItem("sememe-token", value); } catch { /* The empty page before the first has none. */ }
  }, token);
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  page.on("console", (message) => {
    if (message.type() !== "error" || allowed.now?.test(`${message.text()} ${message.location().url}`)) return;
    fault(`console: ${message.text()} (${message.location().url})`);
  });
  page.on("pageerror", (error) => fault(`error in the page: ${error.stack ?? error.message}`));
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.protocol !== "data:" && url.origin !== base.origin) fault(`a request to another host: ${url.href}`);
  });
  return page;
}
// Until the screen that the address names stands.
const ready = (page) => page.waitForFunction(() => !document.querySelector("[aria-busy=true]") && document.querySelector("main h1"));
async function visit(page, hash) {
  await page.goto("about:blank");
  await page.goto(new URL(hash, base).href);
  await ready(page);
}
async function type(page, text) {
  await page.fill("#query", text);
  await page.waitForFunction((typed) => location.hash.startsWith(`#/search/${encodeURIComponent(typed)}`), text);
  await page.waitForFunction((typed) => document.querySelector("main .found h1")?.textContent === `Search: ${typed.trim()}`, text);
  await ready(page);
}
async function step(name, page, walk) {
  console.log(name);
  try {
    await walk();
  } catch (error) {
    fault(`${name}: ${error.message.split("\n").slice(0, 4).join(" ")} (at ${page.url()})`);
    if (shots) await page.screenshot({ path: `${shots}/fault-${faults.length}.png` }).catch(() => {});
  }
  allowed.now = null;
}
// Faults that axe calls serious or critical; others are told.
async function axe(page, where) {
  await page.evaluate(axeSource);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  for (const { id, impact, help, nodes } of violations) {
    const text = `axe on ${where}: ${impact} ${id}: ${help}: ${nodes.slice(0, 3).map((node) => node.html.slice(0, 120)).join(" | ")}`;
    if (impact === "serious" || impact === "critical") fault(text); else console.log(`  ${text}`);
  }
}
async function picture(page, name) {
  if (shots) await page.screenshot({ path: `${shots}/${name}.png` });
}
async function within(page, where) {
  const wide = await page.evaluate(() => {
    const width = document.documentElement.clientWidth;
    return document.documentElement.scrollWidth <= width ? null
      : [...document.querySelectorAll("body *")].filter((node) => node.getBoundingClientRect().right > width + 1).slice(0, 3).map((node) => node.outerHTML.slice(0, 100));
  });
  if (wide) fault(`${where} is wider than the screen: ${wide.join(" | ")}`);
}

const info = await api("v1/info");
const root = await api("v1/prefixes?limit=1");
const example = root.children.toSorted((a, b) => b.items - a.items)[0].example;
const item = await api(`v1/items/${encodeURIComponent(example.key)}?neighbours=5`);
const name = item.title || item.key, can = info.can, prefix = item.codes.slice(0, 1).join("-");
const history = [item.key, ...item.neighbours.slice(0, 2).map((other) => other.key)];
const shared = `?history=${history.map(encodeURIComponent).join(",")}`;
console.log(`${info.items} items; walking from ${item.key}, ${name}`);

const page = await open();

await step("first screen", page, async () => {
  await visit(page, "#/");
  const paint = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime);
  const loaded = await page.evaluate(() => performance.now());
  console.log(`  first paint after ${paint?.toFixed(0)} ms, all of it within ${loaded.toFixed(0)} ms`);
  check((await page.textContent("h1")).includes(info.items.toLocaleString("en")), "the first screen does not tell how many items there are");
  await axe(page, "the first screen");
  await picture(page, "first");
});

await step("search by words, ID and prefix", page, async () => {
  const found = (key) => page.locator(`main .items a.name[data-to="/item/${encodeURIComponent(key)}"]`).first();
  if (can.search_words) {
    await type(page, item.key);
    check(await found(item.key).isVisible(), `${item.key} is not found by its key`);
    check(await page.locator("main mark").count(), "what was found is not marked");
    await axe(page, "a search by words");
    await picture(page, "search");
    allowed.now = TYPING;
    await type(page, "zzqxv jjkw");
    check((await page.textContent("main")).includes("zzqxv jjkw"), "a search without a find says nothing");
    allowed.now = null;
    const [first, second = "a"] = name.split(/\s+/);
    const texts = Array.from({ length: 12 }, (_, i) => (i % 2 ? `${first} ${second}` : first) + " a".repeat(i >> 1));
    const { times, asked } = await page.evaluate(async (typed) => {
      const input = document.getElementById("query"), times = [], before = performance.getEntriesByType("resource").length;
      for (const text of typed) {
        const begun = performance.now();
        input.value = text;
        input.dispatchEvent(new Event("input", { bubbles: true }));
        while (document.querySelector("main .found h1")?.textContent !== `Search: ${text}`) await new Promise(requestAnimationFrame);
        times.push(performance.now() - begun);
      }
      return { times, asked: performance.getEntriesByType("resource").slice(before).map((entry) => entry.duration) };
    }, texts);
    const middle = (list) => list.toSorted((a, b) => a - b)[list.length >> 1]?.toFixed(0);
    console.log(`  a search as one types: median ${middle(times)} ms from key to screen, slowest ${Math.max(...times).toFixed(0)} ms; the service's part ${middle(asked)} ms`);
  }
  await type(page, item.codes.join("-"));
  check(await found(item.key).isVisible(), `${item.key} is not found by ${item.codes.join("-")}`);
  await type(page, item.id);
  check(await found(item.key).isVisible(), `${item.key} is not found by ${item.id}`);
  await type(page, `${prefix}-`);
  check((await page.textContent("main h2")).includes(item.path[0].items.toLocaleString("en")), `the items under ${prefix} are not counted`);
  await axe(page, "a search by prefix");
  if (can.search_text) {
    await page.click(".tabs a:last-child");
    await type(page, name);
    check(await page.locator("main .items .item").count() > 0, "nothing is found by meaning");
    await axe(page, "a search by meaning");
  }
});

await step("item, its chips, back and forward", page, async () => {
  await type(page, item.codes.join("-"));
  await page.click(`main .items a.name[data-to="/item/${encodeURIComponent(item.key)}"]`);
  await page.waitForFunction((title) => document.querySelector("main article h1")?.textContent === title, name);
  check(await page.locator(".large a.chip").count() === item.codes.length, "an item's ID has not one chip for each code");
  check(await page.locator(".funnel li").count() === item.codes.length + 1, "the place in the tree has not one line for each code");
  if (item.neighbours.length) check(await page.locator("main .items .chip.on").count() > 0, "neighbours do not show what they share");
  check(await page.evaluate(() => document.activeElement?.tagName) === "H1", "the focus is not on the heading of a new screen");
  await axe(page, "an item");
  await picture(page, "item");
  const first = page.locator(".large a.chip").first();
  await first.click();
  await page.waitForFunction((text) => document.querySelector("main h1")?.textContent.includes(text), `under ${prefix}`);
  await axe(page, "a prefix");
  await picture(page, "prefix");
  await page.goBack();
  await page.waitForSelector("main article");
  await page.goForward();
  await page.waitForSelector("main .crumbs");
  await visit(page, "#/prefix/");
  check(await page.locator(".branch, .pill").count() === root.children.length, "the tree has not one line for each first code");
  await axe(page, "the tree");
});

await step("errors and addresses that name nothing", page, async () => {
  allowed.now = /\b404\b/;
  await visit(page, "#/item/no-such-key-%2F%20%3Cb%3E");
  check((await page.textContent("main")).includes("unknown_item"), "an unknown item is not told as the service words it");
  await axe(page, "an error");
  await visit(page, "#/nowhere/at/all?x&=&history=");
  check((await page.textContent("h1")) === "Nothing is there", "an address that names nothing is not told");
});

if (can.recommend) {
  const keys = () => page.$$eval("aside ol .name", (names) => names.map((a) => decodeURIComponent(a.dataset.to.slice("/item/".length))));
  await step("history: add, order, share, remove, clear", page, async () => {
    await visit(page, `#/item/${encodeURIComponent(item.key)}`);
    await page.click("button.add.wide");
    await page.locator("main .items button.add").first().click();
    check((await keys()).length === 2, "two items were added, the history has not two");
    check(await page.getAttribute("button.add.wide", "aria-pressed") === "true", "the button does not tell that the item is in the history");
    const [one, two] = await keys();
    await page.locator("aside button[data-does=Later]").first().click();
    check((await keys()).join() === [two, one].join(), "the order did not change");
    check(await page.evaluate(() => document.activeElement?.closest("aside") !== null), "the focus was lost with the order");
    check(new URL(page.url()).hash.includes(`history=${[two, one].map(encodeURIComponent).join(",")}`), "the history is not in the address");
    check((await page.textContent("#status")).length > 0, "a screen reader is told nothing");
    const other = await open();
    await other.goto(page.url());
    await ready(other);
    await other.waitForFunction((n) => document.querySelectorAll("aside ol li").length === n, 2);
    await other.context().close();
    await axe(page, "a history");
    await page.click("header .brand");
    await page.waitForSelector(".home");
    await page.goBack();
    await page.waitForSelector("main article");
    check((await keys()).length === 2, "the history was lost on the way back");
    await page.locator("aside button[data-does=Remove]").first().click();
    check((await keys()).join() === one, "the first item was not removed");
    await page.locator("aside button[data-does=Clear]").click();
    check((await keys()).length === 0 && !page.url().includes("history="), "the history is not empty");
    await page.locator("aside button[data-does=Clear]").click();
    check((await keys()).join() === one, "what was cleared cannot be put back");
  });
  await step("recommendations", page, async () => {
    await visit(page, "#/recommend");
    check(await page.locator("main .items button.add").count() > 0, "nothing to start with is offered");
    await axe(page, "recommendations without a history");
    await visit(page, `#/recommend${shared}`);
    const rows = page.locator("main .results .item");
    check(await rows.count() > 0, "nothing is recommended");
    check(/\d.*%/.test(await rows.first().locator(".figure").textContent()), "a recommendation has no probability");
    const before = await rows.first().locator(".name").textContent();
    await axe(page, "recommendations");
    await picture(page, "recommend");
    await rows.first().locator("button.add").click();
    await page.waitForFunction((n) => document.querySelectorAll("aside ol li").length === n, history.length + 1);
    await page.waitForFunction((text) => document.querySelector("main .results .name")?.textContent !== text, before);
    await page.waitForFunction(() => document.activeElement !== document.body);
    await page.check("#seen");
    await ready(page);
  });
  if (can.recommend_text) await step("a wish in words", page, async () => {
    await visit(page, "#/recommend");
    await page.fill("#wish", name);
    await page.waitForFunction(() => location.hash.includes("wish="));
    await page.waitForSelector("main .results .figure");
    check(await page.locator("main .results .item").count() > 0, "nothing is recommended for a wish");
    await axe(page, "a wish");
    await picture(page, "wish");
  });
}
if (can.chat) await step("asking the model", page, async () => {
  await visit(page, "#/ask");
  await axe(page, "the screen to ask");
  await page.fill("#question", `Find ${name}`);
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelector(".answer .item, .answer .wrong"), null, { timeout: 120_000 });
  check(await page.locator(".answer .item").count() > 0, `no item in the answer: ${await page.textContent(".answer")}`);
  await axe(page, "an answer");
  await picture(page, "ask");
});

await step("by keyboard alone", page, async () => {
  await visit(page, "#/");
  const active = () => page.evaluate(() => document.activeElement?.id || document.activeElement?.className || document.activeElement?.tagName);
  await page.keyboard.press("Tab");
  check(await active() === "skip", `the first stop is not the way to the content, but ${await active()}`);
  await page.keyboard.press("Enter");
  check(await active() === "H1", "the way to the content leads elsewhere");
  await page.keyboard.press("/");
  check(await active() === "query", "the slash does not lead to the box");
  allowed.now = TYPING;
  await page.keyboard.type(item.codes.join("-"), { delay: 15 });
  await page.waitForFunction((typed) => document.querySelector("main .found h1")?.textContent === `Search: ${typed}`, item.codes.join("-"));
  check(await active() === "query", "the focus left the box while one types");
  await page.keyboard.press("ArrowDown");
  check(await active() === "name", "the arrow does not lead to what was found");
  check(await page.evaluate(() => parseFloat(getComputedStyle(document.activeElement).outlineWidth) >= 2), "the focus cannot be seen");
  await page.keyboard.press("Enter");
  await page.waitForSelector("main article");
  if (!can.recommend) return;
  let steps = 0;
  while (!(await active()).includes("add wide") && steps++ < 20) await page.keyboard.press("Tab");
  await page.keyboard.press("Space");
  check(await page.getAttribute("button.add.wide", "aria-pressed") === "true", "the space bar does not add to the history");
  for (steps = 0; !(await active()).includes("onward") && steps < 120; steps++) await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.waitForSelector("main .results .figure");
});

for (const [where, options] of [
  ["phone", { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true }],
  ["phone, dark", { viewport: { width: 360, height: 740 }, colorScheme: "dark", hasTouch: true, isMobile: true }],
  ["tablet", { viewport: { width: 800, height: 1000 } }],
  ["dark", { colorScheme: "dark" }],
]) {
  const other = await open(options);
  await step(where, other, async () => {
    const screens = {
      first: "#/", search: `#/search/${encodeURIComponent(name.split(/\s+/)[0])}`, id: `#/search/${item.codes.join("-")}`,
      item: `#/item/${encodeURIComponent(item.key)}${shared}`, prefix: `#/prefix/${prefix}`, tree: "#/prefix/",
      ...(can.recommend && { recommend: `#/recommend${shared}` }), ...(can.chat && { ask: "#/ask" }),
    };
    for (const [screen, hash] of Object.entries(screens)) {
      if (screen === "search") allowed.now = TYPING;
      await visit(other, hash);
      allowed.now = null;
      await within(other, `${screen} (${where})`);
      await axe(other, `${screen} (${where})`);
      await picture(other, `${screen}-${where.replace(/\W+/g, "-")}`);
    }
    const dark = await other.evaluate(() => getComputedStyle(document.body).backgroundColor.match(/\d+/g).slice(0, 3).every((part) => part < 60));
    check(dark === (options.colorScheme === "dark"), `the ground is ${dark ? "dark" : "light"}`);
    if (can.recommend && where === "phone") {
      await visit(other, `#/item/${encodeURIComponent(item.key)}${shared}`);
      await other.tap("#below");
      await other.waitForSelector("main .results .figure");
      check(await other.isVisible("aside ol"), "the history is not seen beside the recommendations");
    }
  });
  await other.context().close();
}

if (token) {
  const context = await browser.newContext(), other = await context.newPage();
  await step("a token", other, async () => {
    await other.goto(base.href);
    await other.fill("#token-value", "wrong");
    await other.keyboard.press("Enter");
    await other.waitForFunction(() => document.getElementById("token-error").textContent !== "");
    await other.evaluate(axeSource);
    await axe(other, "the question for a token");
    await other.fill("#token-value", token);
    await other.keyboard.press("Enter");
    await ready(other);
    check(await other.evaluate(() => sessionStorage.getItem("sememe-token") !== null && localStorage.length === 0), "the token is not kept for the tab alone");
  });
  await context.close();
}

await browser.close();
console.log(faults.length ? `\n${faults.length} fault${faults.length === 1 ? "" : "s"}:\n${faults.map((text) => `- ${text}`).join("\n")}` : "\nno fault");
process.exit(faults.length ? 1 : 0);
