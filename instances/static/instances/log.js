/* The log of an execution: the end first, older lines on scrolling up, live lines by server-sent events. Text stays text: every
   line is put in by textContent, and colours that programs print become classes from a fixed list. */
"use strict";
{
const begin = () => {
  const card = document.getElementById("wo-logcard");
  if (!card || card.dataset.begun) { return; }
  card.dataset.begun = "1";
  const PAGE = 500, MOST = 4000, LEVELS = ["trace", "debug", "info", "warn", "error"];
  const part = (id) => document.getElementById(`wo-log-${id}`);
  const log = document.getElementById("wo-log"), word = (name) => card.dataset[`w${name[0].toUpperCase()}${name.slice(1)}`];
  const follow = part("follow"), level = part("level");

  // `above`: what to ask for before the first line shown; `below`: the line after the last one shown, null at the log's end.
  let above = null, below = 1, total = 0, cursor = 0, source = null, loading = false, unseen = 0, error = 0, asked = 0, polling = 0, part_of = 0;
  let needle = "", matches = [], at = -1, more = null;

  const following = () => follow.getAttribute("aria-pressed") === "true";
  const say = (text) => { part("state").textContent = text; };
  const count = (number) => number.toLocaleString("en");

  async function ask(query) {
    const parameters = new URLSearchParams({ level: level.value, ...query });
    const answer = await fetch(`${card.dataset.lines}?${parameters}`, { credentials: "same-origin" });
    const data = await answer.json().catch(() => ({}));
    if (!answer.ok) { throw new Error(data.error ?? `HTTP ${answer.status}`); }
    return data;
  }

  // Rows

  const ESCAPE = /\x1b(?:\[([0-9;:]*)([A-Za-z])|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])/g;
  function styled(classes, codes) {
    const now = new Set(classes), drop = (start) => { for (const one of now) { if (one.startsWith(start)) { now.delete(one); } } };
    const numbers = codes.split(/[;:]/).map(Number);
    for (let place = 0; place < numbers.length; place += 1) {
      const code = numbers[place];
      if (code === 0) { now.clear(); }
      else if (code === 1) { now.add("wo-a-bold"); } else if (code === 2) { now.add("wo-a-dim"); } else if (code === 3) { now.add("wo-a-italic"); }
      else if (code === 4) { now.add("wo-a-under"); } else if (code === 9) { now.add("wo-a-strike"); }
      else if (code === 22) { now.delete("wo-a-bold"); now.delete("wo-a-dim"); } else if (code === 23) { now.delete("wo-a-italic"); } else if (code === 24) { now.delete("wo-a-under"); }
      else if (code >= 30 && code <= 37) { drop("wo-a-f"); now.add(`wo-a-f${code - 30}`); } else if (code >= 90 && code <= 97) { drop("wo-a-f"); now.add(`wo-a-f${code - 82}`); }
      else if (code === 39) { drop("wo-a-f"); } else if (code >= 40 && code <= 47) { drop("wo-a-b"); now.add(`wo-a-b${code - 40}`); } else if (code === 49) { drop("wo-a-b"); }
      else if (code === 38 || code === 48) {
        // Of 256 colours the first sixteen are known here; others keep the colour of the text.
        if (numbers[place + 1] === 5 && code === 38 && numbers[place + 2] < 16) { drop("wo-a-f"); now.add(`wo-a-f${numbers[place + 2]}`); }
        place += numbers[place + 1] === 5 ? 2 : 4;
      }
    }
    return now;
  }
  function put(into, text, classes) {
    if (!text) { return; }
    const lower = needle ? text.toLowerCase() : "";
    let from = 0;
    const piece = (content, tag) => {
      const span = document.createElement(tag);
      span.className = [...classes].join(" ");
      span.textContent = content;
      into.append(span);
    };
    for (let found = needle ? lower.indexOf(needle) : -1; found >= 0; found = lower.indexOf(needle, from)) {
      if (found > from) { piece(text.slice(from, found), "span"); }
      piece(text.slice(found, found + needle.length), "mark");
      from = found + needle.length;
    }
    if (from < text.length) { piece(text.slice(from), "span"); }
  }
  function fill(into, text) {
    // A progress bar goes back to the beginning of its line: the last state counts.
    const shown = text.replace(/\r+$/, "").split("\r").at(-1);
    let classes = new Set(), from = 0;
    for (const match of shown.matchAll(ESCAPE)) {
      put(into, shown.slice(from, match.index), classes);
      if (match[2] === "m") { classes = styled(classes, match[1] || "0"); }
      from = match.index + match[0].length;
    }
    put(into, shown.slice(from), classes);
  }
  function row(number, name, text) {
    const line = document.createElement("div"), link = document.createElement("a"), content = document.createElement("span");
    line.id = `L${number}`;
    line.className = `wo-row wo-row-${LEVELS.includes(name) ? name : "info"}${text.startsWith("[weops] ") ? " wo-row-ours" : ""}`;
    line.dataset.number = number;
    line.dataset.text = text;
    link.href = `#L${number}`;
    link.textContent = number;
    link.tabIndex = -1;
    fill(content, text);
    line.append(link, content);
    return line;
  }
  const rows = () => log.querySelectorAll(".wo-row");
  const first = () => log.querySelector(".wo-row"), last = () => log.lastElementChild?.matches?.(".wo-row") ? log.lastElementChild : null;
  const shows = (name) => level.value === "all" || LEVELS.indexOf(name) >= LEVELS.indexOf(level.value);

  // Nothing is read on or back until the new part is there, and what was asked for before is of no use any more.
  function clear() {
    stop();
    log.replaceChildren();
    above = null; below = null; unseen = 0; part_of += 1;
    tellUnseen();
  }
  function append(lines) {
    log.querySelector(".wo-log-waits")?.remove();
    log.querySelector("[data-partial]")?.remove();
    log.append(...lines.map((line) => row(...line)));
    let surplus = log.childElementCount - MOST;
    if (surplus > 0 && following()) {
      for (; surplus > 0; surplus -= 1) { log.firstElementChild.remove(); }
      above = Number(first()?.dataset.number ?? 1);
    }
  }
  function waits(text) {
    let box = log.querySelector(".wo-log-waits");
    if (!box) { box = document.createElement("div"); box.className = "wo-log-waits"; log.append(box); }
    box.textContent = text;
  }
  const toEnd = () => { log.scrollTop = log.scrollHeight; };
  function tellUnseen() {
    part("new").hidden = !unseen;
    part("new").textContent = unseen ? `${count(unseen)} ${word("new")}` : "";
  }
  function setFollowing(value) {
    follow.setAttribute("aria-pressed", String(value));
    if (value) { unseen = 0; tellUnseen(); toEnd(); }
  }

  // Live lines

  function stop() {
    source?.close();
    source = null;
    window.clearTimeout(polling);
  }
  function arrived(lines, number) {
    if (!lines.length) { return; }
    // The numbers say whether something is missing between; then the log is read on instead.
    const new_ones = lines.map(([name, text], place) => [number + place, name, text]).filter(([place]) => below === null || place >= below);
    total = Math.max(total, number + lines.length - 1);
    below = number + lines.length;
    const shown = new_ones.filter(([, name]) => shows(name));
    append(shown);
    if (following()) { toEnd(); } else { unseen += shown.length; tellUnseen(); }
  }
  function listen() {
    stop();
    source = new EventSource(`${card.dataset.live}?cursor=${cursor}`);
    say(total ? `${word("live")} · ${count(total)} ${word("lines")}` : word("waiting"));
    source.addEventListener("lines", (event) => {
      const data = JSON.parse(event.data);
      cursor = Number(event.lastEventId);
      arrived(data.lines, data.first);
      say(`${word("live")} · ${count(total)} ${word("lines")}`);
    });
    source.addEventListener("partial", (event) => {
      const data = JSON.parse(event.data);
      log.querySelector("[data-partial]")?.remove();
      log.querySelector(".wo-log-waits")?.remove();
      if (!shows(data.level)) { return; }
      const line = row(data.number, data.level, data.text);
      line.dataset.partial = "1";
      log.append(line);
      if (following()) { toEnd(); }
    });
    source.addEventListener("waiting", (event) => { if (!first()) { waits(JSON.parse(event.data).text); } });
    source.addEventListener("end", (event) => {
      const data = JSON.parse(event.data);
      stop();
      if (data.reason === "done") { log.querySelector("[data-partial]")?.removeAttribute("data-partial"); below = null; complete(); }
      else if (data.reason === "rights") { say(word("rights")); }
      else if (data.reason === "error") { say(data.message); }
      else if (data.reason === "full") { say(word("full")); poll(); }
      else { listen(); }
    });
    source.addEventListener("error", () => {
      say(word("lost"));
      // Refused for good (a server without streams, say): then it is read every few seconds.
      if (source?.readyState === EventSource.CLOSED) { stop(); poll(); }
    });
  }
  function poll() {
    polling = window.setTimeout(async () => {
      try {
        if (!document.hidden) { await readOn(); }
        if (below !== null) { poll(); }
      } catch (problem) { say(problem.message); poll(); }
    }, 3000);
  }
  function complete() { say(total ? `${word("complete")} · ${count(total)} ${word("lines")}` : word("empty")); }

  // Parts of the log

  function settle(page) {
    total = page.total; below = page.next; cursor = page.cursor;
    if (page.next === null) { complete(); } else if (page.end) { listen(); } else { say(word("part")); }
    // A last line without an end comes again, through the stream.
    const open = last();
    if (open && page.next !== null && Number(open.dataset.number) >= page.next) { open.dataset.partial = "1"; }
  }
  async function showEnd() {
    clear();
    say(word("loading"));
    const mine = part_of, page = await ask({ tail: 1, count: PAGE });
    if (mine !== part_of) { return; }
    append(page.lines);
    above = page.previous;
    if (!page.lines.length && page.waiting) { waits(page.waiting); }
    setFollowing(true);
    settle(page);
  }
  async function showAround(number) {
    setFollowing(false);
    if (!document.getElementById(`L${number}`)) {
      clear();
      say(word("loading"));
      const start = Math.max(1, number - 150);
      const mine = part_of, page = await ask({ first: start, count: PAGE });
      if (mine !== part_of) { return; }
      append(page.lines);
      above = start > 1 ? start : null;
      settle(page);
    }
    mark(number);
  }
  function mark(number) {
    log.querySelectorAll(".wo-row-here").forEach((one) => one.classList.remove("wo-row-here"));
    const line = document.getElementById(`L${number}`);
    if (!line) { return; }
    line.classList.add("wo-row-here");
    log.scrollTop += line.getBoundingClientRect().top - log.getBoundingClientRect().top - log.clientHeight / 3;
  }
  async function readBack() {
    if (loading || above === null) { return; }
    loading = true;
    try {
      const mine = part_of, page = await ask({ before: above, count: PAGE });
      if (mine !== part_of) { return; }
      const height = log.scrollHeight, top = log.scrollTop;
      log.prepend(...page.lines.map((line) => row(...line)));
      above = page.previous;
      log.scrollTop = top + log.scrollHeight - height;
      while (log.childElementCount > MOST && !source && below !== null) { below = Number(log.lastElementChild.dataset.number); log.lastElementChild.remove(); }
    } catch (problem) { say(problem.message); } finally { loading = false; }
  }
  async function readOn() {
    if (loading || source || below === null) { return; }
    loading = true;
    try {
      const mine = part_of, page = await ask({ first: below, count: PAGE });
      if (mine !== part_of) { return; }
      append(page.lines);
      settle(page);
      if (following()) { toEnd(); }
    } catch (problem) { say(problem.message); } finally { loading = false; }
  }
  log.addEventListener("scroll", () => {
    const end = log.scrollHeight - log.scrollTop - log.clientHeight;
    if (following() && end > 60) { setFollowing(false); }
    else if (!following() && end < 4 && (source || below === null)) { setFollowing(true); }
    if (log.scrollTop < 200) { readBack(); }
    if (end < 200) { readOn(); }
  }, { passive: true });

  // Search and errors

  async function search() {
    needle = part("text").value.toLowerCase();
    const mine = asked += 1;
    matches = []; at = -1; more = null;
    rows().forEach((line) => { const content = line.lastElementChild; content.replaceChildren(); fill(content, line.dataset.text); });
    if (!needle) { part("found").textContent = ""; return; }
    await searchOn(1, mine);
    await step(1);
  }
  async function searchOn(start, mine) {
    part("found").textContent = word("searching");
    let page = await ask({ q: needle, first: start });
    // The server looks for a few seconds at most, then says where to go on.
    while (mine === asked && !page.lines.length && !page.end) { page = await ask({ q: needle, first: page.next }); }
    if (mine !== asked) { return; }
    matches = matches.concat(page.lines.map(([number]) => number));
    more = page.end ? null : page.next;
    tellFound();
  }
  function tellFound() {
    part("found").textContent = matches.length ? `${at >= 0 ? `${at + 1} / ` : ""}${count(matches.length)}${more === null ? "" : "+"} ${word("matches")}` : word("none");
  }
  async function step(way) {
    if (!needle) { part("text").focus(); return; }
    if (at + way >= matches.length && more !== null) { await searchOn(more, asked); }
    if (!matches.length) { return; }
    at = (at + way + matches.length) % matches.length;
    await showAround(matches[at]);
    tellFound();
  }
  async function nextError() {
    const page = await ask({ errors: 1, first: error + 1 });
    if (page.lines.length) { error = page.lines[0][0]; await showAround(error); }
    else { part("found").textContent = error ? word("nomore") : word("noerror"); error = 0; }
  }

  // Buttons and keys

  const guarded = (work) => async () => { try { await work(); } catch (problem) { say(problem.message); } };
  const wrap = () => { const on = log.classList.toggle("wo-wrapped"); part("wrap").setAttribute("aria-pressed", String(on)); };
  const screen = () => (document.fullscreenElement ? document.exitFullscreen() : card.requestFullscreen());
  async function copy() {
    const chosen = String(window.getSelection());
    const text = chosen || [...rows()].map((line) => line.dataset.text).join("\n");
    await navigator.clipboard.writeText(text);
    part("found").textContent = word("copied");
  }
  const toggleFollow = async () => { if (following()) { setFollowing(false); } else if (source || below === null) { setFollowing(true); } else { await showEnd(); } };
  const top = async () => { setFollowing(false); if (above !== null) { await showAround(1); } log.scrollTop = 0; };
  follow.addEventListener("click", guarded(toggleFollow));
  part("error").addEventListener("click", guarded(nextError));
  part("search").addEventListener("submit", (event) => { event.preventDefault(); guarded(part("text").value.toLowerCase() === needle && needle ? () => step(1) : search)(); });
  part("text").addEventListener("search", () => { if (!part("text").value) { guarded(search)(); } });
  part("next").addEventListener("click", guarded(() => step(1)));
  part("back").addEventListener("click", guarded(() => step(-1)));
  level.addEventListener("change", guarded(showEnd));
  part("wrap").addEventListener("click", wrap);
  part("copy").addEventListener("click", guarded(copy));
  part("screen").addEventListener("click", guarded(screen));
  document.addEventListener("fullscreenchange", () => part("screen").setAttribute("aria-pressed", String(document.fullscreenElement === card)));
  const KEYS = { "/": () => part("text").focus(), n: () => step(1), N: () => step(-1), e: nextError, w: wrap, f: screen, c: copy, g: top, G: () => (source || below === null ? setFollowing(true) : showEnd()) };
  card.addEventListener("keydown", (event) => {
    if (event.target.matches("input, select")) { if (event.key === "Escape") { log.focus(); } return; }
    if (event.ctrlKey || event.metaKey || event.altKey || !KEYS[event.key]) { return; }
    event.preventDefault();
    guarded(KEYS[event.key])();
  });
  log.addEventListener("click", (event) => {
    const link = event.target.closest(".wo-row > a");
    if (!link) { return; }
    event.preventDefault();
    window.history.replaceState(null, "", link.getAttribute("href"));
    setFollowing(false);
    log.querySelectorAll(".wo-row-here").forEach((one) => one.classList.remove("wo-row-here"));
    link.parentElement.classList.add("wo-row-here");
  });
  const linked = () => /^#L(\d{1,12})$/.exec(window.location.hash)?.[1];
  window.addEventListener("hashchange", guarded(async () => { if (linked()) { await showAround(Number(linked())); } }));
  window.addEventListener("pagehide", stop);
  window.addEventListener("pageshow", (event) => { if (event.persisted) { guarded(showEnd)(); } });

  log.classList.add("wo-wrapped");
  guarded(async () => {
    if (!linked()) { await showEnd(); return; }
    await showAround(Number(linked()));
    card.scrollIntoView({ block: "start" });
  })();
};
document.addEventListener("DOMContentLoaded", begin);
// Its tab was opened later.
document.addEventListener("weops:loaded", begin);
}
