"use strict";
(() => {
  const read = (id) => {
    const element = document.getElementById(id);
    return element ? JSON.parse(element.textContent) : null;
  };
  const charts = read("charts");
  const themes = read("themes");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");

  async function draw() {
    const config = dark.matches ? themes.dark : themes.light;
    for (const element of document.querySelectorAll("[data-chart]")) {
      const { spec, renderer } = charts[element.dataset.chart];
      const controls = document.querySelector(`[data-controls="${CSS.escape(element.dataset.chart)}"]`);
      if (controls) controls.replaceChildren();
      try {
        const options = { mode: "vega-lite", actions: false, renderer, config, ...(controls && { bind: controls }) };
        await vegaEmbed(element, spec, options);
      } catch (error) {
        element.textContent = "This chart could not be drawn; its numbers stand in the tables.";
        console.error(element.dataset.chart, error);
      }
    }
    document.documentElement.dataset.drawn = "yes";
  }
  if (charts) {
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
