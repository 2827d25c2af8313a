/* A graph to pick from (console/graph_picker.html). The ticks of the form are what is picked; the graph shows them and sets them. */
"use strict";
window.weops.Picker = class extends window.weops.graph.View {
  constructor(root) {
    super(root);
    this.box = root.closest("[data-picker]");
    this.words = this.box.dataset;
    this.form = root.closest("form");
    this.count = this.box.querySelector("[data-part=count]");
    root.dataset.textGraph = this.words.textGraph;
    this.form.addEventListener("change", (event) => {
      if (event.target.name === "chosen") { this.sync(); }
      // What follows other tasks is another graph.
      if (event.target.name === "tasks" && this.graph) { this.load().catch(() => {}); }
    });
    this.form.addEventListener("weops:previewed", () => { if (this.graph) { this.sync(); } });
    const act = {
      branch: () => this.branch(this.selected, true),
      shown: () => this.pick(this.graph.nodes, true),
      none: () => this.clear(),
    };
    this.box.querySelectorAll("[data-pick]").forEach((button) => button.addEventListener("click", () => { if (this.graph) { act[button.dataset.pick](); } }));
    this.sync();
  }

  // The form

  ticks() { return [...this.form.querySelectorAll("[name=chosen]")]; }
  pick(nodes, on) {
    const ticks = new Map(this.ticks().map((tick) => [tick.value, tick]));
    nodes.filter((node) => node.pick).forEach((node) => {
      const tick = ticks.get(`${node.id}`) || (on ? this.tick(node) : null);
      if (tick) { tick.checked = on; }
    });
    this.changed();
  }
  clear() {
    this.ticks().forEach((tick) => { tick.checked = false; });
    this.changed();
  }
  changed() {
    this.sync();
    this.form.querySelector("[data-picks]").dispatchEvent(new Event("input", { bubbles: true }));
  }
  // One that the list does not offer gets a line of its own there.
  tick(node) {
    const picks = this.form.querySelector("[data-picks]"), line = document.createElement("label"), tick = document.createElement("input");
    const list = picks.querySelector(".wo-pick") || picks.appendChild(document.createElement("div"));
    list.classList.add("wo-pick");
    line.className = "wo-tick";
    Object.assign(tick, { type: "checkbox", name: "chosen", value: node.id });
    const name = document.createElement("span"), rest = document.createElement("span");
    rest.className = "wo-dim";
    rest.textContent = node.subtitle;
    name.append(node.title, " ", rest);
    line.append(tick, name);
    list.append(line);
    return tick;
  }
  sync() {
    const picked = new Set(this.ticks().filter((tick) => tick.checked).map((tick) => tick.value));
    this.count.textContent = `${picked.size} ${this.words.textPicked}`;
    this.drawn?.forEach((made, key) => {
      const node = this.byKey.get(key), on = picked.has(`${node.id}`);
      made.classList.toggle("wo-node-picked", on);
      if (node.pick) { made.setAttribute("aria-checked", on); }
    });
  }

  // The graph

  ask() {
    const data = new FormData(this.form), { down, branches = new Set() } = this.opened;
    data.set("down", this.root.querySelector("select[data-layers=down]").value);
    data.set("open_down", [...down].join(","));
    data.set("branches", [...branches].join(","));
    return fetch(this.root.dataset.graph, { method: "POST", body: data, credentials: "same-origin", headers: { Accept: "application/json" } });
  }
  summary(graph) {
    return graph.nodes.some((node) => !node.root) ? super.summary(graph) : this.words.textNone;
  }
  show(graph) {
    super.show(graph);
    this.sync();
  }
  node(node) {
    const made = super.node(node), { width, height } = this.graph.node;
    made.classList.toggle("wo-node-root", Boolean(node.root));
    if (node.pick) {
      const box = window.weops.graph.draw("g", { class: "wo-node-tick", transform: `translate(${width - 23},${height - 22})`, "aria-hidden": "true" });
      box.append(window.weops.graph.draw("rect", { width: 16, height: 16, rx: 4 }), window.weops.graph.draw("path", { d: "M3.5,8.5 L6.8,11.5 L12.5,4.8" }));
      made.append(box);
      made.setAttribute("role", "checkbox");
    } else {
      made.setAttribute("aria-disabled", "true");
      made.setAttribute("aria-label", `${made.getAttribute("aria-label")}. ${node.why_not}`);
      if (!node.root) { made.classList.add("wo-node-locked"); }
    }
    return made;
  }
  below(key) {
    const found = new Set([key]);
    found.forEach((one) => (this.after.get(one) || []).forEach((next) => found.add(next)));
    return [...found].map((one) => this.byKey.get(one));
  }
  async branch(key, on) {
    const node = this.byKey.get(key);
    if (!node) { return; }
    this.hide();
    this.opened.branches = (this.opened.branches || new Set()).add(node.id);
    try { await this.load(key); } catch (error) { return; }
    this.pick(this.below(key), on);
  }
  toggle(key) {
    const node = this.byKey.get(key);
    if (!node?.pick) { this.tell(key); return; }
    this.pick([node], !this.drawn.get(key).classList.contains("wo-node-picked"));
  }
  press(key) {
    this.hide();
    this.select(key, true);
    this.toggle(key);
  }
  jump() { /* the page stays: what is filled in would be lost */ }
  acts() {
    return { ...super.acts(), " ": () => this.toggle(this.selected), b: () => this.branch(this.selected, true), B: () => this.branch(this.selected, true) };
  }
  offers(node) {
    const found = [], address = this.graph.links.open?.replace("{id}", node.id), on = this.drawn.get(node.key).classList.contains("wo-node-picked");
    const again = (work) => () => { this.hide(); work(); this.drawn.get(node.key)?.focus({ preventScroll: true }); };
    if (node.pick) { found.push([on ? this.words.textExclude : this.words.textInclude, on ? "check_box_outline_blank" : "check_box", again(() => this.toggle(node.key))]); }
    found.push([this.words.textBranch, "account_tree", again(() => this.branch(node.key, true))]);
    found.push([this.words.textUnbranch, "remove_done", again(() => this.branch(node.key, false))]);
    if (node.more_down) { found.push([this.text.textMoreDown, "arrow_forward", () => this.open("down", node.key)]); }
    if (address) { found.push([this.text.textGo, "open_in_new", again(() => window.open(address, "_blank", "noopener"))]); }
    return found;
  }
};
