/* An editor with colours (Ace) in the place of each textarea[data-editor], which stays the field that is sent.
   data-language: bash, python, sql, json or empty; after it changes, the textarea is told by the event "wo:language". */
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  if (!window.ace) { return; }
  const MODES = { bash: "sh", python: "python", sql: "sql", json: "json" };
  // The style sheets are linked; nothing is made from blobs or strings.
  ace.config.set("useStrictCSP", true);
  ace.config.set("loadWorkerFromBlob", false);
  const isDark = () => document.documentElement.classList.contains("dark");

  function edit(area) {
    const words = area.dataset;
    const wrong = area.closest(".field-line, .form-row, .wo-field")?.querySelectorAll(".errorlist li") ?? [];
    const frame = document.createElement("div");
    const place = document.createElement("div");
    const bar = document.createElement("div");
    const hint = document.createElement("span");
    const status = document.createElement("span");
    frame.className = "wo-editor";
    bar.className = "wo-editor-bar";
    hint.id = `${area.id}_editor_hint`;
    hint.textContent = words.wHint;
    status.setAttribute("role", "status");
    bar.append(hint, status);
    frame.append(place, bar);
    area.after(frame);
    area.classList.add("wo-hidden");

    const editor = ace.edit(place, {
      value: area.value, minLines: 12, maxLines: 36, useSoftTabs: true, tabSize: 4, showPrintMargin: false, useWorker: false,
      wrap: false, textInputAriaLabel: words.wLabel, fontSize: "inherit", scrollPastEnd: 0,
    });
    // A draft must not be undone into an empty editor.
    editor.session.getUndoManager().reset();
    const paint = () => editor.setTheme(isDark() ? "ace/theme/github_dark" : "ace/theme/github_light_default");
    paint();
    new MutationObserver(paint).observe(document.documentElement, { attributes: true, attributeFilter: ["class"] });

    const speak = () => editor.session.setMode(`ace/mode/${MODES[words.language] ?? "text"}`);
    speak();
    area.addEventListener("wo:language", speak);

    editor.session.on("change", () => {
      area.value = editor.getValue();
      area.dispatchEvent(new Event("input", { bubbles: true }));
      area.dispatchEvent(new Event("change", { bubbles: true }));
    });
    area.form?.addEventListener("reset", () => setTimeout(() => editor.setValue(area.value, -1)));

    // What the server said of a line stands at the line, too.
    editor.session.setAnnotations([...wrong].map((item) => item.textContent.trim()).flatMap((text) => {
      const line = /\bline (\d+)/.exec(text);
      return line ? [{ row: Math.min(Number(line[1]), editor.session.getLength()) - 1, column: 0, text, type: "error" }] : [];
    }));
    frame.parentElement.classList.toggle("wo-code-wrong", wrong.length > 0);

    editor.textInput.setAriaOptions({ setLabel: true });
    const input = editor.textInput.getElement();
    input.setAttribute("aria-describedby", [hint.id, area.getAttribute("aria-describedby")].filter(Boolean).join(" "));
    document.querySelector(`label[for="${area.id}"]`)?.addEventListener("click", (event) => { event.preventDefault(); editor.focus(); });

    // #code-7 leads to a line of the code. The form would be sent to the same place, and come back below what it answers.
    const wanted = area.name === "code" && /^#code(?:-(\d{1,6}))?$/.exec(window.location.hash);
    if (wanted) {
      window.history.replaceState(null, "", window.location.pathname + window.location.search);
      editor.gotoLine(Number(wanted[1] ?? 1), 0, false);
      // Other scripts still hide fields above it.
      window.addEventListener("load", () => { editor.focus(); frame.scrollIntoView({ block: "center" }); });
    }

    // Tab indents; after Escape the next Tab moves on, so that nobody is caught.
    let leaving = false;
    function leave(now) {
      leaving = now;
      editor.commands.bindKey("Tab", now ? null : "indent");
      editor.commands.bindKey("Shift-Tab", now ? null : "outdent");
      status.textContent = now ? words.wLeaving : "";
    }
    editor.commands.addCommand({ name: "leave", bindKey: "Esc", exec: () => leave(true), readOnly: true });
    editor.commands.on("afterExec", (event) => { if (leaving && event.command.name !== "leave") { leave(false); } });
    editor.on("blur", () => leave(false));
  }

  document.querySelectorAll("textarea[data-editor]").forEach(edit);
});
