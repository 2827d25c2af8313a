/* Tabs that have addresses (links with data-tab in #wo-tabs, panels with data-panel): shown without leaving the page, read by
   htmx when they are first opened. Without this script each is a page of its own. */
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const list = document.getElementById("wo-tabs");
  if (!list) { return; }
  const tabs = [...list.querySelectorAll("[data-tab]")], panel = (name) => document.querySelector(`[data-panel="${name}"]`);
  const first = tabs[0].dataset.tab, named = () => new URL(window.location.href).searchParams.get("tab");
  const now = () => (tabs.some((tab) => tab.dataset.tab === named()) ? named() : first);

  list.setAttribute("role", "tablist");
  tabs.forEach((tab) => {
    const box = panel(tab.dataset.tab);
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-controls", box.id);
    box.setAttribute("role", "tabpanel");
    box.setAttribute("aria-labelledby", tab.id);
  });

  function mark() {
    tabs.forEach((tab) => {
      const shown = tab.dataset.tab === now();
      tab.setAttribute("aria-selected", shown);
      tab.removeAttribute("aria-current");
      tab.tabIndex = shown ? 0 : -1;
      panel(tab.dataset.tab).classList.toggle("wo-hidden", !shown);
    });
  }
  function open() {
    mark();
    const box = panel(now());
    if (box.dataset.loaded !== "1") { box.setAttribute("aria-busy", "true"); window.htmx.trigger(box, "weops:open"); }
  }

  list.addEventListener("click", (event) => {
    const tab = event.target.closest("[data-tab]");
    if (!tab || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) { return; }
    event.preventDefault();
    if (tab.dataset.tab === now()) { return; }
    const address = new URL(window.location.href);
    address.searchParams.set("tab", tab.dataset.tab);
    address.hash = "";
    window.history.pushState(null, "", address);
    open();
  });
  list.addEventListener("keydown", (event) => {
    const at = tabs.indexOf(document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (at >= 0 && to !== undefined) { event.preventDefault(); tabs[(to + tabs.length) % tabs.length].focus(); }
    if (at >= 0 && event.key === " ") { event.preventDefault(); tabs[at].click(); }
  });
  window.addEventListener("popstate", open);
  document.body.addEventListener("htmx:afterSettle", (event) => {
    const box = event.target;
    if (!box.matches?.("[data-panel]")) { return; }
    box.dataset.loaded = "1";
    box.removeAttribute("aria-busy");
    box.dispatchEvent(new Event("weops:loaded", { bubbles: true }));
  });
  document.body.addEventListener("htmx:responseError", (event) => {
    // What cannot be read in its place says so on a page of its own.
    if (event.target.matches?.("[data-panel]")) { window.location.reload(); }
  });
  mark();
});
