/* Reads the page again and exchanges parts of it. Text comes from our own server, already escaped; scripts in it never run. */
"use strict";
window.weops = {
  async read(address) {
    const answer = await fetch(address, { credentials: "same-origin", headers: { "X-Requested-With": "fetch" } });
    if (answer.redirected && !answer.url.includes(window.location.pathname)) { window.location.reload(); return null; }
    if (!answer.ok) { throw new Error(`HTTP ${answer.status}`); }
    return new DOMParser().parseFromString(await answer.text(), "text/html");
  },
  // Exchanges the content of the element with this id, unless it is the same already or is being used.
  exchange(fresh, id) {
    const old = document.getElementById(id), now = fresh.getElementById(id);
    if (!old || !now || old.innerHTML === now.innerHTML || old.contains(document.activeElement)) { return; }
    const scrolled = [...old.querySelectorAll("[data-keep-scroll]")].map((part) => [part.scrollLeft, part.scrollTop]);
    old.replaceChildren(...document.importNode(now, true).childNodes);
    old.querySelectorAll("[data-keep-scroll]").forEach((part, index) => {
      if (scrolled[index]) { [part.scrollLeft, part.scrollTop] = scrolled[index]; }
    });
  },
  // Calls `work` again and again, `seconds` after it has ended, not while the page is hidden; slower after errors.
  repeat(seconds, work, wanted) {
    let pause = seconds;
    const turn = async () => {
      if (wanted() && !document.hidden) {
        try { await work(); pause = seconds; } catch (error) { pause = Math.min(pause * 2, 30); }
      }
      window.setTimeout(turn, pause * 1000);
    };
    window.setTimeout(turn, seconds * 1000);
  },
};
