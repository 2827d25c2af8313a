/* The form of an alarm rule: shows the fields that the choices read, and says in a sentence what will be alarmed. */
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const form = document.getElementById("wo-rule"), sentence = document.getElementById("wo-sentence");
  const field = (name) => form.querySelector(`[data-field="${name}"]`);
  const show = (name, wanted) => field(name)?.classList.toggle("wo-hidden", !wanted && !field(name).querySelector(".wo-errors"));
  const LIMITS = ["finish_clock", "finish_zone", "finish_average", "cycle", "run_minutes", "run_average", "wait_minutes", "wait_average", "limits_of"];
  let timer = 0, asking = null;

  function follow() {
    const kinds = new Set([...form.querySelectorAll("[name=kinds]:checked")].map((box) => box.value));
    const kind = form.elements.object_kind.value;
    show("tasks", kind === "task");
    show("workflows", kind === "workflow");
    show("trigger", kinds.has("failure"));
    show("rerun_trigger", kinds.has("rerun_failure"));
    LIMITS.forEach((name) => show(name, kinds.has("overtime")));
    field("finish_clock")?.closest("section").classList.toggle("wo-hidden", !kinds.has("overtime") && !form.querySelector("[data-field=finish_clock] .wo-errors"));
    show("people", form.elements.receivers.value === "people");
    show("notify_minutes", Number(form.elements.notify_count.value) > 1);
    show("escalation_minutes", form.elements.escalation.value.trim() !== "");
  }

  async function say() {
    asking?.abort();
    const mine = asking = new AbortController();
    try {
      const answer = await fetch(sentence.dataset.address, { method: "POST", body: new FormData(form), credentials: "same-origin", signal: mine.signal });
      if (mine === asking && (answer.ok || answer.status === 422)) { sentence.textContent = await answer.text(); }
    } catch (error) {
      if (error.name !== "AbortError") { sentence.textContent = error.message; }
    }
  }

  form.addEventListener("input", () => {
    follow();
    clearTimeout(timer);
    timer = setTimeout(say, 400);
  });
  follow();
});
