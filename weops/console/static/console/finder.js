/* Fields that find as one types (weops.console.finding): the names that the browser offers come from the server, a few at a time.
   Who types a part of a name that only one has, and presses Enter, means that one. */
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const fields = [...document.querySelectorAll("input[data-find]")];

  async function names(field, signal) {
    const answer = await fetch(`${field.dataset.find}?${new URLSearchParams({ q: field.value })}`, { credentials: "same-origin", signal });
    return answer.ok ? (await answer.json()).found : [];
  }

  fields.forEach((field) => {
    let timer = 0, asking = null;
    async function look() {
      asking?.abort();
      const mine = asking = new AbortController();
      try {
        const found = await names(field, mine.signal);
        // One whose name is written in full already is no choice any more.
        field.list.replaceChildren(...found.filter((name) => name !== field.value).map((name) => {
          const option = document.createElement("option");
          option.value = name;
          return option;
        }));
      } catch (error) { if (error.name !== "AbortError") { throw error; } }
    }
    field.addEventListener("input", () => {
      field.dataset.typed = "1";
      window.clearTimeout(timer);
      timer = window.setTimeout(look, 150);
    });
  });

  async function complete(field) {
    const found = await names(field).catch(() => []);
    if (found.length === 1) { field.value = found[0]; }
    delete field.dataset.typed;
  }

  new Set(fields.map((field) => field.form)).forEach((form) => form?.addEventListener("submit", async (event) => {
    const typed = fields.filter((field) => field.form === form && field.dataset.typed && field.value.trim());
    if (!typed.length) { return; }
    event.preventDefault();
    await Promise.all(typed.map(complete));
    form.requestSubmit(event.submitter);
  }));
});
