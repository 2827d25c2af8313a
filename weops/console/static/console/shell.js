// The frame of every page: colours, the sidebar, the user's menu. What is chosen lives in the theme's own state.
(() => {
  const state = (element) => window.Alpine.$data(element);

  document.addEventListener("click", (event) => {
    const look = event.target.closest("[data-look]");
    if (look) state(look).switchTheme(look.dataset.look);
    const toggle = event.target.closest("[data-sidebar]");
    if (toggle) {
      const name = toggle.dataset.sidebar;
      state(toggle)[name] = !state(toggle)[name];
      if (state(toggle)[name]) requestAnimationFrame(() => document.querySelector("#nav-sidebar a")?.focus());
    }
    for (const menu of document.querySelectorAll("details.wo-user[open]")) {
      if (!menu.contains(event.target)) menu.open = false;
    }
  });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of document.querySelectorAll("details.wo-user[open]")) {
      menu.open = false;
      menu.querySelector("summary").focus();
      return;
    }
    if (state(document.body).sidebarMobileOpen) {
      state(document.body).sidebarMobileOpen = false;
      document.querySelector("[data-sidebar=sidebarMobileOpen]")?.focus();
    }
  });
})();
