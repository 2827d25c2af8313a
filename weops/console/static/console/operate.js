/* The pages of an operation and of a new backfill plan: previews again when an option changes, fills in values of chosen parameters, adds lines. */
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const form = document.getElementById("wo-operate"), state = document.getElementById("wo-preview-state");
  const PARTS = ["wo-preview", "wo-apply", "wo-candidates", "wo-picks", "wo-parameters", "wo-form-errors"];
  const part = (id) => document.getElementById(id);
  const quick = () => part("wo-preview").dataset.quick === "1";
  let timer = 0, asking = null;

  // Nothing can be applied while the page shows another preview than its options ask for.
  function hold(held) {
    form.classList.toggle("wo-stale", held);
    part("wo-apply").querySelectorAll("[name=apply]").forEach((button) => { button.disabled = held; });
  }

  async function preview() {
    asking?.abort();
    const mine = asking = new AbortController();
    hold(true);
    state.textContent = state.dataset.looking;
    const data = new FormData(form);
    data.delete("token");
    try {
      const answer = await fetch(form.action, { method: "POST", body: data, credentials: "same-origin", signal: mine.signal });
      const text = await answer.text();
      if (!answer.ok) { throw new Error(answer.headers.get("Content-Type")?.startsWith("text/plain") ? text : `HTTP ${answer.status}.`); }
      if (mine === asking) { show(new DOMParser().parseFromString(text, "text/html")); }
    } catch (error) {
      if (error.name !== "AbortError") { state.textContent = `${error.message} ${state.dataset.again}`; }
    }
  }

  function show(fresh) {
    if (!fresh.getElementById("wo-operate")) { window.location.reload(); return; }
    PARTS.forEach((id) => {
      const old = part(id), now = fresh.getElementById(id);
      // A list of ticks stays under the hand that ticks it.
      if (!old || !now || ((id === "wo-candidates" || id === "wo-picks") && old.contains(document.activeElement) && now.childElementCount)) { return; }
      old.replaceWith(document.importNode(now, true));
    });
    state.textContent = "";
    hold(false);
    form.dispatchEvent(new Event("weops:previewed"));
  }

  function changed() {
    hold(true);
    window.clearTimeout(timer);
    // An answer to what was asked before would undo what has just been ticked.
    asking?.abort();
    if (quick()) { timer = window.setTimeout(preview, 400); } else { state.textContent = state.dataset.changed; }
  }

  // The range means something only downstream, the graph to pick from only for what is picked by hand.
  function relate() {
    const scope = form.querySelector("[name=scope]:checked"), range = form.querySelector("[name=range], [name=downstream]");
    const reaches = { downstream: range?.name === "downstream" || (scope && scope.value !== "this") };
    reaches.chosen = reaches.downstream && range?.value === "chosen";
    form.querySelectorAll("[data-needs]").forEach((box) => box.classList.toggle("wo-hidden", !reaches[box.dataset.needs]));
  }

  // A chosen name brings its value of today; the last line grows a new one.
  function fill(name) {
    const option = [...(name.list?.options ?? [])].find((one) => one.value === name.value);
    const value = name.closest(".wo-pair").lastElementChild;
    if (option && !value.value) { value.value = option.dataset.value; }
    const pairs = name.closest("[data-pairs]"), last = pairs.lastElementChild;
    if (last.firstElementChild.value) {
      const line = last.cloneNode(true);
      line.querySelectorAll("input").forEach((field) => { field.value = ""; });
      pairs.append(line);
    }
  }

  form.addEventListener("input", (event) => {
    // What is searched for in the graph is no option.
    if (event.target.id === "wo-reason" || event.target.closest("[data-graph]")) { return; }
    if (event.target.matches("[data-pairs] .wo-pair > :first-child")) { fill(event.target); }
    relate();
    changed();
  });
  form.addEventListener("submit", (event) => {
    window.clearTimeout(timer);
    if (event.submitter?.name === "apply") {
      // Sent once; the record is a page of its own.
      window.setTimeout(() => { event.submitter.disabled = true; });
    } else {
      event.preventDefault();
      preview();
    }
  });
  // Back from the next page, the button works again.
  window.addEventListener("pageshow", (event) => { if (event.persisted) { preview(); } });

  // Whoever listens is told what the page is about, and Enter does nothing yet.
  if (document.activeElement === document.body) { document.querySelector("h2[data-begin]")?.focus({ preventScroll: true }); }
  relate();
  if (part("wo-preview").dataset.done !== "1") { preview(); }
});
