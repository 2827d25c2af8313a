/* A graph as a file: SVG that stands alone, or PNG made of it. Colours are those that the page shows. */
"use strict";
window.weops = window.weops || {};
window.weops.graphExport = (() => {
  const KEPT = ["fill", "stroke", "stroke-width", "stroke-dasharray", "font-size", "font-family", "font-weight", "text-anchor", "opacity"];
  const MOST_PIXELS = 8000;

  function standing(view) {
    const svg = view.svg.cloneNode(true), { width, height } = view.graph;
    view.svg.classList.remove("wo-far", "wo-searching");
    const from = [...view.svg.querySelectorAll("*")], to = [...svg.querySelectorAll("*")];
    from.forEach((element, place) => {
      const style = window.getComputedStyle(element);
      KEPT.forEach((name) => { const value = style.getPropertyValue(name); if (value && value !== "none 0s") { to[place].setAttribute(name, value); } });
      ["class", "tabindex", "role"].forEach((name) => to[place].removeAttribute(name));
    });
    view.move();
    view.find(false);
    svg.querySelector("g").removeAttribute("transform");
    Object.entries({ xmlns: "http://www.w3.org/2000/svg", width, height, viewBox: `0 0 ${width} ${height}` }).forEach(([name, value]) => svg.setAttribute(name, value));
    const ground = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    Object.entries({ width, height, fill: window.getComputedStyle(view.frame).backgroundColor }).forEach(([name, value]) => ground.setAttribute(name, value));
    svg.prepend(ground);
    return new XMLSerializer().serializeToString(svg);
  }

  function save(view, blob, ending) {
    const link = document.createElement("a"), address = URL.createObjectURL(blob);
    link.href = address;
    link.download = `${view.root.dataset.file || "graph"}.${ending}`;
    document.body.append(link);
    link.click();
    link.remove();
    window.setTimeout(() => URL.revokeObjectURL(address), 10_000);
  }

  return {
    svg(view) { save(view, new Blob([standing(view)], { type: "image/svg+xml" }), "svg"); },
    png(view) {
      const image = new Image(), { width, height } = view.graph;
      const scale = Math.min(2, MOST_PIXELS / Math.max(width, height));
      image.addEventListener("load", () => {
        const canvas = document.createElement("canvas");
        canvas.width = Math.round(width * scale); canvas.height = Math.round(height * scale);
        canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
        canvas.toBlob((blob) => save(view, blob, "png"), "image/png");
      });
      image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(standing(view))}`;
    },
  };
})();
