/* The page of an operation: the bar is read again every second while it lives; at the end buttons and outcomes follow. */
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const address = document.getElementById("wo-record").dataset.progress;
  let lives = document.getElementById("wo-progress").dataset.live === "1";

  async function look() {
    const fresh = await window.weops.read(address);
    if (fresh === null) { return; }
    const now = fresh.getElementById("wo-progress");
    document.getElementById("wo-progress").replaceWith(document.importNode(now, true));
    lives = now.dataset.live === "1";
    if (!lives) { await end(); }
  }

  // Read once more as a whole: what can be undone, and what became of each instance, is known only now.
  async function end() {
    const page = await window.weops.read(window.location.href);
    if (page === null) { return; }
    ["wo-record-actions", "wo-record-facts", "wo-outcomes", "wo-outcome-tabs"].forEach((id) => window.weops.exchange(page, id));
  }
  window.weops.repeat(1, look, () => lives);
});
