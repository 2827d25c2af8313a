/* Shows only the fields that the chosen cycle and task type read; the server judges all of them anyway. */
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const told = (id) => JSON.parse(document.getElementById(id).textContent);

  // `read`: {choice: names of the fields that it reads}; `governed`: all fields that come and go with the choice.
  function follow(chooser, read, governed) {
    if (!chooser) { return; }
    const boxes = new Map(governed.map((name) =>
      [name, document.querySelector(`[name="${name}"], [name="${name}_0"]`)?.closest(".field-line")]).filter(([, box]) => box));
    function show() {
      const wanted = new Set(read[chooser.value] ?? []);
      boxes.forEach((box, name) => box.classList.toggle("wo-hidden", !wanted.has(name) && !box.querySelector(".errorlist")));
      // A row goes when all of its fields have gone.
      new Set([...boxes.values()].map((box) => box.parentElement)).forEach((row) =>
        row.classList.toggle("wo-hidden", [...row.children].every((box) => box.classList.contains("wo-hidden"))));
    }
    chooser.addEventListener("change", show);
    show();
  }
  follow(document.querySelector("select[name=cycle_type]"), told("wo-cycle-fields"),
    ["at", "step", "hours", "weekdays", "month_days", "months", "crontab", "run_at", "window_start", "window_end"]);
  const type = document.querySelector("select[name=task_type]");
  const ofTypes = told("wo-type-fields");
  follow(type, ofTypes, [...new Set(Object.values(ofTypes).flat())]);
  // The icon of the chosen type, as lists show it.
  const icons = told("wo-type-icons");
  const icon = document.createElement("span");
  icon.className = "material-symbols-outlined wo-icon wo-type-icon";
  icon.setAttribute("aria-hidden", "true");
  type?.closest(".field-line, .form-row")?.querySelector("label")?.append(" ", icon);
  const draw = () => { icon.textContent = icons[type?.value] ?? ""; };
  type?.addEventListener("change", draw);
  draw();

  // What the code is, and its colours.
  const codes = told("wo-type-codes");
  const languages = told("wo-type-languages");
  const code = document.querySelector("textarea[name=code]");
  const line = document.createElement("p");
  line.className = "wo-dim";
  code?.before(line);
  const say = () => {
    line.textContent = codes[type?.value] ?? "";
    if (code) {
      code.dataset.language = languages[type?.value] ?? "";
      code.dispatchEvent(new Event("wo:language"));
    }
  };
  type?.addEventListener("change", say);
  say();
});
