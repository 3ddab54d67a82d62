// A conversation with the language model, which answers with items.
import { call, path, stream } from "./server.js";
import { chance, count, el, heading, itemList, say, nameOf, sentence, service } from "./parts.js";

const ITEMS = 5;

// The conversation outlives the screen, so that one can look at an item and come back.
const turns = [];
let busy = null, settle = () => {};

function drawn(turn) {
  const answer = el("div", { class: "answer" });
  const draw = () => {
    answer.replaceChildren(...[
      (turn.text || turn.busy) && el("p", { class: turn.items?.length || !turn.text ? "spoken soft" : "spoken", dir: "auto" },
        turn.text || "Thinking …", turn.busy && el("i", { class: "caret", "aria-hidden": "true" })),
      turn.items?.length && itemList(turn.items, (item) => ({ figure: item.probability === undefined ? null : chance(item) })),
      turn.error && el("div", { class: "notes wrong" }, el("p", null, el("b", null, sentence(turn.error.message))), turn.error.hint && el("p", null, sentence(turn.error.hint))),
      turn.stopped && el("p", { class: "soft" }, "Stopped."),
    ].filter(Boolean));
  };
  turn.draw = draw;
  draw();
  return el("li", { class: "turn" }, el("p", { class: "question" }, el("span", { class: "unseen" }, "You asked: "), el("bdi", null, turn.question)), answer);
}

async function answer(turn, signal) {
  const messages = [];
  for (const other of turns) {
    messages.push({ role: "user", content: other.question });
    if (other !== turn && other.text) messages.push({ role: "assistant", content: other.text });
    if (other === turn) break;
  }
  await stream("v1/chat/completions", {
    body: { messages, stream: true, n: ITEMS }, signal,
    each: (part) => {
      const choice = part.choices?.[0];
      if (!choice) return;
      if (choice.delta?.content) turn.text += choice.delta.content;
      if (choice.items) turn.items = choice.items;
      turn.draw();
    },
  });
  // A service that names no items may have spoken an ID all the same.
  if (!turn.items && turn.text.trim()) {
    try { turn.items = (await call(path.id(turn.text.trim()), { signal })).items; } catch (error) { if (error.status !== 404 && error.status !== 400) throw error; }
  }
}

export async function askView() {
  const list = el("ol", { class: "turns", role: "list" }, turns.map(drawn));
  const input = el("textarea", { id: "question", rows: "2", required: true, placeholder: service.language?.ask ?? "", "aria-describedby": "question-how" });
  const send = el("button", { type: "submit", class: "main" }, "Ask"), stop = el("button", { type: "button" }, "Stop");
  const anew = el("button", { type: "button", class: "quiet" }, "Begin anew");
  const start = el("div", { class: "empty" });
  const form = el("form", { class: "ask" }, el("label", { for: "question" }, "Your question"), input,
    el("div", { class: "row" }, send, stop, anew, el("span", { class: "soft", id: "question-how" }, "Enter asks, Shift and Enter begins a line")));
  settle = () => {
    send.disabled = Boolean(busy);
    stop.hidden = !busy;
    anew.hidden = Boolean(busy) || !turns.length;
    start.hidden = turns.length > 0;
  };
  const run = async (question) => {
    if (busy || !question.trim()) return;
    const mine = (busy = new AbortController());
    const turn = { question: question.trim(), text: "", items: null, busy: true, draw: () => {} };
    turns.push(turn);
    list.append(drawn(turn));
    input.value = "";
    settle();
    form.scrollIntoView({ block: "nearest" });
    try {
      await answer(turn, mine.signal);
      say(turn.items?.length ? `The answer: ${nameOf(turn.items[0])}${turn.items.length > 1 ? ` and ${turn.items.length - 1} more` : ""}.` : turn.text);
    } catch (error) {
      if (mine.signal.aborted) turn.stopped = true; else turn.error = error;
      say(mine.signal.aborted ? "Stopped." : error.message);
    }
    turn.busy = false;
    turn.draw();
    if (busy === mine) busy = null;
    settle();
    if (form.isConnected) form.scrollIntoView({ block: "nearest" });
  };
  stop.addEventListener("click", () => { busy?.abort(); input.focus(); });
  anew.addEventListener("click", () => { turns.length = 0; list.replaceChildren(); settle(); input.focus(); });
  form.addEventListener("submit", (event) => { event.preventDefault(); run(input.value); });
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); run(input.value); }
  });
  const example = service.language?.ask;
  start.append(el("p", null, "It answers in IDs, and only in IDs that items have."));
  if (example) start.append(el("p", { class: "try" }, "Try ", el("button", { type: "button", onclick: () => { input.focus(); run(example); } }, example)));
  settle();
  const page = el("div", { class: "talk" }, heading("Ask the model"),
    el("p", { class: "lead" }, service.language?.model ? [el("code", null, service.language.model), ` knows ${count(service.items, "item")} by their IDs.`] : "It knows the items by their IDs."),
    start, list, form);
  return { title: "Ask", node: page };
}
