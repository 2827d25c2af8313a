/* Menus made of <details>: one open at a time, closed by Escape or a click elsewhere. Copy buttons. Lists put in order. */
"use strict";
(() => {
  const menus = () => [...document.querySelectorAll("details[data-menu][open]")];

  // A menu in a table that scrolls would be cut off: it is placed on the screen, under its button.
  function place(menu) {
    const box = menu.querySelector(".wo-menu-box"), button = menu.querySelector("summary").getBoundingClientRect();
    box.style.position = "fixed";
    box.style.top = `${Math.round(button.bottom + 4)}px`;
    box.style.maxHeight = `${Math.max(120, Math.round(window.innerHeight - button.bottom - 16))}px`;
    box.style.left = `${Math.round(Math.max(8, Math.min(button.left, window.innerWidth - box.offsetWidth - 8)))}px`;
  }

  document.addEventListener("toggle", (event) => {
    if (!event.target.matches?.("details[data-menu]") || !event.target.open) { return; }
    menus().filter((menu) => menu !== event.target).forEach((menu) => { menu.open = false; });
    place(event.target);
  }, true);
  document.addEventListener("click", (event) => {
    menus().filter((menu) => !menu.contains(event.target)).forEach((menu) => { menu.open = false; });
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") { return; }
    menus().forEach((menu) => { menu.open = false; menu.querySelector("summary").focus(); });
  });
  window.addEventListener("scroll", (event) => {
    menus().filter((menu) => !menu.contains(event.target)).forEach(place);
  }, { capture: true, passive: true });
  window.addEventListener("resize", () => menus().forEach(place));

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) { return; }
    event.preventDefault();
    const icon = button.querySelector(".wo-icon");
    let done = true;
    try { await navigator.clipboard.writeText(button.dataset.copy); } catch { done = false; }
    icon.textContent = done ? "check" : "close";
    window.setTimeout(() => { icon.textContent = "content_copy"; }, 1200);
  });

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-order] [data-move]");
    if (!button) { return; }
    const item = button.closest("li");
    const other = button.dataset.move === "up" ? item.previousElementSibling : item.nextElementSibling;
    if (!other) { return; }
    if (button.dataset.move === "up") { other.before(item); } else { other.after(item); }
    button.focus();
  });
})();
