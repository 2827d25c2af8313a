/* The instance list: refresh by hand or every 3 seconds, never while rows are ticked. */
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const auto = document.getElementById("wo-auto"), KEY = "weops.list.auto";
  const on = () => auto.getAttribute("aria-pressed") === "true";
  const ticked = () => document.querySelector("input.action-select:checked, input.action-toggle:checked") !== null;

  async function refresh() {
    if (ticked()) { return; }
    const fresh = await window.weops.read(window.location.href);
    if (fresh === null || ticked()) { return; }
    window.weops.exchange(fresh, "wo-strip");
    const old = document.getElementById("result_list"), now = fresh.getElementById("result_list");
    if (!old || !now) {
      if (old || now) { window.location.reload(); }
      return;
    }
    exchangeRows(old, now);
  }

  // As many rows as before: the theme's rows stay, with its listeners, and get new cells. Else the table is exchanged.
  function exchangeRows(old, now) {
    const before = [...old.tBodies], after = [...now.tBodies];
    if (before.length !== after.length) {
      old.replaceWith(document.importNode(now, true));
      const parent = document.querySelector(".result-list-wrapper");
      window.Actions(parent.querySelectorAll("tr input.action-select"), { parent });
      return;
    }
    before.forEach((body, index) => exchangeCells(body.rows[0], after[index].rows[0]));
  }

  function exchangeCells(old, now) {
    [...old.cells].forEach((cell, column) => {
      const fresh = now.cells[column], box = cell.querySelector("input.action-select");
      if (box && fresh) {
        box.value = fresh.querySelector("input.action-select")?.value ?? "";
      } else if (fresh && cell.innerHTML !== fresh.innerHTML) {
        cell.replaceChildren(...document.importNode(fresh, true).childNodes);
      }
    });
  }

  auto.addEventListener("click", () => {
    auto.setAttribute("aria-pressed", String(!on()));
    window.localStorage.setItem(KEY, on() ? "1" : "0");
  });
  if (window.localStorage.getItem(KEY) === "1") { auto.setAttribute("aria-pressed", "true"); }
  document.getElementById("wo-refresh").addEventListener("click", () => window.location.reload());
  window.weops.repeat(3, refresh, on);

  // A choice applies at once; typed fields wait for Enter or Apply.
  document.querySelectorAll("#wo-filters select").forEach((select) =>
    select.addEventListener("change", () => select.form.requestSubmit()));
  // Empty fields stay out of the address.
  document.getElementById("wo-filters").addEventListener("submit", (event) => {
    event.target.querySelectorAll("input, select").forEach((field) => { if (!field.value) { field.disabled = true; } });
  });
});
