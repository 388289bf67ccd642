// What moves on the report: charts (plotly), tables that sort, and players (HiclrPlayer) for the sequences.
"use strict";

(() => {
  const data = JSON.parse(document.getElementById("report-data").textContent);
  const { classes = [], matrices = [], curves = [], looks } = data;
  // Okabe and Ito's palette, without its yellow, which is too light for lines on white
  const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#404040"];
  const DASHES = ["solid", "dash", "dot", "dashdot"];
  const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "cross", "x", "star", "pentagon", "triangle-down"];
  const RIGHT = "#0072B2", WRONG = "#D55E00", FAINT = "#d4d4d4";
  const BASE = {
    font: { family: "system-ui, sans-serif", size: 12, color: "#1a1a1a" }, paper_bgcolor: "#fff", plot_bgcolor: "#fff",
    margin: { l: 46, r: 12, t: 8, b: 40 }, showlegend: false, hoverlabel: { align: "left" } };
  const CONFIG = { displaylogo: false, responsive: true, displayModeBar: "hover",
    modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"] };

  const at = (id) => document.getElementById(id);
  const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);
  const percent = (share) => `${(100 * share).toFixed(1)}\u00a0%`;
  /** plotly reads tags in text: a name is only a name. */
  const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const short = (text, most = 28) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  // --- learning curves ------------------------------------------------------------------------------------------

  function drawCurves() {
    const names = new Map();
    const styled = ({ colour }) => ({
      color: COLOURS[colour % COLOURS.length], dash: DASHES[Math.floor(colour / COLOURS.length) % DASHES.length] });
    for (const panel of curves) {
      const chart = element("div", { role: "img", "aria-label": `${panel.title} over the epochs` });
      at("curves-panels").append(element("figure", {}, element("figcaption", {}, panel.title), chart));
      const traces = panel.lines.map((line) => {
        names.set(line.name, styled(line));
        return { x: line.x, y: line.y, name: plain(line.name), type: "scatter", mode: line.x.length < 20 ? "lines+markers" : "lines",
          line: { ...styled(line), width: 1.8 }, marker: { size: 4 }, hovertemplate: `%{y}<extra>${plain(short(line.name))}, epoch %{x}</extra>` };
      });
      const values = panel.lines.flatMap((line) => line.y);
      const [low, high] = [Math.min(...values), Math.max(...values)];
      Plotly.newPlot(chart, traces, { ...BASE, xaxis: { title: { text: "epoch", standoff: 4 }, rangemode: "tozero", gridcolor: "#eee" },
        yaxis: { rangemode: low >= 0 && low < high / 2 ? "tozero" : "normal", gridcolor: "#eee", zerolinecolor: "#ccc" } }, { ...CONFIG, displayModeBar: false });
    }
    for (const [name, { color, dash }] of names) {
      const lengths = { solid: "", dash: "6 3", dot: "2 2", dashdot: "6 2 2 2" }[dash];
      const item = element("li");
      const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
      for (const [key, value] of Object.entries({ x1: 0, x2: "100%", y1: "50%", y2: "50%", stroke: color, "stroke-width": 3,
        "stroke-dasharray": lengths })) line.setAttribute(key, value);
      svg.append(line);
      item.append(svg, name);
      at("curves-legend").append(item);
    }
  }

  // --- classes --------------------------------------------------------------------------------------------------

  function classRows({ counts, learnt }) {
    return counts.map((row, label) => {
      const tested = sum(row);
      const others = row.map((count, other) => [count, other]).filter(([count, other]) => count && other !== label);
      others.sort((a, b) => b[0] - a[0]);
      return { label, name: classes[label], learnt: learnt ? learnt[label] : null, tested,
        accuracy: tested ? row[label] / tested : null, taken: others.slice(0, 2) };
    });
  }

  const KEYS = [(row) => row.name, (row) => row.learnt, (row) => row.tested, (row) => row.accuracy, (row) => row.taken[0]?.[0] ?? 0];
  let sorted = { column: 3, up: true };

  function compare(a, b) {
    if (a === null || b === null) return (a === null) - (b === null); // nothing tested: last either way
    const order = typeof a === "string" ? a.localeCompare(b, undefined, { numeric: true }) : a - b;
    return sorted.up ? order : -order;
  }

  function drawClasses(matrix) {
    const key = KEYS[sorted.column];
    const rows = classRows(matrix).sort((a, b) => compare(key(a), key(b)));
    at("class-table").querySelectorAll("thead th").forEach((head, column) =>
      head.setAttribute("aria-sort", column !== sorted.column ? "none" : sorted.up ? "ascending" : "descending"));
    at("class-table").tBodies[0].replaceChildren(...rows.map((row) => {
      const bar = element("span", { class: "track" }, element("span", { class: "bar", style: `width: ${100 * (row.accuracy ?? 0)}%` }));
      const taken = row.taken.map(([count, other]) => `${classes[other]} (${count})`).join(", ");
      return element("tr", {}, element("th", { scope: "row" }, row.name), element("td", { class: "number" }, row.learnt ?? "–"),
        element("td", { class: "number" }, row.tested),
        element("td", { class: "number" }, row.accuracy === null ? "–" : (100 * row.accuracy).toFixed(1), bar),
        element("td", {}, taken || "–"));
    }));
  }

  /** Classes so that each stands beside the one that it is taken for most, or that is taken for it. */
  function chained(counts) {
    const both = (a, b) => counts[a][b] + counts[b][a];
    const left = new Set(counts.keys());
    const confused = (a) => sum([...left].filter((b) => b !== a).map((b) => both(a, b)));
    const order = [];
    while (left.size) {
      const last = order.at(-1);
      const score = last === undefined ? confused : (b) => both(last, b) + confused(b) / 1e6;
      const next = [...left].reduce((best, one) => (score(one) > score(best) ? one : best));
      order.push(next);
      left.delete(next);
    }
    return order;
  }

  function matrixOrder(matrix, how) {
    const places = [...matrix.counts.keys()];
    const rows = classRows(matrix);
    if (how === "name") return places.sort((a, b) => classes[a].localeCompare(classes[b], undefined, { numeric: true }));
    if (how === "accuracy") return places.sort((a, b) => (rows[a].accuracy ?? 2) - (rows[b].accuracy ?? 2));
    return how === "confusion" ? chained(matrix.counts) : places;
  }

  function drawMatrix(matrix, how) {
    const order = matrixOrder(matrix, how).reverse(); // plotly counts rows from below
    const columns = [...order].reverse();
    const totals = matrix.counts.map(sum);
    const cell = (row, column) => (totals[row] ? 100 * matrix.counts[row][column] / totals[row] : null);
    const count = classes.length;
    const labels = order.map((label) => plain(short(classes[label])));
    const size = Math.max(8, Math.min(12, 600 / count));
    const step = Math.max(size + 3, Math.min(30, 480 / count)); // pixels of a row
    const longest = Math.min(28, Math.max(...classes.map((name) => name.length)));
    const room = Math.min(190, 16 + 0.58 * size * longest);
    const trace = { type: "heatmap", z: order.map((row) => columns.map((column) => cell(row, column))),
      customdata: order.map((row) => columns.map((column) => [
        plain(classes[row]), plain(classes[column]), matrix.counts[row][column], totals[row]])),
      hovertemplate: "%{customdata[2]} of %{customdata[3]} (%{z:.1f} %)<br>%{customdata[0]}<br>taken for %{customdata[1]}<extra></extra>",
      hoverongaps: false, zmin: 0, zmax: 100, xgap: count > 30 ? 0.5 : 1, ygap: count > 30 ? 0.5 : 1,
      colorscale: [[0, "#f7fbff"], [0.1, "#d6e6f4"], [0.4, "#74b2d8"], [0.7, "#2575b7"], [1, "#08306b"]],
      colorbar: { title: { text: "% of<br>the class" }, thickness: 12, lenmode: "pixels", len: 160 } };
    if (count <= 30) {
      trace.text = trace.z.map((row) => row.map((value) => (value >= 0.5 ? Math.round(value) : "")));
      Object.assign(trace, { texttemplate: "%{text}", textfont: { size: count > 20 ? 8 : size - 1 } });
    }
    const chart = at("matrix");
    const every = Math.ceil((size + 1) * count / Math.max(chart.clientWidth - room - 130, 1)); // columns that have a name
    const named = [...order.keys()].filter((place) => place % every === 0);
    const ticks = { tickmode: "array", tickvals: [...order.keys()], ticks: "", showgrid: false, zeroline: false, tickfont: { size } };
    chart.style.height = `${Math.max(320, count * step + room + 40)}px`;
    Plotly.react(chart, [trace], { ...BASE, plot_bgcolor: "#d0d0d0", margin: { l: room + 24, r: 10, t: 10, b: room + 24 },
      xaxis: { ...ticks, tickvals: named, ticktext: named.map((place) => labels[count - 1 - place]), tickangle: -90, title: { text: "taken for", standoff: 6 } },
      yaxis: { ...ticks, ticktext: labels, title: { text: "true class", standoff: 6 } } }, CONFIG);
  }

  function startClasses() {
    const matrix = () => matrices[Number(at("matrix-of").value)];
    const draw = () => { drawClasses(matrix()); drawMatrix(matrix(), at("matrix-order").value); };
    at("matrix-of").addEventListener("change", draw);
    at("matrix-order").addEventListener("change", draw);
    window.addEventListener("resize", () => drawMatrix(matrix(), at("matrix-order").value));
    at("class-table").querySelectorAll("thead button").forEach((button, column) => button.addEventListener("click", () => {
      sorted = { column, up: sorted.column === column ? !sorted.up : column === 0 };
      drawClasses(matrix());
    }));
    draw();
  }

  // --- sequences ------------------------------------------------------------------------------------------------

  const answered = (example) => example.predicted !== undefined;
  const isRight = (example) => example.predicted === example.label;
  const answer = (example) => (answered(example)
    ? `${isRight(example) ? "right" : `taken for ${classes[example.predicted]}`} (${percent(example.probability)})` : "");
  const byRow = new Map((looks.examples ?? []).map((example) => [example.row, example]));

  function player(id, label) {
    const made = new HiclrPlayer(at(id), looks.layout, { fps: looks.fps, label, autoplay: false });
    return (packed) => {
      made.show(packed);
      made.autoplay = true; // from the first choice on, not when the page opens
    };
  }

  const captioned = (row, ...lines) => ({ ...looks.sequences[row], caption: [looks.sequences[row].caption, ...lines].filter(Boolean).join("\n") });

  /** The map, the list beside it, and the player that both open. */
  function startMap() {
    const show = player("map-player", "Player of the chosen sequence");
    const list = at("found"), chart = at("map-chart");
    const open = (row) => {
      show([captioned(row, answer(byRow.get(row)))]);
      list.value = row;
      if (chart) mark(chart, byRow.get(row));
    };
    const fill = () => {
      const words = at("find").value.toLowerCase().split(/\s+/).filter(Boolean);
      const text = (example) => `${classes[example.label]} · ${example.name}${answered(example) && !isRight(example) ? ` · taken for ${classes[example.predicted]}` : ""}`;
      const found = looks.examples.filter((example) => words.every((word) => text(example).toLowerCase().includes(word)));
      found.sort((a, b) => a.label - b.label);
      list.replaceChildren(...found.map((example) => element("option", { value: example.row }, text(example))));
      at("found-count").textContent = `${found.length} sequences`;
    };
    at("find").addEventListener("input", fill);
    list.addEventListener("change", () => open(Number(list.value)));
    fill();
    if (chart) startChart(chart, open);
    const first = looks.examples.find((example) => answered(example) && isRight(example)) ?? looks.examples[0];
    open(first.row);
  }

  function startChart(chart, open) {
    at("map-class").append(...classes.map((name, label) => element("option", { value: label }, name)));
    const draw = () => drawMap(chart, at("map-kind").value, at("map-colour").value, at("map-class").value);
    for (const id of ["map-kind", "map-colour", "map-class"]) at(id).addEventListener("change", draw);
    draw();
    chart.on("plotly_click", ({ points: [point] }) => { if (point.customdata !== undefined) open(point.customdata); });
  }

  let marked = null;

  function ring(kind) {
    const place = marked ? marked[kind] : [null, null];
    return { x: [place[0]], y: [place[1]], mode: "markers", type: "scatter", hoverinfo: "skip",
      marker: { size: 17, color: "rgba(0,0,0,0)", line: { color: "#000", width: 2 } } };
  }

  function mark(chart, example) {
    marked = example;
    const place = example[at("map-kind").value];
    Plotly.restyle(chart, { x: [[place[0]]], y: [[place[1]]] }, [chart.data.length - 1]);
  }

  function drawMap(chart, kind, colouring, only) {
    const groups = colouring === "class"
      ? classes.map((name, label) => ({ name, holds: (example) => example.label === label,
        color: COLOURS[label % COLOURS.length], symbol: SYMBOLS[Math.floor(label / COLOURS.length + label) % SYMBOLS.length] }))
      : [{ name: "right", holds: isRight, color: RIGHT, symbol: "circle" },
        { name: "wrong", holds: (example) => !isRight(example), color: WRONG, symbol: "x" }];
    const chosen = (example) => only === "" || example.label === Number(only);
    const traces = groups.map(({ name, holds, color, symbol }) => {
      const members = looks.examples.filter(holds).sort((a, b) => chosen(a) - chosen(b));
      return { name: plain(short(name)), type: "scatter", mode: "markers", x: members.map((one) => one[kind][0]), y: members.map((one) => one[kind][1]),
        customdata: members.map((one) => one.row),
        text: members.map((one) => [one.name, `is ${classes[one.label]}`, answer(one)].filter(Boolean).map(plain).join("<br>")),
        hovertemplate: "%{text}<extra></extra>",
        marker: { symbol, size: members.map((one) => (chosen(one) ? 8 : 5)), color: members.map((one) => (chosen(one) ? color : FAINT)),
          line: { width: 0.5, color: "#fff" } } };
    });
    const bare = { showticklabels: false, zeroline: false, showgrid: false, ticks: "", showline: true, mirror: true, linecolor: "#ccc" };
    Plotly.react(chart, [...traces, ring(kind)].map((trace, i, all) => ({ ...trace, showlegend: i < all.length - 1 })), { ...BASE, margin: { l: 6, r: 6, t: 6, b: 6 },
      xaxis: bare, yaxis: { ...bare, scaleanchor: "x" }, hovermode: "closest", dragmode: "pan", showlegend: groups.length <= 14,
      legend: { orientation: "h", y: -0.02, itemclick: false, itemdoubleclick: false } }, CONFIG);
  }

  function startAnswers() {
    const show = player("answers-player", "Player of the chosen answer");
    const buttons = [];
    const open = (row, button) => {
      buttons.forEach((other) => other.setAttribute("aria-pressed", other === button));
      show([captioned(row, answer(byRow.get(row)))]);
    };
    for (const kind of ["wrong", "right"]) {
      at(kind).append(...looks.answers[kind].map((row) => {
        const example = byRow.get(row);
        const words = kind === "wrong" ? [" taken for ", element("b", { class: "wrong" }, classes[example.predicted])] : [" ", element("span", { class: "right" }, "right")];
        const button = element("button", { type: "button", "aria-pressed": "false" }, element("b", {}, classes[example.label]),
          ...words, `, ${percent(example.probability)}`, element("small", {}, example.name));
        button.addEventListener("click", () => open(row, button));
        buttons.push(button);
        return element("li", {}, button);
      }));
      if (!looks.answers[kind].length) at(kind).replaceWith(element("p", { class: "note" }, "None."));
    }
    if (buttons.length) open(looks.answers.wrong[0] ?? looks.answers.right[0], buttons[0]);
  }

  function startNeighbours() {
    const show = player("neighbours-player", "Player of a query and its neighbours");
    const { queries } = looks.neighbours;
    const list = at("query");
    const open = (place) => {
      const query = queries[place];
      const own = byRow.get(query.row);
      list.value = place;
      const same = (one) => one.label === own.label;
      const title = (one) => `${same(one) ? "✓" : "✗"} ${classes[one.label]}`;
      show([{ ...captioned(query.row), title: `Query: ${classes[own.label]}` },
        ...query.neighbours.map((one, rank) => ({ ...captioned(one.row, `neighbour ${rank + 1}, cosine ${one.cosine.toFixed(3)}`), title: title(one) }))]);
      at("neighbours-table").tBodies[0].replaceChildren(...query.neighbours.map((one, rank) => element("tr", {},
        element("td", { class: "number" }, rank + 1), element("td", {}, one.name), element("td", {}, classes[one.label]),
        element("td", { class: same(one) ? "right" : "wrong" }, same(one) ? "✓ yes" : "✗ no"),
        element("td", { class: "number" }, one.cosine.toFixed(3)))));
    };
    list.append(...queries.map((query, place) => {
      const hits = query.neighbours.filter((one) => one.label === byRow.get(query.row).label).length;
      return element("option", { value: place },
        `${classes[byRow.get(query.row).label]} · ${byRow.get(query.row).name} (${hits} of ${query.neighbours.length} of its class)`);
    }));
    const step = (by) => open((Number(list.value) + by + queries.length) % queries.length);
    list.addEventListener("change", () => open(Number(list.value)));
    at("query-before").addEventListener("click", () => step(-1));
    at("query-after").addEventListener("click", () => step(1));
    open(0);
  }

  // --- the page -------------------------------------------------------------------------------------------------

  /** What is folded is opened for paper, and folded again. */
  function startPrinting() {
    let opened = [];
    window.addEventListener("beforeprint", () => {
      opened = [...document.querySelectorAll("details:not([open])")];
      opened.forEach((one) => { one.open = true; });
      document.querySelectorAll(".js-plotly-plot").forEach((chart) => Plotly.Plots.resize(chart));
    });
    window.addEventListener("afterprint", () => opened.forEach((one) => { one.open = false; }));
  }

  if (curves.length) drawCurves();
  if (matrices.length) startClasses();
  if (looks.examples?.length) {
    startMap();
    if (looks.answers.wrong) startAnswers();
    if (looks.neighbours.queries?.length) startNeighbours();
    if (looks.views.sequences) player("views-player", "Player of the views")(looks.views.sequences);
  }
  startPrinting();
})();
