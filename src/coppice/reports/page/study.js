"use strict";
(() => {
  const study = JSON.parse(document.getElementById("study").textContent);
  const { charts, themes, datasets } = window.coppice;
  const points = datasets.points;

  // --- Files -----------------------------------------------------------------------------------------------------------
  function save(content, type, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([content], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }
  async function saveSvg(name) {
    const stage = document.createElement("div");
    const spec = { ...charts[name].spec, width: 520, datasets };
    const drawn = await vegaEmbed(stage, spec, { mode: "vega-lite", actions: false, renderer: "svg", config: themes.light });
    save(await drawn.view.toSVG(), "image/svg+xml", `${name}.svg`);
    drawn.finalize();
  }
  async function savePdf(name) {
    const packed = Uint8Array.from(atob(study.pdfs[name]), (letter) => letter.charCodeAt(0));
    const whole = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    save(await new Response(whole).arrayBuffer(), "application/pdf", `${name}.pdf`);
  }

  // --- Choices: which chart and which table of a group are shown ---------------------------------------------------------
  for (const box of document.querySelectorAll("[data-chooser]")) {
    const group = box.dataset.chooser;
    const figures = study.choosers[group];
    const element = document.querySelector(`[data-of="${group}"]`);
    const downloads = document.querySelector(`[data-downloads="${group}"]`);
    const inputs = [...box.querySelectorAll("[data-number]")];
    const lists = document.querySelectorAll(`[data-list="${group}"]`);
    let place = Object.keys(figures)[0].split(",").map(Number);

    function mark() {
      for (const input of inputs) {
        const value = String(place[Number(input.dataset.number)]);
        if (input.type === "radio") input.checked = input.value === value;
        else input.value = value;
      }
      for (const list of lists) list.hidden = list.dataset.key !== place.join(",");
      const pdf = Boolean(study.pdfs[element.dataset.chart]) && "DecompressionStream" in window;
      downloads.querySelector('[data-format="pdf"]').hidden = !pdf;
      downloads.querySelector("[data-no-pdf]").hidden = pdf;
    }
    box.addEventListener("change", (event) => {
      const number = Number(event.target.dataset.number);
      const wanted = place.map((value, index) => (index === number ? Number(event.target.value) : value));
      // Some choices exclude each other: keep what was chosen last, and as much of the rest as goes with it.
      const same = (key) => key.split(",").filter((value, index) => Number(value) === wanted[index]).length;
      const fitting = Object.keys(figures).filter((key) => Number(key.split(",")[number]) === wanted[number]);
      place = fitting.reduce((best, key) => (same(key) > same(best) ? key : best)).split(",").map(Number);
      element.dataset.chart = figures[place.join(",")];
      mark();
      element.dispatchEvent(new Event("redraw"));
    });
    function listen() {
      element.view.addEventListener("click", (_, item) => {
        if (item?.datum?.point && !item.datum.unpruned) open(item.datum.point);
      });
    }
    if (element.view) listen(); // it may have been drawn before this script ran
    element.addEventListener("drawn", listen);
    downloads.addEventListener("click", (event) => {
      if (event.target.dataset.format === "svg") saveSvg(element.dataset.chart);
      if (event.target.dataset.format === "pdf") savePdf(element.dataset.chart);
    });
    downloads.hidden = false;
    box.hidden = !inputs.length;
    mark();
  }

  // --- The table -----------------------------------------------------------------------------------------------------------
  function parsed(text) { // RFC 4180
    const rows = [];
    let row = [], cell = "", quoted = false, at = 0;
    const special = /[",\r\n]/g;
    while (at < text.length) {
      if (quoted) {
        const end = text.indexOf('"', at);
        cell += text.slice(at, end);
        if (text[end + 1] === '"') { cell += '"'; at = end + 2; } else { quoted = false; at = end + 1; }
        continue;
      }
      special.lastIndex = at;
      const found = special.exec(text);
      const end = found ? found.index : text.length;
      cell += text.slice(at, end);
      at = end + 1;
      const sign = found ? found[0] : "\n";
      if (sign === '"') { quoted = true; continue; }
      if (sign === "\r" && text[at] === "\n") at += 1;
      row.push(cell);
      cell = "";
      if (sign !== ",") { if (row.length > 1 || row[0]) rows.push(row); row = []; }
    }
    if (row.length || cell) rows.push([...row, cell]);
    return rows;
  }
  const DASH = "–";
  const grouped = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
  const known = (value) => value !== null && value !== "" && value !== undefined;
  function signed(value, digits) {
    const text = Math.abs(value).toFixed(digits);
    return Number(text) === 0 ? text : (value < 0 ? "−" : "+") + text;
  }
  const write = {
    percent: (value) => `${(100 * value).toFixed(1)} %`,
    loss: (value) => Number(value).toFixed(3),
    points: (value) => signed(100 * value, 1),
    signed: (value) => signed(value, 3),
    count: (value) => grouped.format(value),
    short: (value) => Number(Number(value).toPrecision(3)).toString(),
  };
  const MEASURES = [
    ["accuracy", "Test accuracy", "percent"], ["accuracy_change", "Change (points)", "points"],
    ["macro_accuracy", "Macro accuracy", "percent"], ["log_loss", "Log-loss", "loss"],
    ["log_loss_change", "Change", "signed"], ["params_total", "Parameters", "count"], ["macs", "MACs", "count"],
    ["size_bytes", "Bytes", "count"], ["latency_ms_p50", "Latency p50, ms", "short"], ["energy_kwh", "Energy, kWh", "short"],
    ["seconds", "Seconds", "short"], ["ranking_ms", "Ranking, ms", "short"],
    ["similarity_error", "Error of similarities", "short"], ["kept_as_exact", "Kept as exact", "percent"],
  ];
  const axes = study.axes.map((name) => ({ key: `axis.${name}`, title: name, word: true }));
  const measured = (rows) => MEASURES.filter(([key]) => rows.some((row) => known(row[key])))
    .map(([key, title, form]) => ({ key, title, write: write[form] }));
  let made = null;
  function runs() { // made when first looked at
    if (made) return made;
    const [head, ...body] = parsed(study.csv);
    made = body.map((cells, number) => {
      const row = Object.fromEntries(head.map((name, index) => [name, cells[index]]));
      for (const name of ["accuracy", "log_loss"]) {
        if (known(row[name]) && known(row[`base_${name}`])) row[`${name}_change`] = row[name] - row[`base_${name}`];
      }
      row.report = study.reports[number] === "1";
      return row;
    });
    return made;
  }
  const address = (row) => `./${row.run.split("/").map(encodeURIComponent).join("/")}/report.html`;
  const state = { view: "points", page: 0, sort: null, down: false, point: null };
  const PAGE = 50;
  const tools = document.getElementById("tools");
  const table = document.getElementById("records");
  const search = document.getElementById("search");
  const status = document.getElementById("status");
  const chosen = [...document.querySelectorAll("select[data-axis]")];

  const columnsOf = {
    points: () => [{ key: "point", title: "Point", word: true }, { key: "done", title: "Runs" }, ...measured(points), ...axes],
    runs: () => [
      { key: "run", title: "Run", word: true }, { key: "status", title: "Status", word: true },
      ...(runs().some((row) => row.reason) ? [{ key: "reason", title: "Reason", word: true }] : []),
      { key: "fold", title: "Fold" }, { key: "seed", title: "Seed" }, ...measured(runs()), ...axes,
      ...(runs().some((row) => row.members) ? [{ key: "members", title: "Members", word: true }] : []),
    ],
  };
  const cached = {};
  const columns = () => (cached[state.view] ??= columnsOf[state.view]());

  function fitting() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = chosen.filter((select) => select.value).map((select) => [`axis.${select.dataset.axis}`, select.value]);
    const rows = state.view === "points" ? points : runs();
    return rows.filter((row) => {
      if (state.view === "runs") {
        if (state.point !== null && row.point !== state.point) return false;
        if (status.value && row.status !== status.value) return false;
      }
      if (wanted.some(([key, value]) => row[key] !== value)) return false;
      if (!words.length) return true;
      const text = `${row.point} ${row.run ?? ""} ${row.reason ?? ""}`.toLowerCase();
      return words.every((word) => text.includes(word));
    });
  }
  const collator = new Intl.Collator("en", { numeric: true });
  function ordered(rows) {
    const column = columns().find(({ key }) => key === state.sort);
    if (!column) return rows;
    const sign = state.down ? -1 : 1;
    return [...rows].sort((a, b) => {
      const [left, right] = [a[column.key], b[column.key]];
      if (!known(left) || !known(right)) return known(right) - known(left); // what is empty stays last
      return sign * (column.word ? collator.compare(left, right) : left - right || collator.compare(left, right));
    });
  }
  function cell(row, column, first) {
    const element = document.createElement(first ? "th" : "td");
    if (first) element.scope = "row";
    const value = row[column.key];
    if (column.key === "point" && !row.unpruned) {
      const link = Object.assign(document.createElement("a"), { href: "#runs", textContent: value });
      link.dataset.point = value;
      element.append(link);
    } else if (column.key === "run" && row.report) {
      element.append(Object.assign(document.createElement("a"), { href: address(row), textContent: value }));
    } else if (column.key === "done") {
      element.textContent = row.done === row.runs ? row.done : `${row.done} of ${row.runs}`;
    } else {
      element.textContent = known(value) ? (column.write ? column.write(value) : value) : DASH;
    }
    if (column.write && known(value) && known(row[`${column.key}_low`]) && row[`${column.key}_high`] !== row[`${column.key}_low`]) {
      const ends = [row[`${column.key}_low`], row[`${column.key}_high`]].map((end) => column.write(end).replace(" %", ""));
      element.append(Object.assign(document.createElement("small"), { textContent: ends.join(" to ") }));
    }
    if (!first && column.word) element.className = column.key === "reason" ? "why" : "word";
    return element;
  }
  function show() {
    const rows = ordered(fitting());
    const pages = Math.max(1, Math.ceil(rows.length / PAGE));
    state.page = Math.min(state.page, pages - 1);
    const start = state.page * PAGE;
    const shown = rows.slice(start, start + PAGE);
    const head = document.createElement("tr");
    columns().forEach((column) => {
      const element = Object.assign(document.createElement("th"), { scope: "col", className: column.word ? "word" : "" });
      if (state.sort === column.key) element.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: column.title });
      button.dataset.sort = column.key;
      element.append(button);
      head.append(element);
    });
    table.tHead.replaceChildren(head);
    table.tBodies[0].replaceChildren(...shown.map((row) => {
      const line = document.createElement("tr");
      line.append(...columns().map((column, index) => cell(row, column, index === 0)));
      return line;
    }));
    const what = state.view === "points" ? "points" : "runs";
    const all = state.view === "points" ? points.length : study.reports.length;
    const of = rows.length === all ? "" : `, of ${grouped.format(all)} in all`;
    document.getElementById("count").textContent = rows.length
      ? `${grouped.format(start + 1)} to ${grouped.format(start + shown.length)} of ${grouped.format(rows.length)} ${what}${of}`
      : `no ${what} like these${of}`;
    document.getElementById("previous").disabled = state.page === 0;
    document.getElementById("next").disabled = state.page >= pages - 1;
    const only = document.getElementById("only");
    only.hidden = state.point === null;
    only.querySelector("strong").textContent = state.point ?? "";
    document.querySelector("[data-only-runs]").hidden = state.view !== "runs";
    for (const input of tools.querySelectorAll('[name="view"]')) input.checked = input.value === state.view;
  }
  function change(values) {
    Object.assign(state, { page: 0 }, values);
    show();
  }
  function open(point) { // the report of its run, where there is one run; else its runs
    const own = runs().filter((row) => row.point === point);
    if (own.length === 1 && own[0].report) {
      location.href = address(own[0]);
      return;
    }
    search.value = status.value = "";
    for (const select of chosen) select.value = "";
    change({ view: "runs", point, sort: null });
    const section = document.getElementById("runs");
    section.scrollIntoView();
    section.querySelector(".scroll").focus({ preventScroll: true });
  }
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-point]");
    if (link) {
      event.preventDefault();
      open(link.dataset.point);
    }
  });
  table.tHead.addEventListener("click", (event) => {
    const key = event.target.dataset.sort;
    if (!key) return;
    change({ sort: key, down: state.sort === key ? !state.down : false });
    table.tHead.querySelector(`[data-sort="${CSS.escape(key)}"]`).focus();
  });
  tools.addEventListener("change", (event) => {
    if (event.target.name === "view") change({ view: event.target.value, point: null, sort: null });
    else if (event.target !== search) change({});
  });
  search.addEventListener("input", () => change({}));
  document.querySelector("#only button").addEventListener("click", () => change({ point: null }));
  document.getElementById("previous").addEventListener("click", () => change({ page: state.page - 1 }));
  document.getElementById("next").addEventListener("click", () => change({ page: state.page + 1 }));
  const csv = document.getElementById("csv");
  csv.hidden = false;
  csv.addEventListener("click", () => save(study.csv, "text/csv;charset=utf-8", "results.csv"));
  tools.hidden = false;
  show();
})();
