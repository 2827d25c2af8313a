/* Shows only the fields that the chosen cycle reads; the server judges all of them anyway. */
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const cycle = document.querySelector("select[name=cycle_type]");
  if (!cycle) { return; }
  const read = JSON.parse(document.getElementById("wo-cycle-fields").textContent);
  const governed = ["at", "step", "hours", "weekdays", "month_days", "months", "crontab", "run_at", "window_start", "window_end"];
  const boxes = new Map(governed.map((name) =>
    [name, document.querySelector(`[name=${name}], [name=${name}_0]`)?.closest(".field-line")]).filter(([, box]) => box));

  function show() {
    const wanted = new Set(read[cycle.value] ?? []);
    boxes.forEach((box, name) => box.classList.toggle("wo-hidden", !wanted.has(name) && !box.querySelector(".errorlist")));
    // A row goes when all of its fields have gone.
    new Set([...boxes.values()].map((box) => box.parentElement)).forEach((row) =>
      row.classList.toggle("wo-hidden", [...row.children].every((box) => box.classList.contains("wo-hidden"))));
  }
  cycle.addEventListener("change", show);
  show();

  // Tab indents in the code, Escape then Tab leaves it.
  const code = document.querySelector("textarea[name=code]");
  let leaving = false;
  code?.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { leaving = true; return; }
    if (event.key === "Tab" && !event.shiftKey && !leaving) {
      event.preventDefault();
      code.setRangeText("    ", code.selectionStart, code.selectionEnd, "end");
    }
    leaving = false;
  });
});
