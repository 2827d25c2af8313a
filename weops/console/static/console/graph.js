/* Draws a graph that the server has laid out (docs/graph-format.md): moving, searching, a card, a menu, opening more of it. */
"use strict";
window.weops = window.weops || {};
window.weops.graph = (() => {
  const SVG = "http://www.w3.org/2000/svg";
  const FAR = 0.4, MOST_ZOOM = 2.5, LEAST_ZOOM = 0.04;

  function draw(name, attributes = {}, text = null) {
    const made = document.createElementNS(SVG, name);
    Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
    if (text !== null) { made.textContent = text; }
    return made;
  }
  function html(name, attributes = {}, text = null) {
    const made = document.createElement(name);
    Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
    if (text !== null) { made.textContent = text; }
    return made;
  }
  const short = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

  class View {
    constructor(root) {
      this.root = root;
      this.text = root.dataset;
      this.frame = root.querySelector("[data-part=view]");
      this.status = root.querySelector("[data-part=status]");
      this.legend = root.querySelector("[data-part=legend]");
      this.search = root.querySelector("[data-part=search]");
      this.card = root.querySelector("[data-part=card]");
      this.menu = root.querySelector("[data-part=menu]");
      this.scale = 1; this.x = 0; this.y = 0;
      this.opened = { up: new Set(), down: new Set() };
      this.selected = null; this.matches = []; this.match = -1; this.pointers = new Map();
      this.listen();
    }

    address() {
      const address = new URL(this.root.dataset.graph, window.location.href);
      this.root.querySelectorAll("select[data-layers]").forEach((select) => address.searchParams.set(select.dataset.layers, select.value));
      ["up", "down"].forEach((way) => {
        if (this.opened[way].size) { address.searchParams.set(`open_${way}`, [...this.opened[way]].join(",")); }
      });
      return address;
    }

    ask() { return fetch(this.address(), { credentials: "same-origin", headers: { Accept: "application/json" } }); }
    summary(graph) { return graph.note || `${graph.nodes.length} ${this.text.textNodes}`; }

    async load(anchor = null) {
      this.root.setAttribute("aria-busy", "true");
      try {
        const answer = await this.ask();
        if (!answer.ok) { throw new Error(`${answer.status}`); }
        const graph = await answer.json(), same = JSON.stringify(graph);
        if (same === this.last) { return; }
        const before = anchor && this.byKey?.get(anchor), first = !this.graph;
        this.last = same;
        this.show(graph);
        const after = before && this.byKey.get(anchor);
        if (after) {
          this.x += (before.x - after.x) * this.scale; this.y += (before.y - after.y) * this.scale; this.move();
        } else if (first) { this.begin(); }
        this.status.textContent = this.summary(graph);
      } catch (error) {
        this.status.textContent = `${this.text.textFailed} (${error.message})`;
        throw error;
      } finally { this.root.removeAttribute("aria-busy"); }
    }

    show(graph) {
      this.graph = graph;
      this.byKey = new Map(graph.nodes.map((node) => [node.key, node]));
      this.after = new Map(); this.before = new Map();
      graph.edges.forEach((edge) => {
        this.after.set(edge.from, [...(this.after.get(edge.from) || []), edge.to]);
        this.before.set(edge.to, [...(this.before.get(edge.to) || []), edge.from]);
      });
      const focused = this.frame.contains(document.activeElement) ? this.selected : null;
      const svg = draw("svg", { role: "group", "aria-label": this.text.textGraph, width: "100%", height: "100%" });
      svg.append(this.arrowheads());
      this.scene = draw("g", { class: "wo-scene" });
      const edges = draw("g", { "aria-hidden": "true" }), nodes = draw("g");
      graph.edges.forEach((edge) => edges.append(this.edge(edge)));
      this.drawn = new Map();
      graph.nodes.forEach((node) => {
        const made = this.node(node);
        this.drawn.set(node.key, made);
        nodes.append(made);
      });
      this.scene.append(edges, nodes);
      svg.append(this.scene);
      this.frame.replaceChildren(svg);
      this.svg = svg;
      this.move();
      this.explain();
      this.find(false);
      this.select(this.byKey.has(this.selected) ? this.selected : graph.focus || graph.nodes[0]?.key, focused !== null);
    }

    arrowheads() {
      const defs = draw("defs");
      ["plain", "open", "met", "removed", "waived", "event"].forEach((state) => {
        const marker = draw("marker", { id: `${this.frame.id}-${state}`, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 9, markerHeight: 9, orient: "auto", markerUnits: "userSpaceOnUse" });
        marker.append(draw("path", { d: "M0,0 L8,4 L0,8 z", class: `wo-arrowhead wo-arrow-${state}` }));
        defs.append(marker);
      });
      return defs;
    }

    edge(edge) {
      const { width, height } = this.graph.node, a = this.byKey.get(edge.from), b = this.byKey.get(edge.to);
      const points = [[a.x + width, a.y + height / 2], ...edge.bends, [b.x, b.y + height / 2]];
      let path = `M${points[0][0]},${points[0][1]}`;
      for (let place = 1; place < points.length; place += 1) {
        const [px, py] = points[place - 1], [qx, qy] = points[place], bow = Math.max(24, Math.abs(qx - px) / 2);
        path += ` C${px + bow},${py} ${qx - bow},${qy} ${qx},${qy}`;
      }
      const made = draw("path", { d: path, class: `wo-arrow wo-arrow-${edge.state}`, "marker-end": `url(#${this.frame.id}-${edge.state})`, "data-from": edge.from, "data-to": edge.to });
      if (edge.title) { made.append(draw("title", {}, edge.title)); }
      return made;
    }

    node(node) {
      const { width, height } = this.graph.node, look = this.graph.states[node.state];
      const made = draw("g", {
        class: `wo-node wo-${look.tone}${node.locked ? " wo-node-locked" : ""}${node.key === this.graph.focus ? " wo-node-focus" : ""}`,
        transform: `translate(${node.x},${node.y})`, "data-key": node.key, tabindex: "-1", role: "button",
        "aria-label": [node.title, node.subtitle, look.text, node.frozen ? this.text.textFrozen : ""].filter(Boolean).join(", "),
      });
      made.append(draw("rect", { width, height, rx: 8, class: "wo-node-box" }));
      made.append(draw("rect", { width: 30, height, rx: 8, class: "wo-node-side" }));
      made.append(draw("text", { x: 15, y: height / 2 + 5, class: "wo-node-mark" }, look.mark));
      made.append(draw("text", { x: 38, y: 19, class: "wo-node-title" }, short(node.title, 22)));
      made.append(draw("text", { x: 38, y: 36, class: "wo-node-sub" }, short((node.frozen ? "❄ " : "") + (node.subtitle || look.text), 28)));
      if (node.more_up) { made.append(this.handle(node, "up", 0, node.more_up)); }
      if (node.more_down) { made.append(this.handle(node, "down", width, node.more_down)); }
      return made;
    }

    handle(node, way, x, count) {
      const made = draw("g", { class: "wo-more", "data-open": way, transform: `translate(${x},0)` });
      const shown = count > 99 ? "99+" : `+${count}`;
      made.append(draw("title", {}, way === "up" ? this.text.textMoreUp : this.text.textMoreDown));
      made.append(draw("rect", { x: -14, y: -9, width: 28, height: 18, rx: 9 }), draw("text", { y: 4 }, shown));
      return made;
    }

    explain() {
      const counts = new Map();
      this.graph.nodes.forEach((node) => counts.set(node.state, (counts.get(node.state) || 0) + 1));
      const items = Object.entries(this.graph.states).map(([state, look]) => {
        const item = html("li", { class: `wo-${look.tone}` });
        item.append(html("b", { "aria-hidden": "true" }, look.mark), ` ${look.text} `, html("span", { class: "wo-dim" }, `${counts.get(state)}`));
        return item;
      });
      new Set(this.graph.edges.map((edge) => edge.state)).forEach((state) => {
        const words = this.text[`text${state[0].toUpperCase()}${state.slice(1)}`];
        if (!words) { return; }
        const line = draw("svg", { width: 30, height: 10, "aria-hidden": "true" }), item = html("li");
        line.append(draw("path", { d: "M1,5 L29,5", class: `wo-arrow wo-arrow-${state}` }));
        item.append(line, ` ${words}`);
        items.push(item);
      });
      this.legend.replaceChildren(...items);
    }

    // Moving about

    move() {
      this.scene.setAttribute("transform", `translate(${this.x},${this.y}) scale(${this.scale})`);
      this.svg.classList.toggle("wo-far", this.scale < FAR);
    }
    zoom(by, x = this.frame.clientWidth / 2, y = this.frame.clientHeight / 2) {
      const scale = Math.min(MOST_ZOOM, Math.max(LEAST_ZOOM, this.scale * by));
      this.x = x - (x - this.x) * scale / this.scale;
      this.y = y - (y - this.y) * scale / this.scale;
      this.scale = scale;
      this.move();
      this.hide();
    }
    fit() {
      const { clientWidth, clientHeight } = this.frame, { width, height } = this.graph;
      this.scale = Math.min(1, Math.max(LEAST_ZOOM, Math.min(clientWidth / width, clientHeight / height)));
      this.x = (clientWidth - width * this.scale) / 2;
      this.y = (clientHeight - height * this.scale) / 2;
      this.move();
      this.hide();
    }
    // As a whole if one can read it so, else around the one that it is about.
    begin() {
      this.fit();
      if (this.scale < 0.55 && this.graph.focus) { this.scale = 0.8; this.centre(this.graph.focus); }
    }
    centre(key) {
      const node = this.byKey.get(key), { width, height } = this.graph.node;
      this.x = this.frame.clientWidth / 2 - (node.x + width / 2) * this.scale;
      this.y = this.frame.clientHeight / 2 - (node.y + height / 2) * this.scale;
      this.move();
    }
    reveal(key) {
      const at = this.drawn.get(key).getBoundingClientRect(), frame = this.frame.getBoundingClientRect();
      if (at.left < frame.left || at.right > frame.right || at.top < frame.top || at.bottom > frame.bottom) { this.centre(key); }
    }

    // Choosing

    select(key, focus = false) {
      if (!key) { return; }
      const old = this.drawn.get(this.selected), now = this.drawn.get(key);
      old?.setAttribute("tabindex", "-1"); old?.classList.remove("wo-node-selected");
      this.scene.querySelectorAll(".wo-arrow-near").forEach((edge) => edge.classList.remove("wo-arrow-near"));
      this.selected = key;
      now.setAttribute("tabindex", "0"); now.classList.add("wo-node-selected");
      this.scene.querySelectorAll(".wo-arrow").forEach((edge) => {
        if (edge.dataset.from === key || edge.dataset.to === key) { edge.classList.add("wo-arrow-near"); }
      });
      if (focus) { now.focus({ preventScroll: true }); }
    }
    step(key) {
      const here = this.byKey.get(this.selected);
      if (key === "ArrowLeft") { return this.before.get(this.selected)?.[0]; }
      if (key === "ArrowRight") { return this.after.get(this.selected)?.[0]; }
      const sign = key === "ArrowDown" ? 1 : -1;
      const near = this.graph.nodes.filter((node) => node.x === here.x && (node.y - here.y) * sign > 0);
      return near.sort((a, b) => (a.y - b.y) * sign)[0]?.key;
    }
    open(way, key) {
      const node = this.byKey.get(key);
      if (!node || node.id === null || !node[`more_${way}`]) { return; }
      this.opened[way].add(node.id);
      this.hide();
      this.load(key).catch(() => {});
    }

    find(go) {
      const wanted = this.search.value.trim().toLowerCase();
      this.svg.classList.toggle("wo-searching", wanted !== "");
      this.matches = wanted ? this.graph.nodes.filter((node) => `${node.title} ${node.subtitle} ${node.id ?? ""}`.toLowerCase().includes(wanted)) : [];
      const found = new Set(this.matches.map((node) => node.key));
      this.drawn.forEach((made, key) => made.classList.toggle("wo-node-found", found.has(key)));
      if (!wanted) { return; }
      this.status.textContent = `${this.matches.length} ${this.text.textFound}`;
      if (go && this.matches.length) {
        this.match = (this.match + 1) % this.matches.length;
        if (this.scale < FAR) { this.scale = 0.9; }
        this.select(this.matches[this.match].key);
        this.centre(this.selected);
      }
    }

    // Card and menu

    place(part, over) {
      part.hidden = false;
      const frame = this.root.getBoundingClientRect(), size = part.getBoundingClientRect();
      const left = Math.min(over.left - frame.left, frame.width - size.width - 6);
      const below = over.bottom + size.height + 8 < window.innerHeight;
      part.style.left = `${Math.max(4, left)}px`;
      part.style.top = `${below ? over.bottom - frame.top + 6 : over.top - frame.top - size.height - 6}px`;
    }
    tell(key) {
      const node = this.byKey.get(key), look = this.graph.states[node.state];
      const facts = html("dl");
      (node.facts || []).forEach(([label, value]) => facts.append(html("dt", {}, label), html("dd", {}, value)));
      const state = html("span", { class: `wo-badge wo-${look.tone}` });
      state.append(html("span", { "aria-hidden": "true" }, look.mark), ` ${look.text}`);
      this.card.replaceChildren(html("b", {}, node.title), state, facts);
      if (node.why_not) { this.card.append(html("p", { class: node.root ? "wo-dim" : "wo-error" }, node.why_not)); }
      this.place(this.card, this.drawn.get(key).getBoundingClientRect());
    }
    offers(node) {
      const fill = (pattern, kind = "") => pattern.replace("{id}", node.id).replace("{kind}", kind);
      const { links, kinds } = this.graph, found = [];
      if (node.address || (links.open && node.id !== null)) { found.push([this.text.textGo, "open_in_new", node.address || fill(links.open)]); }
      if (links.log && node.id !== null) { found.push([this.text.textLog, "article", fill(links.log)]); }
      if (links.centre && node.id !== null && node.key !== this.graph.focus) { found.push([this.text.textCentre, "center_focus_strong", fill(links.centre)]); }
      if (node.more_up) { found.push([this.text.textMoreUp, "arrow_back", () => this.open("up", node.key)]); }
      if (node.more_down) { found.push([this.text.textMoreDown, "arrow_forward", () => this.open("down", node.key)]); }
      (node.operations || []).forEach((kind) => { if (kinds[kind]) { found.push([kinds[kind].title, kinds[kind].icon, fill(links.operate, kind)]); } });
      return found;
    }
    choose(key) {
      const node = this.byKey.get(key);
      this.select(key);
      this.hide();
      const offers = node.locked ? [] : this.offers(node);
      if (!offers.length) { this.tell(key); return; }
      this.menu.setAttribute("aria-label", node.title);
      this.menu.replaceChildren(html("p", { class: "wo-menu-head", role: "presentation" }, node.title), ...offers.map(([title, icon, to]) => {
        const item = typeof to === "string" ? html("a", { href: to }) : html("button", { type: "button" });
        item.setAttribute("role", "menuitem");
        item.setAttribute("tabindex", "-1");
        item.append(html("span", { class: "material-symbols-outlined wo-icon", "aria-hidden": "true" }, icon), title);
        if (typeof to !== "string") { item.addEventListener("click", to); }
        return item;
      }));
      this.place(this.menu, this.drawn.get(key).getBoundingClientRect());
      this.menu.querySelector("[role=menuitem]").focus({ preventScroll: true });
    }
    press(key) { this.choose(key); }
    jump(key) {
      const node = this.byKey.get(key);
      const to = !node.locked && this.offers(node).find(([, , address]) => typeof address === "string");
      if (to) { window.location.assign(to[2]); }
    }
    hide() { this.card.hidden = true; this.menu.hidden = true; }

    // What people do

    listen() {
      const keyOf = (event) => (event.target instanceof Element ? event.target.closest(".wo-node")?.dataset.key : null);
      this.frame.addEventListener("pointerover", (event) => {
        const key = keyOf(event);
        if (key && this.menu.hidden && event.pointerType !== "touch" && !this.dragged) { this.tell(key); }
      });
      // Whatever brought the focus here, what is pressed next is about this node.
      this.frame.addEventListener("focusin", (event) => {
        const key = keyOf(event);
        if (key && key !== this.selected) { this.select(key); }
      });
      this.frame.addEventListener("pointerout", (event) => { if (keyOf(event)) { this.card.hidden = true; } });
      this.frame.addEventListener("contextmenu", (event) => {
        const key = keyOf(event);
        if (key) { event.preventDefault(); this.choose(key); }
      });
      this.frame.addEventListener("dblclick", (event) => {
        const key = keyOf(event);
        if (key) { this.jump(key); }
      });
      this.frame.addEventListener("pointerdown", (event) => {
        if (event.button !== 0) { return; }
        this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
        this.dragged = false; this.pressed = event.target;
      });
      this.frame.addEventListener("pointermove", (event) => this.drag(event));
      ["pointerup", "pointercancel"].forEach((name) => this.frame.addEventListener(name, (event) => this.release(event)));
      this.frame.addEventListener("wheel", (event) => {
        if (!event.ctrlKey && !event.metaKey && this.text.wheel !== "1") { return; }
        event.preventDefault();
        const frame = this.frame.getBoundingClientRect();
        this.zoom(Math.exp(-event.deltaY / 400), event.clientX - frame.left, event.clientY - frame.top);
      }, { passive: false });
      this.frame.addEventListener("keydown", (event) => this.key(event));
      this.menu.addEventListener("keydown", (event) => this.menuKey(event));
      document.addEventListener("pointerdown", (event) => { if (!this.root.contains(event.target)) { this.hide(); } });
      this.search.addEventListener("input", () => { this.match = -1; this.find(false); });
      this.search.addEventListener("keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); this.find(true); } });
      this.root.querySelectorAll("select[data-layers]").forEach((select) => select.addEventListener("change", () => {
        this.opened = { up: new Set(), down: new Set() };
        this.load().then(() => this.begin(), () => {});
      }));
      const act = { in: () => this.zoom(1.25), out: () => this.zoom(0.8), fit: () => this.fit(), svg: () => window.weops.graphExport.svg(this), png: () => window.weops.graphExport.png(this) };
      this.root.querySelectorAll("[data-do]").forEach((button) => button.addEventListener("click", () => { if (this.graph) { act[button.dataset.do](); } }));
    }

    drag(event) {
      const before = this.pointers.get(event.pointerId);
      if (!before) { return; }
      const now = [event.clientX, event.clientY];
      if (this.pointers.size === 2) {
        const [other] = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
        const apart = (at) => Math.hypot(at[0] - other[0], at[1] - other[1]) || 1, frame = this.frame.getBoundingClientRect();
        this.zoom(apart(now) / apart(before), (now[0] + other[0]) / 2 - frame.left, (now[1] + other[1]) / 2 - frame.top);
      } else if (this.dragged || Math.hypot(now[0] - before[0], now[1] - before[1]) > 4) {
        if (!this.dragged) { this.dragged = true; this.frame.setPointerCapture(event.pointerId); this.hide(); }
        this.x += now[0] - before[0]; this.y += now[1] - before[1];
        this.move();
      } else { return; }
      this.pointers.set(event.pointerId, now);
    }
    release(event) {
      if (!this.pointers.delete(event.pointerId) || event.type === "pointercancel") { return; }
      if (this.dragged) { this.dragged = false; return; }
      const key = this.pressed?.closest?.(".wo-node")?.dataset.key, handle = this.pressed?.closest?.("[data-open]");
      if (handle) { this.open(handle.dataset.open, key); } else if (key) { this.press(key); } else { this.hide(); }
    }

    acts() {
      return { "+": () => this.zoom(1.25), "=": () => this.zoom(1.25), "-": () => this.zoom(0.8), 0: () => this.fit(), "/": () => this.search.focus(),
        Enter: () => this.choose(this.selected), " ": () => this.choose(this.selected), ContextMenu: () => this.choose(this.selected), Escape: () => this.hide() };
    }
    key(event) {
      if (!this.graph) { return; }
      const acts = this.acts();
      if (event.key.startsWith("Arrow")) {
        event.preventDefault();
        if (event.shiftKey && ["ArrowLeft", "ArrowRight"].includes(event.key)) { this.open(event.key === "ArrowLeft" ? "up" : "down", this.selected); return; }
        const to = this.step(event.key);
        if (to) { this.hide(); this.select(to, true); this.reveal(to); this.tell(to); }
      } else if (acts[event.key] && !event.ctrlKey && !event.metaKey) { event.preventDefault(); acts[event.key](); }
    }
    menuKey(event) {
      const items = [...this.menu.querySelectorAll("[role=menuitem]")], at = items.indexOf(document.activeElement);
      if (event.key === "Escape" || event.key === "Tab") { event.preventDefault(); this.hide(); this.drawn.get(this.selected)?.focus({ preventScroll: true }); }
      if (event.key === "ArrowDown") { event.preventDefault(); items[(at + 1) % items.length].focus(); }
      if (event.key === "ArrowUp") { event.preventDefault(); items[(at + items.length - 1) % items.length].focus(); }
    }
  }

  function begin(root) {
    const Kind = root.closest("[data-picker]") ? window.weops.Picker : View;
    const view = new Kind(root);
    root.wegraph = view;
    const near = new IntersectionObserver((seen) => {
      if (!seen.some((one) => one.isIntersecting)) { return; }
      near.disconnect();
      view.load().catch(() => {});
      if (root.dataset.live === "1") { window.weops.repeat(4, () => view.load(view.selected), () => root.offsetParent !== null && view.menu.hidden && view.pointers.size === 0); }
    });
    near.observe(root);
  }
  const all = (within) => within.querySelectorAll("[data-graph]").forEach(begin);
  document.addEventListener("DOMContentLoaded", () => all(document));
  // A part of the page that came later.
  document.addEventListener("weops:loaded", (event) => all(event.target));
  return { View, draw };
})();
