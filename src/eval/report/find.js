(function () {
  "use strict";
  var ask = document.getElementById("ask"), packed = document.getElementById("items");
  if (!ask || !packed) return;
  var query = document.getElementById("query"), told = document.getElementById("told");
  var hits = document.getElementById("hits"), near = document.getElementById("near");
  var FEW = 10, MANY = 100;
  var table = null;
  ask.hidden = false;

  // What is compared: without case, accents and other ways to write the same letters.
  function fold(text) {
    text = text.toLowerCase();
    if (/[^\x00-\x7f]/.test(text)) {
      text = text.normalize("NFKD").replace(/[\u0300-\u036f]/g, "").toLowerCase().replace(/\u03c2/g, "\u03c3");
    }
    return text;
  }
  function count(n, what) { return n.toLocaleString("en") + " " + what + (n === 1 ? "" : "s"); }

  // The table: a header in JSON, then columns of numbers and of texts, by ID.
  function unpack(bytes) {
    var utf8 = new TextDecoder();
    var size = new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, true);
    var head = JSON.parse(utf8.decode(bytes.subarray(4, 4 + size)));
    var at = 4 + size;
    var streams = head.streams.map(function (length) { at += length; return bytes.subarray(at - length, at); });
    if (at !== bytes.length) throw new Error("the list of items is damaged");
    var n = head.items, width = head.width, codes = new Uint32Array(n * width);
    var places = new Array(width).fill(0);
    function number(stream, level) {
      var value = 0, scale = 1, byte;
      do {
        byte = stream[places[level]++];
        value += (byte & 127) * scale;
        scale *= 128;
      } while (byte > 127);
      return value;
    }
    for (var row = 0; row < n; row++) {
      var shared = streams[0][row], here = row * width;
      for (var level = 0; level < width; level++) {
        var above = row ? codes[here - width + level] : 0;
        if (level < shared) codes[here + level] = above;
        else codes[here + level] = number(streams[1 + level], level) + (level === shared ? above : 0);
      }
    }
    head.codes = codes;
    head.texts = head.columns.map(function (_, c) { return utf8.decode(streams[1 + width + c]).split("\n"); });
    var lines = new Array(n);
    for (row = 0; row < n; row++) {
      var line = "\n";
      for (var c = 0; c < head.texts.length; c++) line += (c ? "\t" : "") + head.texts[c][row];
      lines[row] = line + "\t";
    }
    head.hay = fold(lines.join("") + "\n");
    head.starts = new Int32Array(n + 1);
    for (row = 0, at = 0; row <= n; row++, at++) head.starts[row] = at = head.hay.indexOf("\n", at);
    return head;
  }

  // Of the rows, which are in the order of their IDs, those that begin with these codes: [from, to).
  function range(prefix) {
    function first(after) {
      var low = 0, high = table.items;
      while (low < high) {
        var middle = (low + high) >> 1, order = 0;
        for (var l = 0; l < prefix.length && !order; l++) order = table.codes[middle * table.width + l] - prefix[l];
        if (order < 0 || (after && order === 0)) low = middle + 1; else high = middle;
      }
      return low;
    }
    return [first(false), first(true)];
  }
  function id(row) { return Array.from(table.codes.subarray(row * table.width, (row + 1) * table.width)); }
  // A counter of 0 is not written.
  function shown(codes) {
    return table.counter && codes.length === table.width && codes[table.levels] === 0 ? codes.slice(0, -1) : codes;
  }
  function spelled(codes) {
    var s = table.spelling;
    return s && s.begin + shown(codes).map(function (code, l) {
      return s.tokens[l].before + (code + s.tokens[l].first) + s.tokens[l].after;
    }).join(s.separator) + s.end;
  }

  // Codes of a text that is an ID or the beginning of one, else null.
  function parse(text) {
    var plain = text.replace(/^\[(.*)\]$/, "$1").trim();
    if (/^\d{1,10}(\s*[-\u2010-\u2015\u2212,\s]\s*\d{1,10})*\s*[-\u2010-\u2015,]?$/.test(plain)) {
      var numbers = plain.match(/\d+/g).map(Number);
      return numbers.length <= table.width ? numbers : null;
    }
    return table.spelling ? parseSpelled(text.toLowerCase(), table.spelling) : null;
  }
  function parseSpelled(text, s) {
    var at = 0, codes = [];
    function skip(literal) {
      literal = literal.toLowerCase();
      if (!text.startsWith(literal, at)) return false;
      at += literal.length;
      return true;
    }
    function blanks() { while (text[at] === " ") at += 1; }
    skip(s.begin);
    for (var l = 0; l < table.width; l++) {
      blanks();
      if (at === text.length || (codes.length && text.slice(at) === s.end.toLowerCase())) break;
      if (l) { skip(s.separator.trim()); blanks(); }
      // The beginning of the next token, while it is typed.
      if (codes.length && s.tokens[l].before.toLowerCase().startsWith(text.slice(at))) return codes;
      if (!skip(s.tokens[l].before)) return null;
      var digits = /^\d{1,10}/.exec(text.slice(at));
      if (!digits) { if (codes.length && at === text.length) break; return null; }
      at += digits[0].length;
      codes.push(Number(digits[0]) - s.tokens[l].first);
      if (codes[l] < 0) return null;
      var rest = text.slice(at);
      if (!skip(s.tokens[l].after)) {
        if (s.tokens[l].after.toLowerCase().startsWith(rest)) return codes;
        return null;
      }
    }
    blanks();
    if (at < text.length && !(skip(s.end) && at === text.length)) {
      if (!s.end.toLowerCase().startsWith(text.slice(at))) return null;
    }
    return codes.length ? codes : null;
  }

  function letter(code) {
    return code > 127 || (code > 47 && code < 58) || (code > 96 && code < 123);
  }
  // 0 a whole field, 1 its beginning, 2 the beginning of a word, 3 anywhere, 4 nowhere.
  function rank(wanted, from, to) {
    var best = 4, hay = table.hay;
    for (var tries = 0, at = hay.indexOf(wanted, from); at >= 0 && at < to && tries < 6; tries++) {
      var before = hay.charCodeAt(at - 1), after = hay.charCodeAt(at + wanted.length);
      var field = before === 9 || before === 10;
      best = Math.min(best, field && after === 9 ? 0 : field ? 1 : letter(before) ? 3 : 2);
      if (best === 0) break;
      at = hay.indexOf(wanted, at + 1);
    }
    return best;
  }
  // Rows whose texts hold all words, the closest first, and how many are equal to the text.
  function search(text) {
    var words = fold(text).split(/\s+/).filter(Boolean), ranks = [[], [], [], [], []];
    if (!words.length) return { rows: [], same: 0 };
    var phrase = words.join(" "), hay = table.hay, starts = table.starts, row = 0;
    var lead = words.reduce(function (a, b) { return b.length > a.length ? b : a; });
    for (var at = hay.indexOf(lead); at >= 0; at = hay.indexOf(lead, starts[row])) {
      var low = row, high = table.items;
      while (high - low > 1) {
        var middle = (low + high) >> 1;
        if (starts[middle] <= at) low = middle; else high = middle;
      }
      row = low + 1;
      var line = words.length > 1 ? hay.slice(starts[low], starts[row]) : "";
      if (line && !words.every(function (word) { return line.includes(word); })) continue;
      ranks[line && !line.includes(phrase) ? 4 : rank(phrase, starts[low], starts[row])].push(low);
    }
    // The shorter an item's texts, the more of them is what was typed.
    ranks.forEach(function (rows) {
      if (rows.length > 5000) return;
      rows.sort(function (a, b) { return starts[a + 1] - starts[a] - starts[b + 1] + starts[b] || a - b; });
    });
    return { rows: [].concat.apply([], ranks), same: ranks[0].length, words: words };
  }

  function make(tag, name, text) {
    var node = document.createElement(tag);
    if (name) node.className = name;
    if (text !== undefined) node.textContent = text;
    return node;
  }
  // The codes of an ID, those that count set off.
  function code(codes, from, to) {
    var node = make("code"), written = shown(codes);
    function part(tag, list, dash) { if (list.length) node.append(make(tag, "", list.join("-") + (dash ? "-" : ""))); }
    part("i", written.slice(0, from), from < written.length);
    part("b", written.slice(from, to), to < written.length);
    part("i", written.slice(to));
    return node;
  }
  // Text in which the words that were looked for are marked.
  function marked(node, text, words) {
    var folded = "", place = [], characters = Array.from(text);
    characters.forEach(function (character, i) {
      var f = fold(character);
      for (var k = 0; k < f.length; k++) place.push(i);
      folded += f;
    });
    var on = new Uint8Array(characters.length), any = false;
    (words || []).forEach(function (word) {
      for (var at = folded.indexOf(word); at >= 0; at = folded.indexOf(word, at + word.length)) {
        for (var k = 0; k < word.length; k++) { on[place[at + k]] = 1; any = true; }
      }
    });
    if (!any) { node.textContent = text; return node; }
    for (var i = 0; i < characters.length;) {
      var j = i;
      while (j < characters.length && on[j] === on[i]) j++;
      var part = characters.slice(i, j).join("");
      node.append(on[i] ? make("mark", "", part) : part);
      i = j;
    }
    return node;
  }
  function texts(row) { return table.texts.map(function (column) { return column[row]; }); }
  function name(row) {
    var all = texts(row), title = table.columns.indexOf("title");
    return (title >= 0 && all[title]) || all.find(Boolean) || "(no title)";
  }
  function item(row, shares, words) {
    var node = make("li"), button = make("button", "id"), about = make("span");
    button.type = "button";
    button.dataset.row = row;
    button.append(code(id(row), shares === undefined ? table.width : 0, shares === undefined ? table.width : shares));
    button.setAttribute("aria-label", "Neighbours of " + shown(id(row)).join("-") + ", " + name(row));
    var main = name(row), seen = [main];
    about.append(marked(make("bdi", "t"), main, words));
    texts(row).forEach(function (text) {
      if (!text || seen.includes(text)) return;
      seen.push(text);
      about.append(" ", marked(make("bdi", "k"), text, words));
    });
    node.append(button, about);
    return node;
  }
  // A heading, the first of these rows, and a button for more of them. at(i) is row i of `all`.
  function group(into, heading, all, at, few, shares, words) {
    if (!all) return;
    var box = make("div", "group"), list = make("ul"), done = 0, more = make("button", "more");
    box.append(heading, list);
    more.type = "button";
    function add(upTo) {
      for (upTo = Math.min(upTo, all); done < upTo; done++) list.append(item(at(done), shares, words));
      if (done === all) more.remove();
      else more.textContent = "Show " + Math.min(MANY, all - done).toLocaleString("en") + " more of " + all.toLocaleString("en");
    }
    more.addEventListener("click", function () {
      var first = done;
      add(done + MANY);
      list.children[first].querySelector("button").focus();
    });
    if (all > few) box.append(more);
    add(few);
    into.append(box);
  }
  function heading(parts) {
    var node = make("h3");
    parts.forEach(function (part) { node.append(part); });
    return node;
  }
  // Items that share fewer and fewer of these codes with [from, to), nearest first.
  function around(codes, depth, from, to, skip) {
    for (var d = depth; d > 0; d--) {
      var wide = range(codes.slice(0, d)), left = from - wide[0], all = wide[1] - wide[0] - (to - from);
      var of = (function (start, left, to) {
        return function (i) { return i < left ? start + i : to + i - left; };
      })(wide[0], left, to);
      var what = d >= table.levels ? " on the same ID " : " that share" + (all === 1 ? "s " : " ");
      group(near, heading([count(all, skip ? "other item" : "item") + what, code(codes.slice(0, d), 0, d)]), all, of, FEW, d);
      from = wide[0];
      to = wide[1];
    }
  }
  function neighbours(row) {
    near.textContent = "";
    var codes = id(row), title = make("h3", "of", "Neighbours of "), text = spelled(codes);
    title.append(make("bdi", "", name(row)));
    near.append(title);
    var where = make("p", "soft");
    where.append(make("code", "", shown(codes).join("-")));
    if (text && text !== shown(codes).join("-")) where.append(" · ", make("code", "", text));
    near.append(where);
    around(codes, table.counter ? table.levels : table.width, row, row + 1, true);
    if (near.childElementCount === 2) near.append(make("p", "soft", "No other item shares its first code."));
    hits.querySelectorAll("button.id").forEach(function (button) {
      button.setAttribute("aria-pressed", String(Number(button.dataset.row) === row));
    });
  }
  // The codes that follow a prefix, the most frequent first.
  function children(prefix, from, to) {
    var depth = prefix.length;
    if (depth >= table.levels || to - from < 2) return null;
    var parts = [];
    for (var row = from; row < to;) {
      var next = prefix.concat(table.codes[row * table.width + depth]), end = range(next)[1];
      parts.push([next, end - row]);
      row = end;
    }
    parts.sort(function (a, b) { return b[1] - a[1]; });
    var box = make("p", "next", count(parts.length, "code") + " may follow" + (parts.length > 16 ? ", most often " : ": "));
    parts.slice(0, 16).forEach(function (part) {
      var button = make("button");
      button.type = "button";
      button.dataset.query = part[0].join("-");
      button.append(make("b", "", String(part[0][depth])), " ", make("small", "", part[1].toLocaleString("en")));
      button.setAttribute("aria-label", part[0].join("-") + ", " + count(part[1], "item"));
      box.append(button, " ");
    });
    return box;
  }
  function byId(codes) {
    var depth = codes.length, found = range(codes), past = -1;
    codes.some(function (c, l) { if (table.sizes[l] && c >= table.sizes[l]) past = l; return past >= 0; });
    while (depth && found[0] === found[1]) found = range(codes.slice(0, --depth));
    var all = found[1] - found[0], have = codes.slice(0, depth), what = codes.join("-");
    if (depth < codes.length) {
      var why = past < 0 ? "" : "; codes of level " + (past + 1) + " are 0 to " + (table.sizes[past] - 1);
      var instead = depth ? "; " + count(all, "item") + (all === 1 ? " shares " : " share ") + have.join("-") : "";
      told.textContent = "No item has " + what + why + instead + ".";
      if (!depth) return;
    } else {
      told.textContent = count(all, "item") + (depth >= table.levels ? " on " : " under ") + what + ".";
    }
    var label = depth >= table.levels ? " on " : " under ";
    group(hits, heading([count(all, "item") + label, code(have, 0, depth)]), all, function (i) { return found[0] + i; }, 2 * FEW, depth);
    var next = children(have, found[0], found[1]);
    if (next) hits.firstChild.firstChild.after(next);
    around(codes, depth - 1, found[0], found[1], false);
    if (near.firstChild) near.prepend(make("h3", "of", "Nearest to it"));
  }
  function run() {
    var begun = performance.now(), text = query.value.trim();
    hits.textContent = near.textContent = told.textContent = "";
    try {
      history.replaceState(null, "", text ? "#find=" + encodeURIComponent(text) : "#");
    } catch (e) { /* A page from a file may not be allowed to. */ }
    if (!text || !table) {
      delete told.dataset.ms;
      if (text) told.textContent = "Unpacking the items …";
      return;
    }
    var codes = parse(text), found = search(text), rows = found.rows;
    var at = function (i) { return rows[i]; };
    var title = function (n, what) { var h = make("h3", "", count(n, "item") + what); h.append(make("bdi", "", "“" + text + "”")); return h; };
    // A number that no ID begins with may be a part of a title: `2048`.
    var known = codes && range(codes.slice(0, 1));
    if (codes && (known[0] < known[1] || !rows.length)) {
      byId(codes);
      if (rows.length) told.textContent += " " + count(rows.length, "item") + (rows.length === 1 ? " has" : " have") + " that text.";
      group(hits, title(rows.length, " with the text "), rows.length, at, found.same || 5, undefined, found.words);
      if (found.same && hits.childElementCount > 1) hits.prepend(hits.lastChild);
    } else if (rows.length) {
      told.textContent = count(rows.length, "item") + " of " + table.items.toLocaleString("en") + (rows.length === 1 ? " matches." : " match.");
      group(hits, title(rows.length, " with the text "), rows.length, at, FEW, undefined, found.words);
      neighbours(rows[0]);
    } else {
      told.textContent = "None of " + count(table.items, "item") + " matches “" + text + "”.";
    }
    told.dataset.ms = (performance.now() - begun).toFixed(2);
  }

  function look(text) {
    query.value = text;
    run();
    query.focus();
    document.getElementById("search").scrollIntoView({ block: "start" });
  }
  query.addEventListener("input", run);
  document.addEventListener("click", function (event) {
    var button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.query !== undefined) look(button.dataset.query);
    else if (button.dataset.row !== undefined && table) {
      neighbours(Number(button.dataset.row));
      near.firstChild.tabIndex = -1;
      near.firstChild.focus();
    }
  });
  // What the tree does not list is a click away.
  document.querySelectorAll("#tree [data-rest]").forEach(function (line) {
    var button = make("button", "more", line.textContent.replace(", not listed", ""));
    button.type = "button";
    button.dataset.query = line.dataset.rest;
    line.textContent = "";
    line.append(button);
  });

  function fail(why) {
    told.textContent = why;
    query.disabled = true;
    var filter = document.getElementById("filter");
    if (filter) filter.hidden = false;
  }
  if (typeof DecompressionStream === "undefined") {
    fail("This browser cannot unpack the items (it has no DecompressionStream). Chrome and Edge from 80, Firefox from 113 and " +
      "Safari from 16.4 on can; the rest of the page works here too.");
    return;
  }
  var text = atob(packed.textContent.trim()), bytes = new Uint8Array(text.length);
  for (var i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  packed.textContent = "";
  new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer().then(function (buffer) {
    table = unpack(new Uint8Array(buffer));
    ask.dataset.ready = "true";
    var asked = /^#find=(.*)$/.exec(location.hash);
    if (asked && !query.value) {
      try { query.value = decodeURIComponent(asked[1]); } catch (e) { query.value = ""; }
    }
    if (query.value) run();
  }).catch(function (error) { fail("The items cannot be unpacked: " + error.message); });
})();
