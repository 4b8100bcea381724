"use strict";
(() => {
  const read = (id) => {
    const element = document.getElementById(id);
    return element ? JSON.parse(element.textContent) : null;
  };
  const charts = read("charts");
  const themes = read("themes");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");

  // Data sets that several charts share come as columns; rows are made of them once.
  const datasets = {};
  for (const [name, columns] of Object.entries(read("datasets") ?? {})) {
    const keys = Object.keys(columns);
    datasets[name] = (columns[keys[0]] ?? []).map((_, row) => Object.fromEntries(keys.map((key) => [key, columns[key][row]])));
  }
  window.coppice = { charts, themes, datasets };

  async function drawOne(element) {
    const config = dark.matches ? themes.dark : themes.light;
    const { spec, renderer } = charts[element.dataset.chart];
    const controls = document.querySelector(`[data-controls="${CSS.escape(element.dataset.chart)}"]`);
    if (controls) controls.replaceChildren();
    element.setAttribute("aria-label", spec.description);
    try {
      const options = { mode: "vega-lite", actions: false, renderer, config, ...(controls && { bind: controls }) };
      const drawn = await vegaEmbed(element, { ...spec, datasets }, options);
      element.view = drawn.view;
      element.dispatchEvent(new Event("drawn"));
    } catch (error) {
      element.textContent = "This chart could not be drawn; its numbers stand in the tables.";
      console.error(element.dataset.chart, error);
    }
  }
  async function draw() {
    for (const element of document.querySelectorAll("[data-chart]")) await drawOne(element);
    document.documentElement.dataset.drawn = "yes";
  }
  if (charts) {
    for (const element of document.querySelectorAll("[data-chart]")) element.addEventListener("redraw", () => drawOne(element));
    draw();
    dark.addEventListener("change", draw);
  }

  const copy = document.getElementById("copy");
  if (copy && navigator.clipboard) {
    copy.hidden = false;
    copy.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(document.getElementById("recipe-text").textContent);
        copy.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(document.getElementById("recipe-text"));
        copy.textContent = "Selected";
      }
      setTimeout(() => { copy.textContent = "Copy"; }, 2000);
    });
  }
})();
