/* A card over a state in a list: why it does not run. Read when the pointer rests on it, or when it has the focus. */
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const card = document.createElement("div");
  card.className = "wo-card wo-hover";
  card.id = "wo-hover";
  card.setAttribute("role", "tooltip");
  card.hidden = true;
  document.body.append(card);
  let wanted = null, timer = 0;

  function place(over) {
    const at = over.getBoundingClientRect(), size = card.getBoundingClientRect();
    const below = at.bottom + 6 + size.height < window.innerHeight || at.top < size.height;
    card.style.top = `${Math.max(4, below ? at.bottom + 6 : at.top - size.height - 6)}px`;
    card.style.left = `${Math.max(4, Math.min(at.left, window.innerWidth - size.width - 8))}px`;
  }

  async function show(over) {
    wanted = over;
    try {
      const answer = await fetch(over.dataset.why, { credentials: "same-origin" });
      if (!answer.ok || wanted !== over) { return; }
      // Our own server's text, already escaped; scripts in it never run.
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (wanted !== over) { return; }
      card.replaceChildren(...document.importNode(fresh.body, true).childNodes);
      card.hidden = false;
      over.setAttribute("aria-describedby", card.id);
      place(over);
    } catch (error) { hide(); }
  }

  function hide() {
    window.clearTimeout(timer);
    wanted?.removeAttribute("aria-describedby");
    wanted = null;
    card.hidden = true;
  }

  const of = (event) => (event.target instanceof Element ? event.target.closest("[data-why]") : null);
  document.addEventListener("pointerover", (event) => {
    const over = of(event);
    if (!over || over === wanted || event.pointerType === "touch") { return; }
    window.clearTimeout(timer);
    timer = window.setTimeout(() => show(over), 250);
  });
  document.addEventListener("pointerout", (event) => {
    const over = of(event);
    if (over && !over.contains(event.relatedTarget)) { hide(); }
  });
  document.addEventListener("focusin", (event) => { const over = of(event); if (over) { show(over); } });
  document.addEventListener("focusout", (event) => { if (of(event)) { hide(); } });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") { hide(); } });
  window.addEventListener("scroll", hide, { passive: true, capture: true });
});
