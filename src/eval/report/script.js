(function () {
  "use strict";
  var tree = document.getElementById("tree"), tools = document.getElementById("tools");
  if (!tree || !tools) return;
  tools.hidden = false;
  var find = document.getElementById("find"), found = document.getElementById("found-in-tree");
  var nodes = Array.from(tree.querySelectorAll("details"));
  var depth = new Map();
  nodes.forEach(function (node) {
    var up = node.parentElement.closest("details");
    depth.set(node, up ? depth.get(up) + 1 : 1);
  });
  var items = Array.from(tree.querySelectorAll("li[data-i]")).map(function (item) {
    var texts = Array.from(item.children).filter(function (part) { return part.tagName !== "CODE"; });
    return { item: item, texts: texts, low: texts.map(function (part) { return part.textContent.toLowerCase(); }) };
  });
  var before = null, marked = [], timer = 0;
  // A long list of first codes would hide what comes after it.
  var tops = tree.querySelectorAll(":scope > details");
  if (tops.length > 40) {
    var all = document.createElement("button");
    all.type = "button";
    all.id = "all-prefixes";
    all.textContent = "Show all " + tops.length.toLocaleString("en") + " prefixes";
    all.addEventListener("click", function () {
      tree.classList.remove("short");
      all.remove();
      tops[32].querySelector("summary").focus();
    });
    tree.classList.add("short");
    tree.after(all);
  }

  function unmark() {
    marked.forEach(function (part) { part.textContent = part.textContent; });
    marked = [];
  }
  function mark(part, low, wanted) {
    var text = part.textContent, at = low.indexOf(wanted), from = 0;
    // Lower case may be longer than the text itself in a few scripts; then no position can be trusted.
    if (at < 0 || low.length !== text.length) return;
    part.textContent = "";
    for (; at >= 0; from = at + wanted.length, at = low.indexOf(wanted, from)) {
      part.append(text.slice(from, at));
      var hit = document.createElement("mark");
      hit.textContent = text.slice(at, at + wanted.length);
      part.append(hit);
    }
    part.append(text.slice(from));
    marked.push(part);
  }
  function search() {
    var wanted = find.value.trim().toLowerCase(), hits = 0;
    unmark();
    tree.querySelectorAll(".has,.hit").forEach(function (node) { node.classList.remove("has", "hit"); });
    if (!wanted) {
      tree.classList.remove("filter");
      if (before) nodes.forEach(function (node, i) { node.open = before[i]; });
      before = null;
      found.textContent = "";
      return;
    }
    if (!before) before = nodes.map(function (node) { return node.open; });
    tree.classList.add("filter");
    items.forEach(function (entry) {
      if (!entry.low.some(function (low) { return low.includes(wanted); })) return;
      hits += 1;
      entry.item.classList.add("hit");
      for (var up = entry.item.parentElement; up !== tree; up = up.parentElement) up.classList.add("has");
      if (hits <= 500) entry.texts.forEach(function (part, i) { mark(part, entry.low[i], wanted); });
    });
    nodes.forEach(function (node) { node.open = hits <= 500 && node.classList.contains("has"); });
    found.textContent = hits.toLocaleString("en") + " of " + items.length.toLocaleString("en") + " listed items";
  }
  find.addEventListener("input", function () { clearTimeout(timer); timer = setTimeout(search, 120); });
  tools.addEventListener("click", function (event) {
    var to = event.target.getAttribute("data-open");
    if (to === null) return;
    nodes.forEach(function (node) { node.open = depth.get(node) <= Number(to); });
  });
})();
