/* The page of one traversal: its head and its steps are read again while it lives. */
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  let lives = document.getElementById("wo-traversal").dataset.live === "1";
  async function refresh() {
    const fresh = await window.weops.read(window.location.href);
    if (fresh === null) { return; }
    lives = fresh.getElementById("wo-traversal")?.dataset.live === "1";
    ["wo-traversal-head", "wo-dag"].forEach((id) => window.weops.exchange(fresh, id));
  }
  window.weops.repeat(2, refresh, () => lives);
});
