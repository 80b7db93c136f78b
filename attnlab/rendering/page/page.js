"use strict";
(async () => {
  const compressed = Uint8Array.from(atob(document.getElementById("data").textContent), (letter) => letter.charCodeAt(0));
  const data = await new Response(new Blob([compressed]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
  const byId = (id) => document.getElementById(id);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const hidden = new Set();
  let focus = "";

  // One element with text; every name that the page shows after loading goes through textContent.
  const element = (tag, text = "", attributes = {}) => {
    const made = document.createElement(tag);
    made.textContent = text;
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  };

  // Rows are stored by column; variants and runs by their index.
  const rowsOf = ({ columns, rows, weights, size }) => weights ? weights.flatMap((row, at) => row.map((weight, key) =>
    ({ query: at * size, key: key * size, weight }))) : rows.map((row) => Object.fromEntries(columns.map((name, at) => [
    name, name === "variant" ? data.variants[row[at]] : name === "run" ? data.runs[row[at]].id : row[at],
  ])));

  // ---- the tooltip
  const tip = byId("tip");
  const showTip = (_, event, item, value) => {
    if (value == null || value === "") { tip.hidden = true; return; }
    const { variant, ...rest } = value;
    const list = element("dl");
    for (const [name, text] of Object.entries(rest)) {
      if (text !== "" && text !== "null") list.append(element("dt", name), element("dd", String(text)));
    }
    tip.replaceChildren(...(variant ? [element("b", variant)] : []), list);
    const top = document.querySelector("dialog[open]") ?? document.body;  // a dialog is above everything else
    if (tip.parentNode !== top) top.append(tip);
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - width - 4))}px`;
    tip.style.top = `${event.clientY + 16 + height > innerHeight ? event.clientY - height - 12 : event.clientY + 16}px`;
  };
  addEventListener("scroll", () => { tip.hidden = true; }, { passive: true, capture: true });

  // ---- charts, drawn when they come into view
  const views = new Map();
  const keyOf = (plot) => {
    const choices = plot.closest("[data-choose]");
    const chosen = (name) => choices?.querySelector(`select[name=${name}], input[name=${name}]:checked`)?.value ?? "";
    return plot.dataset.chart.replace("{measure}", chosen("measure")).replace("{level}", chosen("level")).replace("{layer}", chosen("layer"));
  };
  const draw = async (plot, key = keyOf(plot), rows = null) => {
    views.get(plot)?.finalize();
    views.delete(plot);
    const chart = data.charts[key];
    const shown = rows ?? (chart ? rowsOf(data.tables[chart.table]) : []);
    if (!chart || !shown.length) { plot.replaceChildren(element("p", "No data.", { class: "about" })); return; }
    const spec = structuredClone(data.specs[chart.spec]);
    for (const table of spec.data) if (table.name === "points") table.values = shown;
    const options = { mode: "vega", renderer: "svg", actions: false, defaultStyle: false, tooltip: showTip, logLevel: 1 };
    const result = await vegaEmbed(plot, spec, options);
    views.set(plot, result);
    plot.dataset.drawn = key;
    performance.mark("drawn");
    select(result.view);
    result.view.addEventListener("click", (_, item) => { if (item?.datum?.run) location.hash = `run-${item.datum.run}`; });
  };
  const seen = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (isIntersecting && !views.has(target)) { seen.unobserve(target); draw(target); }
    }
  }, { rootMargin: "400px" });
  for (const plot of all(".plot[data-chart]")) {
    plot.style.minHeight = `${plot.dataset.height}px`;
    seen.observe(plot);
  }
  for (const section of all("[data-choose]")) {
    section.addEventListener("change", () => {
      for (const plot of all(".plot[data-chart]", section)) if (views.has(plot) || plot.dataset.drawn || plot.childNodes.length) draw(plot);
    });
  }

  // ---- the legend hides variants in all charts, and brings the one under the pointer to the front
  const select = (view) => {
    const signals = view.getState({ signals: (name) => name === "hidden" || name === "focus", data: () => false }).signals;
    if (!("hidden" in signals)) return;
    view.signal("hidden", [...hidden].map((at) => data.variants[at])).signal("focus", focus).runAsync();
  };
  const selectAll = () => { for (const { view } of views.values()) select(view); };
  const legend = all(".legend [data-variant]");
  const toggle = (button) => {
    const at = Number(button.dataset.variant);
    if (!hidden.delete(at)) hidden.add(at);
    button.setAttribute("aria-pressed", String(!hidden.has(at)));
    byId("all").hidden = !hidden.size;
    selectAll();
  };
  for (const button of legend) {
    const name = data.variants[Number(button.dataset.variant)];
    const front = (value) => { if (focus !== value) { focus = value; selectAll(); } };
    button.addEventListener("click", () => toggle(button));
    button.addEventListener("pointerenter", () => front(hidden.has(Number(button.dataset.variant)) ? "" : name));
    button.addEventListener("pointerleave", () => front(""));
  }
  byId("all")?.addEventListener("click", () => {
    for (const button of legend) if (button.getAttribute("aria-pressed") === "false") toggle(button);
    legend[0].focus();
  });

  // ---- the table of runs
  const body = byId("table").tBodies[0];
  const lines = [...body.rows].map((row) => ({ row, text: data.runs[row.rowIndex - 1].search.toLowerCase() }));
  const filter = byId("filter");
  filter.addEventListener("input", () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const { row, text } of lines) {
      row.hidden = !words.every((word) => text.includes(word));
      count += row.hidden ? 0 : 1;
    }
    byId("count").textContent = count === lines.length ? `${count} runs` : `${count} of ${lines.length} runs`;
  });
  const heads = all("#table thead th");
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const rising = head.getAttribute("aria-sort") !== "ascending";
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const key = ({ row }) => {
      const cell = row.cells[column];
      return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
    };
    const compare = (one, other) => {
      const [a, b] = [key(one), key(other)];
      if (typeof a === "number" && typeof b === "number") return (rising ? 1 : -1) * (a - b);
      if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;  // what has no number comes last
      return (rising ? 1 : -1) * a.localeCompare(b, "en", { numeric: true });
    };
    body.append(...[...lines].sort(compare).map(({ row }) => row));
  }));

  // ---- the panel of one run, opened by its address
  const dialog = byId("run");
  const table = (caption, headings, rows) => {
    const made = element("table");
    const title = element("caption");
    title.append(element("span", caption));
    made.append(title);
    const head = made.createTHead().insertRow();
    for (const text of headings) head.append(element("th", text, { scope: "col" }));
    const lines = made.createTBody();
    for (const cells of rows) {
      const line = lines.insertRow();
      cells.forEach((text, at) => line.append(element(at ? "td" : "th", String(text ?? "-"), at ? {} : { scope: "row" })));
    }
    const scroll = element("div", "", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption });
    scroll.append(made);
    return scroll;
  };
  const code = (caption, text) => {
    const figure = element("figure", "", { class: "code" });
    const copy = element("button", "Copy", { type: "button", class: "copy" });
    figure.append(element("figcaption", caption), element("pre", text, { tabindex: "0" }), copy);
    return figure;
  };
  const openRun = (id) => {
    const run = data.runs.find((one) => one.id === id);
    if (!run) return;
    byId("run-title").textContent = run.title;
    const parts = [table(`Run ${run.id}`, ["", ""], run.facts)];
    const grid = element("div", "", { class: "grid small" });
    const own = data.curves.map((at) => data.tables[at]).map(({ columns, rows }) =>
      ({ columns, rows: rows.filter((row) => data.runs[row[columns.indexOf("run")]] === run) })).find(({ rows }) => rows.length);
    const plots = own ? [["accuracy", "Validation accuracy in %"], ["loss", `Training loss${run.unit}`], ["validation_loss", `Validation loss${run.unit}`]].map(([field, title]) => {
      const figure = element("figure", "", { class: "chart" });
      const plot = element("div", "", { class: "plot" });
      figure.append(element("figcaption", `${title}, by training step`), plot);
      grid.append(figure);
      return [plot, `curves|0|${field}`];
    }) : [];
    if (plots.length && window.vegaEmbed) parts.push(grid);
    if (run.levels.length) parts.push(table("On other levels and lengths", ["level", "tokens", "accuracy", "exact match", "loss"], run.levels));
    if (run.diagnostics.length) parts.push(table("Diagnostics at the end of training, by layer", ["diagnostic", "values"], run.diagnostics));
    if (run.differs.length) parts.push(table("What differs from the defaults", ["field", "value"], run.differs));
    for (const [caption, text] of run.commands) parts.push(code(caption, text));
    const spec = Object.fromEntries(Object.entries(run.spec).map(([name, at]) => [name, name === "seed" ? at : data.sections[at]]));
    const details = element("details");
    details.append(element("summary", "The whole spec and the environment"), code("spec", JSON.stringify(spec, null, 1)),
      code("environment", JSON.stringify({ ...data.sections[run.environment], ...run.times }, null, 1)));
    parts.push(details);
    byId("run-body").replaceChildren(...parts);
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
    if (window.vegaEmbed) for (const [plot, key] of plots) draw(plot, key, rowsOf(own).filter((row) => row[key.split("|")[2]] != null));
  };
  const follow = () => {
    if (location.hash.startsWith("#run-")) openRun(decodeURIComponent(location.hash.slice(5)));
    else if (dialog.open) dialog.close();
  };
  addEventListener("hashchange", follow);
  dialog.addEventListener("close", () => {
    for (const plot of all(".plot", dialog)) { views.get(plot)?.finalize(); views.delete(plot); }
    document.body.append(tip);
    tip.hidden = true;
    if (location.hash.startsWith("#run-")) history.replaceState(null, "", location.pathname + location.search);
  });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });

  // ---- copying, and the theme
  document.addEventListener("click", async (event) => {
    if (!event.target.matches?.(".copy")) return;
    const pre = event.target.parentNode.querySelector("pre");
    try {
      await navigator.clipboard.writeText(pre.textContent);
      event.target.textContent = "Copied";
      setTimeout(() => { event.target.textContent = "Copy"; }, 1500);
    } catch {
      getSelection().selectAllChildren(pre);  // where the clipboard is refused, the text is selected
    }
  });
  const themes = ["system", "dark", "light"];
  byId("theme").addEventListener("click", () => {
    const next = themes[(themes.indexOf(document.documentElement.dataset.theme ?? "system") + 1) % themes.length];
    if (next === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    byId("theme-name").textContent = next;
  });
  if (!window.vegaEmbed) for (const plot of all(".plot")) plot.remove();
  follow();
})().catch((error) => {
  const notice = document.createElement("p");
  notice.className = "notice";
  notice.textContent = `This browser cannot draw the charts (${error.message}); the tables below are complete.`;
  document.querySelector(".lead").after(notice);
});
