/* Fields that find as one types (weops.console.finding): the names that the browser offers come from the server, a few at a time. */
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("input[data-find]").forEach((field) => {
    let timer = 0, asking = null;
    async function look() {
      asking?.abort();
      const mine = asking = new AbortController();
      try {
        const answer = await fetch(`${field.dataset.find}?${new URLSearchParams({ q: field.value })}`, { credentials: "same-origin", signal: mine.signal });
        if (!answer.ok) { return; }
        const { found } = await answer.json();
        // One whose name is written in full already is no choice any more.
        field.list.replaceChildren(...found.filter((name) => name !== field.value).map((name) => {
          const option = document.createElement("option");
          option.value = name;
          return option;
        }));
      } catch (error) { if (error.name !== "AbortError") { throw error; } }
    }
    field.addEventListener("input", () => {
      window.clearTimeout(timer);
      timer = window.setTimeout(look, 150);
    });
  });
});
