// What the networks say: a tile for each, and a bar for each class.

const MOST_ROWS = 12;

const percent = (share) => `${(100 * share).toFixed(share > 0.0995 ? 0 : 1)}\u00a0%`;
const change = (before, after) => {
  const value = Math.round((100 * (after - before)) / before);
  return `${value < 0 ? "−" : "+"}${Math.abs(value)}\u00a0%`;
};
const size = (bytes) => {
  const digits = bytes < 100e3 ? 1 : 0;
  return bytes < 1e6 ? `${(bytes / 1e3).toFixed(digits)}\u00a0kB` : `${(bytes / 1e6).toFixed(2)}\u00a0MB`;
};

export const spelled = (label) => label.replaceAll("_", " ");

export function highest(posteriors) {
  let best = 0;
  for (let i = 1; i < posteriors.length; i++) if (posteriors[i] > posteriors[best]) best = i;
  return best;
}

/** One sentence for screen readers, such as “dog 93 % (unpruned), dog 90 % (pruned)”. */
export function inWords(model, posteriors, { numbers = true } = {}) {
  const said = posteriors.map((one, which) => {
    const best = highest(one);
    const name = model.models.length > 1 ? ` (${model.models[which].name})` : "";
    return spelled(model.labels[best]) + (numbers ? ` ${percent(one[best])}` : "") + name;
  });
  return said.join(", ");
}

function add(parent, tag, className = "", text = "") {
  const child = document.createElement(tag);
  child.className = className;
  child.textContent = text;
  parent.append(child);
  return child;
}

export class Tiles {
  constructor(list, model) {
    this.model = model;
    this.times = [];
    // Sizes are compared as they are for every network: alone, or with the front end where one comes in no other way.
    this.alone = model.models.every((one) => one.network_size_bytes);
    this.tiles = model.models.map((one) => {
      const tile = add(list, "div", "tile");
      const name = add(tile, "dt");
      add(name, "span", "swatch").ariaHidden = "true";
      name.append(one.name);
      const content = add(tile, "dd");
      const found = {
        value: add(content, "div", "value", "–"),
        sure: add(content, "div", "sure", " "),
        cost: add(content, "div", "cost"),
        change: add(content, "div", "change"),
      };
      if (this.alone) add(content, "div", "detail", `${size(one.size_bytes)} with the front end inside`);
      return found;
    });
    this.showCosts();
  }

  answer(posteriors) {
    for (const [which, { value, sure }] of this.tiles.entries()) {
      const best = highest(posteriors[which]);
      value.textContent = spelled(this.model.labels[best]);
      value.dataset.label = this.model.labels[best];
      sure.textContent = percent(posteriors[which][best]);
    }
  }

  clear() {
    for (const { value, sure } of this.tiles) {
      value.textContent = "–";
      delete value.dataset.label;
      sure.textContent = " ";
    }
  }

  time(which, ms) {
    this.times[which] = ms;
    this.showCosts();
  }

  showCosts() {
    const sizes = this.model.models.map((one) => (this.alone ? one.network_size_bytes : one.size_bytes));
    for (const [which, { cost, change: less }] of this.tiles.entries()) {
      const ms = this.times[which];
      const time = ms === undefined ? "" : ` · ${ms.toPrecision(2)}\u00a0ms for a clip of ${this.model.duration_s}\u00a0s`;
      cost.textContent = size(sizes[which]) + time;
      if (which === 0) continue;
      const faster = ms === undefined || !this.times[0] ? "" : `, ${change(this.times[0], ms)} time`;
      less.textContent = `${change(sizes[0], sizes[which])} size${faster}`;
    }
  }
}

export class Bars {
  constructor(table, model) {
    this.model = model;
    this.table = table;
    this.rows = model.labels.slice(0, MOST_ROWS).map((label) => {
      const row = add(table.tBodies[0], "tr");
      const name = add(row, "th", "", spelled(label));
      name.scope = "row";
      const cell = add(row, "td");
      const bars = model.models.map((one) => {
        const line = add(cell, "div", "line");
        line.title = one.name;
        const fill = add(add(line, "span", "track"), "span", "fill");
        return { fill, number: add(line, "span", "number") };
      });
      return { row, name, bars };
    });
    this.clear();
    table.hidden = false;
  }

  /** All classes in their own order; of more than twelve, those that are heard most. */
  answer(posteriors) {
    let shown = this.model.labels.map((_, index) => index);
    if (shown.length > MOST_ROWS) {
      const heard = (index) => posteriors.reduce((sum, one) => sum + one[index], 0);
      shown = shown.sort((a, b) => heard(b) - heard(a)).slice(0, MOST_ROWS);
    }
    const best = highest(posteriors[posteriors.length - 1]);
    for (const [place, index] of shown.entries()) {
      const { row, name, bars } = this.rows[place];
      name.textContent = spelled(this.model.labels[index]);
      row.classList.toggle("best", index === best);
      for (const [which, bar] of bars.entries()) this.set(bar, posteriors[which][index]);
    }
  }

  clear() {
    for (const { row, bars } of this.rows) {
      row.classList.remove("best");
      for (const bar of bars) this.set(bar, 0, "");
    }
  }

  set({ fill, number }, share, text = percent(share)) {
    fill.style.width = `${100 * share}%`;
    fill.dataset.posterior = share;
    number.textContent = text;
  }
}
