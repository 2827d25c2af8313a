/* The overview reads itself again every 5 seconds. */
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  window.weops.repeat(5, async () => {
    const fresh = await window.weops.read(window.location.href);
    if (fresh !== null) { window.weops.exchange(fresh, "wo-overview"); }
  }, () => document.getElementById("wo-overview") !== null);
});
