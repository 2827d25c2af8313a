/* The pages of an operation and of a backfill plan: the bar is read again every second while it lives, buttons and outcomes now and then; outcomes
   as long as what they are on goes on, too. */
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const address = document.getElementById("wo-record").dataset.progress;
  let lives = document.getElementById("wo-progress").dataset.live === "1";

  let looks = 0;

  async function look() {
    const fresh = await window.weops.read(address);
    if (fresh === null) { return; }
    const now = fresh.getElementById("wo-progress");
    document.getElementById("wo-progress").replaceWith(document.importNode(now, true));
    lives = now.dataset.live === "1";
    looks += 1;
    if (!lives || looks % 5 === 1) { await rest(); }
  }

  // The rest of the page follows more slowly, and once more at the end: what can be undone is known only then.
  async function rest() {
    const page = await window.weops.read(window.location.href);
    if (page === null) { return; }
    const outcomes = document.getElementById("wo-outcomes"), now = page.getElementById("wo-outcomes");
    if (outcomes && now) { outcomes.dataset.live = now.dataset.live ?? ""; }
    ["wo-record-actions", "wo-record-facts", "wo-outcomes", "wo-outcome-tabs", "wo-outcome-export"].forEach((id) => window.weops.exchange(page, id));
  }
  window.weops.repeat(1, look, () => lives);
  // What was set going is followed until it has ended.
  window.weops.repeat(5, rest, () => !lives && document.getElementById("wo-outcomes").dataset.live === "1");
});
