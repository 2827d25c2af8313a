/* The page of one instance: parts of it are read again while it lives; the log is read on from where it ended. */
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const PARTS = ["wo-head", "wo-execution", "wo-executions", "wo-upstream", "wo-downstream", "wo-changes", "wo-operations"];
  const page = document.getElementById("wo-detail");
  let lives = page.dataset.live === "1";
  const chosen = new URLSearchParams(window.location.search).has("execution");

  async function refresh() {
    const fresh = await window.weops.read(window.location.href);
    if (fresh === null) { return; }
    lives = fresh.getElementById("wo-detail")?.dataset.live === "1";
    const shown = document.getElementById("wo-execution").dataset.execution;
    const present = fresh.getElementById("wo-execution")?.dataset.execution;
    // A new execution began while the page followed the present one.
    if (!chosen && present !== shown) { window.location.reload(); return; }
    PARTS.forEach((id) => window.weops.exchange(fresh, id));
  }
  document.getElementById("wo-refresh").addEventListener("click", () => window.location.reload());
  window.weops.repeat(2, refresh, () => lives);

  const view = document.getElementById("wo-log");
  if (view) { watchLog(view); }

  function watchLog(log) {
    // What the browser holds at most; the whole log is a download away.
    const MOST = 2_000_000;
    const state = document.getElementById("wo-log-state"), follow = document.getElementById("wo-follow");
    const following = () => follow.getAttribute("aria-pressed") === "true";
    let after = 0, held = 0, dropped = false, pause = 1;

    function add(text) {
      if (!text) { return; }
      log.append(document.createTextNode(text));
      held += text.length;
      while (held > MOST && log.childNodes.length > 1) {
        held -= log.firstChild.data.length;
        log.firstChild.remove();
        dropped = true;
      }
      if (following()) { log.scrollTop = log.scrollHeight; }
    }

    async function read() {
      if (document.hidden) { window.setTimeout(read, 1000); return; }
      try {
        const answer = await fetch(`${log.dataset.address}?after=${after}`, { credentials: "same-origin" });
        if (!answer.ok) { throw new Error(`the server answered ${answer.status}`); }
        const part = await answer.json();
        const more = part.next > after;
        add(part.text);
        after = part.next;
        pause = 1;
        const note = dropped ? " (beginning left out, see Download)" : "";
        if (part.done) { state.textContent = (after ? "complete" : "empty") + note; return; }
        state.textContent = "live" + note;
        window.setTimeout(read, more ? 50 : 1000);
      } catch (error) {
        pause = Math.min(pause * 2, 30);
        state.textContent = `cannot be read now: ${error.message}; trying again`;
        window.setTimeout(read, pause * 1000);
      }
    }

    follow.addEventListener("click", () => {
      follow.setAttribute("aria-pressed", String(!following()));
      if (following()) { log.scrollTop = log.scrollHeight; }
    });
    log.addEventListener("wheel", (event) => {
      if (event.deltaY < 0) { follow.setAttribute("aria-pressed", "false"); }
    }, { passive: true });
    read();
  }
});
