/* The page of one instance: parts of it are read again while it lives. Its log has a script of its own. */
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const PARTS = ["wo-head", "wo-execution", "wo-waitlog", "wo-traversals", "wo-executions", "wo-waits", "wo-upstream", "wo-downstream", "wo-changes", "wo-operations"];
  const page = document.getElementById("wo-detail");
  let lives = page.dataset.live === "1";
  const chosen = new URLSearchParams(window.location.search).has("execution");

  async function refresh() {
    const fresh = await window.weops.read(window.location.href);
    if (fresh === null) { return; }
    lives = fresh.getElementById("wo-detail")?.dataset.live === "1";
    const present = fresh.getElementById("wo-detail")?.dataset.execution;
    // A new execution began while the page followed the present one.
    if (!chosen && present !== page.dataset.execution) { window.location.reload(); return; }
    PARTS.forEach((id) => window.weops.exchange(fresh, id));
  }
  document.getElementById("wo-refresh").addEventListener("click", () => window.location.reload());
  window.weops.repeat(2, refresh, () => lives);
});
