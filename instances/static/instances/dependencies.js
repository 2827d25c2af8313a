/* Shows what the table of dependencies comes to while it is edited. The server reckons and judges; nothing is saved. */
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const panel = document.getElementById("wo-waits");
  const form = panel?.closest("form");
  if (!form) { return; }
  const found = document.getElementById("wo-waits-found");
  const date = document.getElementById("wo-waits-date"), time = document.getElementById("wo-waits-time");
  const fields = new Set(panel.dataset.fields.split(" ")), prefix = panel.dataset.prefix;
  const editable = form.elements.namedItem("cycle_type") !== null;
  const cell = (row, name) => form.elements.namedItem(`${prefix}-${row}-${name}`);
  let running = null, timer = 0;

  function question() {
    const asked = new URLSearchParams();
    if (date.value) { asked.set("date", date.value); }
    if (time.value) { asked.set("time", time.value); }
    if (!editable) { return asked; }
    asked.set("draft", "1");
    for (const [name, value] of new FormData(form)) {
      if (fields.has(name.replace(/_[01]$/, ""))) { asked.append(name, value); }
    }
    const rows = Number(cellCount());
    for (let row = 0; row < rows; row += 1) {
      const upstream = cell(row, "upstream");
      if (!upstream?.value || cell(row, "DELETE")?.checked) { continue; }
      asked.append("row", row);
      asked.append("upstream", upstream.value);
      asked.append("scope", cell(row, "scope").value);
      asked.append("offsets", cell(row, "offsets").value);
    }
    return asked;
  }
  const cellCount = () => form.elements.namedItem(`${prefix}-TOTAL_FORMS`)?.value ?? 0;

  // Offers what the two cycles have; a choice that they do not have stays, and is refused when it is sent.
  function offer() {
    found.querySelectorAll("template[data-row]").forEach((choices) => {
      const select = cell(choices.dataset.row, "scope");
      if (!select) { return; }
      const chosen = select.value;
      select.replaceChildren(document.importNode(choices.content, true));
      if (![...select.options].some((option) => option.value === chosen)) {
        select.add(new Option(panel.dataset.strange.replace("%s", () => chosen), chosen));
      }
      select.value = chosen;
    });
  }

  async function show() {
    running?.abort();
    const present = running = new AbortController();
    try {
      const answer = await fetch(`${panel.dataset.address}?${question()}`, {
        credentials: "same-origin", headers: { "X-Requested-With": "fetch" }, signal: present.signal,
      });
      if (!answer.ok) { throw new Error(`HTTP ${answer.status}`); }
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      found.replaceChildren(...document.importNode(page.body, true).childNodes);
      offer();
    } catch (error) {
      if (error.name !== "AbortError") { found.textContent = panel.dataset.failed.replace("%s", () => error.message); }
    }
  }
  const soon = () => { window.clearTimeout(timer); timer = window.setTimeout(show, 300); };

  // The panel belongs to no field: it neither makes the page unsaved nor sends it.
  for (const kind of ["input", "change"]) { panel.addEventListener(kind, (event) => { event.stopPropagation(); soon(); }); }
  panel.addEventListener("keydown", (event) => { if (event.key === "Enter" && event.target.matches("input")) { event.preventDefault(); } });
  panel.addEventListener("click", (event) => {
    const step = event.target.closest("a[data-date]");
    if (!step) { return; }
    event.preventDefault();
    date.value = step.dataset.date;
    time.value = step.dataset.time;
    show();
  });
  // The search box for tasks tells of its changes through jQuery alone.
  window.django.jQuery(form).on("change input", (event) => { if (!panel.contains(event.target)) { soon(); } });
  for (const kind of ["formset:added", "formset:removed"]) { document.addEventListener(kind, soon); }
  show();
});
