"use strict";
// The page: what it knows, how it asks for what is new, and what it shows of it.

const find = (id) => document.getElementById(id);
const snapshot = JSON.parse(find("snapshot").textContent);
const known = { boot: "", version: 0, rows: new Map(), sweeps: new Map(), laws: new Map(), states: [], root: "", time: 0 };
const curves = { sweep: null, asked: "", version: 0, byPoint: new Map(), metrics: {}, more: 0, flat: null };
const EVERY_MS = 2000, AFTER_ERROR_MS = 4000;

// --- what a person chose: kept in the address, so that it can be sent and reloaded ---

const chosen = {
  sweep: "", metric: "", axis: "seen", colour: "", twin: true, xlog: false, ylog: true,
  unit: "", laxis: "", which: 0, find: "", states: [], pick: "", sort: "", down: false,
};

function readAddress() {
  for (const [key, text] of new URLSearchParams(location.hash.slice(1))) {
    if (!(key in chosen)) continue;
    const now = chosen[key];
    chosen[key] = typeof now === "boolean" ? text === "1" : typeof now === "number" ? Number(text) || 0
      : Array.isArray(now) ? text.split(",").filter(Boolean) : text;
  }
}

function choose(changes) {
  Object.assign(chosen, changes);
  const said = new URLSearchParams();
  for (const [key, value] of Object.entries(chosen)) {
    const text = typeof value === "boolean" ? String(Number(value)) : String(value);
    if (text && !(key === "which" && !value)) said.set(key, text);
  }
  history.replaceState(null, "", `#${said}`);
}

// --- asking ---

function take(state) {
  if (state.boot !== known.boot) for (const part of ["rows", "sweeps", "laws"]) known[part].clear();
  for (const part of ["rows", "sweeps", "laws"]) {
    for (const [key, value] of Object.entries(state[part])) {
      if (value === null) known[part].delete(key); else known[part].set(key, value);
    }
  }
  const { boot, version, time, root, states, problems } = state;
  Object.assign(known, { boot, version, time, root, states, problems });
}

async function poll() {
  let wait = EVERY_MS;
  try {
    const answer = await fetch(`api/state?boot=${known.boot}&since=${known.version}`, {
      cache: "no-store", headers: known.boot ? { "If-None-Match": `"${known.boot}-${known.version}"` } : {},
    });
    if (answer.status !== 304) {
      if (!answer.ok) throw new Error(await answer.text());
      take(await answer.json());
      showAll();
    }
    if (answer.status !== 304 || curves.more || curves.sweep !== chosen.sweep) await askCurves();
    find("status").textContent = `live · ${clock(Date.now() / 1000, false)}`;
  } catch (error) {
    wait = AFTER_ERROR_MS;
    const last = known.time ? `, last heard of at ${clock(known.time)}` : "";
    find("status").textContent = `no answer${last}; asked again every few seconds. (${error.message})`;
  }
  if (curves.more) wait = 50;
  setTimeout(() => (document.hidden ? document.addEventListener("visibilitychange", poll, { once: true }) : poll()), wait);
}

function wanted() {
  const metric = chosen.metric || defaultMetric();
  const twin = chosen.twin && TWINS[metric];
  return twin ? [metric, twin] : [metric];
}

// The headline; where it was only validated at the end, so that there is no curve, the training loss.
function defaultMetric() {
  const sweep = known.sweeps.get(chosen.sweep);
  if (curves.flat === chosen.sweep) return "train/loss";
  return sweep && sweep.units.length ? `validation/${sweep.units[0]}` : "train/loss";
}

async function askCurves() {
  if (!known.sweeps.has(chosen.sweep)) return;
  const metrics = wanted(), asked = `${known.boot} ${chosen.sweep} ${metrics}`;
  if (asked !== curves.asked) Object.assign(curves, { asked, sweep: chosen.sweep, version: 0, byPoint: new Map(), metrics: {} });
  if (snapshot) {
    const all = snapshot.curves[chosen.sweep];
    takeCurves({ ...all, version: 1 });
    return;
  }
  const query = new URLSearchParams({ sweep: chosen.sweep, boot: known.boot, since: curves.version });
  for (const metric of metrics) query.append("metric", metric);
  const answer = await fetch(`api/curves?${query}`, { cache: "no-store" });
  if (!answer.ok) throw new Error(await answer.text());
  const content = await answer.json();
  if (asked === curves.asked) takeCurves(content);
}

function takeCurves(content) {
  const { version, more, metrics } = content;
  for (const [id, tables] of Object.entries(content.curves)) curves.byPoint.set(id, tables);
  Object.assign(curves, { version, more, metrics });
  const [metric, twin] = wanted(), all = [...curves.byPoint.values()];
  if (!chosen.metric && !twin && !more && metrics.train && all.length && all.every((tables) => (tables[metric]?.y.length ?? 0) < 3)) {
    curves.flat = chosen.sweep;
    if (metric !== "train/loss") { askCurves(); return; }
  }
  showMetrics();
  showCurves();
}

// --- showing ---

const plot = new Plot(find("curves"), "Learning curves", pick);
const lawPlot = new Plot(find("law"), "Loss against size", pick);
const table = new Table(find("table"), columnsOf, pick, () => { choose({ sort: table.sort, down: table.down }); showTable(); });

function rowsOfSweep() {
  return [...known.rows].filter(([, row]) => row.sweep === chosen.sweep);
}

function showAll() {
  find("root").textContent = known.root;
  document.title = `${known.root} · chemscale`;
  find("problems").replaceChildren(...known.problems.map((text) => element("p", { className: "note", textContent: `Cannot be read: ${text}` })));
  if (!known.sweeps.has(chosen.sweep)) chooseSweep();
  showSweeps(); showTable(); showCurves(); showLaw(); showDetail();
}

function newestFirst() {
  return [...known.sweeps].sort(([a, x], [b, y]) => (y.started > x.started) - (y.started < x.started) || (a < b ? -1 : 1));
}

function chooseSweep() {
  const [first] = newestFirst();
  if (first) choose({ sweep: first[0] });
}

function showSweeps() {
  const box = find("sweeps");
  if (!known.sweeps.size) {
    box.replaceChildren(element("p", { className: "soft", textContent: "No run has left a record here yet. They appear by themselves." }));
    return;
  }
  const focused = document.activeElement && document.activeElement.dataset.sweep;
  box.replaceChildren(...newestFirst().map(([key, sweep]) => sweepCard(key, sweep)));
  if (focused !== undefined) box.querySelector(`[data-sweep="${CSS.escape(focused)}"]`)?.focus();
}

function sweepCard(key, sweep) {
  const counts = Object.entries(sweep.counts);
  const bar = element("span", { className: "bar" }, ...counts.map(([state, number]) => {
    const piece = element("i", { title: `${number} ${state}` });
    piece.dataset.state = state; piece.style.flex = String(number);
    return piece;
  }));
  const facts = [
    `${powerOfTen(sweep.flops)} FLOP${sweep.inherited ? ` (and ${powerOfTen(sweep.inherited)} of shorter runs)` : ""}`,
    ...(sweep.device_seconds ? [deviceTime(sweep.device_seconds)] : []),
    ...(sweep.joules === undefined ? [] : [`${energy(sweep.joules)}${sweep.joules_of < sweep.total ? ` (${sweep.joules_of} of ${sweep.total} points)` : ""}`]),
  ];
  // Without a launcher's list nobody knows what is still to come.
  const begun = sweep.whole ? "" : " of what has begun";
  const left = sweep.left !== undefined ? `about ${duration(sweep.left)} left${begun} (${sweep.left_why})` : sweep.left_why ? `time left unknown: ${sweep.left_why}` : "";
  const share = sweep.share !== undefined && sweep.share < 1 ? ` · ${Math.floor(100 * sweep.share)} % of the planned FLOPs${begun}` : "";
  const card = element("button", { type: "button", className: "sweep" },
    element("b", { textContent: sweep.name }),
    element("span", { className: "left", textContent: `${counts.map(([state, number]) => `${number} ${state}`).join(", ")}${share}` }),
    bar, element("span", { className: "left", textContent: left }),
    element("span", { className: "facts", textContent: facts.join(" · ") }));
  card.dataset.sweep = key;
  card.setAttribute("aria-pressed", key === chosen.sweep);
  card.addEventListener("click", () => {
    choose({ sweep: key, metric: "", unit: "", laxis: "", which: 0, pick: "" });
    showAll();
    askCurves();
  });
  return card;
}

function showTable() {
  const rows = rowsOfSweep(), text = chosen.find.toLowerCase();
  const says = (row) => `${row.name} ${row.identity || ""} ${row.reason || ""} ${row.overrides || ""} ${row.state}`.toLowerCase();
  const shown = rows.filter(([, row]) => (!chosen.states.length || chosen.states.includes(row.state)) && (!text || text.split(/\s+/).every((word) => says(row).includes(word))));
  table.update(shown, rows.map(([, row]) => row));
  find("shown").textContent = shown.length === rows.length ? `${rows.length} points` : `${shown.length} of ${rows.length} points`;
  const there = new Set(rows.map(([, row]) => row.state));
  const signature = `${chosen.sweep} ${[...there].sort()} ${chosen.states}`;
  if (find("states").dataset.for === signature) return;
  find("states").dataset.for = signature;
  find("states").replaceChildren(...known.states.filter((state) => there.has(state)).map((state) => {
    const chip = element("button", { type: "button", className: "chip" }, element("span", { className: "dot" }), state);
    chip.dataset.state = state;
    chip.setAttribute("aria-pressed", chosen.states.includes(state));
    chip.addEventListener("click", () => {
      const others = chosen.states.filter((other) => other !== state);
      choose({ states: others.length < chosen.states.length ? others : [...others, state] });
      showTable();
      find("states").querySelector(`[data-state="${state}"]`)?.focus();
    });
    return chip;
  }));
}

function pick(id) {
  choose({ pick: chosen.pick === id ? "" : id });
  showPick();
  showDetail();
}

function showPick() {
  const id = chosen.pick || null;
  table.pick(id); plot.pick(id); lawPlot.pick(id);
}

function showDetail() {
  const row = known.rows.get(chosen.pick);
  find("detail").hidden = !row;
  if (!row) return;
  const list = element("dl");
  for (const [name, text] of DETAILS) {
    const said = text(row);
    if (said) list.append(element("dt", { textContent: name }), element("dd", { textContent: said }));
  }
  const title = element("h2", { textContent: `${row.name} ` }, element("span", { className: "soft", textContent: row.identity || "" }));
  find("detail").replaceChildren(title, list);
}

// --- options of a select, kept where they did not change ---

function options(select, groups, value) {
  const signature = JSON.stringify(groups);
  if (select.dataset.for !== signature) {
    select.dataset.for = signature;
    select.replaceChildren(...groups.flatMap(([label, entries]) => {
      const made = entries.map(([key, text]) => element("option", { value: key, textContent: text }));
      return label ? [element("optgroup", { label }, ...made)] : made;
    }));
  }
  select.value = value;
}

function showMetrics() {
  const names = { validation: "validation", train: "training", truth: "hardware" };
  const groups = Object.keys(names).filter((kind) => curves.metrics[kind]).map((kind) => {
    const metrics = [...curves.metrics[kind]];
    if (kind === "validation") metrics.sort((a, b) => (HEADLINES.indexOf(b) >= 0) - (HEADLINES.indexOf(a) >= 0));
    return [names[kind], metrics.map((metric) => [`${kind}/${metric}`, unitName(metric)])];
  });
  options(find("metric"), groups, wanted()[0]);
  find("twin").closest("label").hidden = !TWINS[wanted()[0]];
}

// --- colours of lines ---

function colourValue(row, by) {
  return by === "seed" ? row.seed : by === "data" ? dataSize(row) : size(row, by);
}

// What was chosen, else the first in which the points differ.
function colouredBy(rows) {
  const varies = (by) => new Set(rows.map((row) => colourValue(row, by)).filter((v) => v !== undefined)).size > 1;
  return chosen.colour || ["parameters", "data", "seed"].find(varies) || "parameters";
}

function colouring(rows) {
  const by = colouredBy(rows);
  if (by === "state") {
    const color = (row) => getComputedStyle(document.querySelector(`#states [data-state="${row.state}"] .dot`) || document.body).backgroundColor;
    return { color, legend: [] };
  }
  const value = (row) => colourValue(row, by), colors = palette();
  const values = [...new Set(rows.map(value).filter((v) => v !== undefined))].sort((a, b) => a - b);
  const text = by === "seed" ? (v) => `seed ${v}` : by === "flops" ? powerOfTen : short;
  if (values.length <= colors.length && by !== "flops") {
    const color = (row) => colors[values.indexOf(value(row))] || "#888888";
    return { color, legend: values.map((v, n) => [colors[n], text(v)]) };
  }
  const log = (v) => (by === "seed" ? v : Math.log(v)), low = log(values[0]), high = log(values.at(-1));
  const color = (row) => (value(row) === undefined ? "#888888" : shade((log(value(row)) - low) / (high - low || 1)));
  return { color, legend: "scale", ends: [text(values[0]), text(values.at(-1))] };
}

function legend({ legend: entries, ends }, title) {
  if (entries === "scale") {
    const scale = element("span", { className: "scale" });
    scale.style.background = `linear-gradient(90deg, ${[0, 0.25, 0.5, 0.75, 1].map(shade).join(",")})`;
    return element("span", { className: "legend" }, `${title} ${ends[0]} `, scale, ` ${ends[1]}`);
  }
  return element("span", { className: "legend" }, ...(entries.length ? [title] : []), ...entries.map(([color, text]) => {
    const dot = element("span", { className: "dot" });
    dot.style.background = color;
    return element("span", {}, dot, text);
  }));
}

function showCurves() {
  if (curves.sweep !== chosen.sweep) return;
  const rows = new Map(rowsOfSweep()), colours = colouring([...rows.values()]);
  const [metric, twin] = wanted(), lines = [], many = curves.byPoint.size > 60;
  let left = 0;
  for (const [id, tables] of curves.byPoint) {
    const row = rows.get(id);
    if (!row) continue;
    const color = colours.color(row);
    for (const each of [twin, metric]) {
      const found = tables[each];
      if (!found || !found.y.length) continue;
      const main = each === metric;
      lines.push({ id, name: main ? row.name : `${row.name} (training)`, x: found[chosen.axis], y: found.y, color, main,
        alpha: many ? (main ? 0.6 : 0.12) : main ? 1 : 0.45, width: main ? 1.6 : 1, shape: main && found.y.length < 4 ? "dot" : "" });
    }
    if (!tables[metric] && !tables[twin]) left += 1;
  }
  lines.sort((a, b) => a.main - b.main);
  const unit = rows.size && [...rows.values()].some((row) => row.seen_of === "frames") ? "frames" : "tokens";
  const axes = { seen: `training ${unit} seen`, flops: "training compute (FLOP)", step: "optimiser steps", seconds: "training time (s)" };
  const log = chosen.ylog && lines.some((line) => line.y.some((v) => v > 0));
  plot.set({ lines, x: { label: axes[chosen.axis], log: chosen.xlog, format: chosen.axis === "flops" ? powerOfTen : short },
    y: { label: metricName(metric), log, format: (v) => (Math.abs(v) >= 1e4 || (v && Math.abs(v) < 1e-3) ? powerOfTen(v) : digits(v)) },
    empty: curves.more ? "reading curves …" : "no such row has been written yet" });
  plot.pick(chosen.pick || null);
  const by = colouredBy([...rows.values()]), names = { parameters: "N", data: `D (${unit})`, flops: "FLOPs", seed: "", state: "" };
  const words = [
    curves.more ? `${curves.byPoint.size} of ${curves.byPoint.size + curves.more} curves read` : "",
    twin && lines.some((line) => !line.main) ? "faint: training loss" : "", left ? `${left} points without a row of this` : "",
  ].filter(Boolean).join(" · ");
  find("curves-note").replaceChildren(legend(colours, names[by]), words);
}

// --- the law ---

function showLaw() {
  const sweep = known.sweeps.get(chosen.sweep);
  if (!sweep) return;
  const laws = (known.laws.get(chosen.sweep) || []), law = laws[chosen.which] || laws[0];
  const rows = rowsOfSweep();
  const units = sweep.units, unit = units.includes(chosen.unit) ? chosen.unit : law && units.includes(law.unit) ? law.unit : units[0];
  options(find("law-unit"), [["", units.map((key) => [key, unitName(key)])]], unit || "");
  const axes = lawAxes(rows, law), axis = axes.includes(chosen.laxis) ? chosen.laxis : axes[0];
  options(find("law-axis"), [["", axes.map((key) => [key, AXES[key] || key])]], axis || "");
  options(find("law-which"), [["", laws.map((each, n) => [String(n), each.folder])]], String(laws.indexOf(law)));
  find("law-which-label").hidden = laws.length < 2;
  const drawn = law && law.unit === unit ? law.lines.filter((line) => line.axis === axis) : [];
  const lines = [], bands = [];
  drawn.forEach((line, n) => {
    const color = lineColour(n, drawn.length);
    if (line.low) bands.push({ x: line.x, low: line.low, high: line.high, color });
    lines.push({ name: line.label, x: line.x, y: line.y, color, width: 1.8 });
  });
  const ink = getComputedStyle(document.body).color;
  for (const [id, row] of rows) {
    const x = size(row, axis), y = (row.losses || {})[unit];
    if (!(x > 0) || !(y > 0)) continue;
    const shape = row.state === "done" ? "dot" : row.state === "failed" ? "cross" : "ring";
    lines.push({ id, name: row.state === "done" ? row.name : `${row.name} (${row.state})`, x: [x], y: [y], color: ink, shape, stroke: false, alpha: 0.75 });
  }
  const format = axis === "flops" || axis === "joules" ? powerOfTen : short;
  lawPlot.set({ lines, bands, x: { label: AXES[axis] || axis || "", log: true, format }, y: { label: unit ? validation(unit) : "", log: true, format: digits },
    empty: "no point has been validated yet" });
  lawPlot.pick(chosen.pick || null);
  find("law-note").replaceChildren(...lawWords(law, drawn, rows, unit));
}

function lineColour(n, count) {
  return count > 1 ? shade(n / (count - 1)) : palette()[0];
}

// Axes along which points differ come first; the law's own before all.
function lawAxes(rows, law) {
  const there = Object.keys(AXES).filter((axis) => rows.some(([, row]) => size(row, axis)));
  const varies = (axis) => {
    const sizes = rows.map(([, row]) => size(row, axis)).filter(Boolean);
    return Math.max(...sizes) > 1.02 * Math.min(...sizes) ? 0 : 1;
  };
  const own = law && law.lines && law.lines.length ? law.lines[0].axis : "";
  const order = ["parameters", "frames", "tokens", "flops", "joules", "unique_tokens", "blocks", "non_embedding", "all"];
  const late = (axis) => (order.indexOf(axis) >= 5 ? 2 : 0);
  return there.sort((a, b) => (b === own) - (a === own) || late(a) + varies(a) - late(b) - varies(b) || order.indexOf(a) - order.indexOf(b));
}

function lawWords(law, drawn, rows, unit) {
  const folder = chosen.sweep === "." ? known.root : `${known.root}/${chosen.sweep}`.replace("//", "/");
  const marks = "Dots are done, rings on their way, crosses failed.";
  if (!law) return [element("p", { className: "soft", textContent: `No law is fitted yet: points only. ${marks} ` }, element("code", { textContent: `python -m chemscale.fit ${folder}` }))];
  if (law.reading) return [element("p", { className: "soft", textContent: "The law is being read …" })];
  if (law.problem) return [element("p", { className: "note", textContent: law.problem })];
  const box = element("div", { className: "law" });
  for (const form of law.forms || []) {
    box.append(element("p", {}, element("b", { textContent: `${form.of ? `${form.of}: ` : ""}${form.formula}` })), element("p", { textContent: form.values.join(", ") }));
  }
  if (!(law.forms || []).length) box.append(element("p", { textContent: "The fit found no law in these points; the report says why." }));
  const later = rows.filter(([, row]) => row.state === "done" && row.moved > law.made + 1).length;
  const about = element("p", { className: "soft", textContent: `fitted ${clock(law.made)}${later ? `; ${later} points have ended since` : ""} ` });
  if (law.report) about.append(element("a", { href: snapshot ? law.report : `report/${law.report.split("/").map(encodeURIComponent).join("/")}`, target: "_blank", rel: "noopener", textContent: "report" }));
  box.append(about);
  const said = [marks];
  if (drawn.length) said.push(drawn.every((line) => line.low) ? "Bands are 95 % intervals of the law." : "");
  else if ((law.forms || []).length) said.push(law.unit === unit ? "The law is one of another axis: no line here." : `The law is one of ${unitName(law.unit)}: no line here.`);
  const which = drawn.length > 1 ? [legend({ legend: drawn.map((line, n) => [lineColour(n, drawn.length), line.label]) }, "")] : [];
  return [...which, box, element("p", { className: "soft", textContent: said.filter(Boolean).join(" ") })];
}

// --- controls ---

function showTheme() {
  const now = document.documentElement.dataset.theme || "auto";
  find("theme").textContent = { auto: "◐ as the system", light: "☀ light", dark: "☾ dark" }[now];
}

function setTheme(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme; else document.documentElement.dataset.theme = theme;
  showTheme(); showCurves(); showLaw();
}

function remember(theme) {
  // A page from the disk may have no storage.
  try { localStorage.setItem("chemscale-theme", theme); } catch { /* it is then as the system each time */ }
}

function remembered() {
  try { return localStorage.getItem("chemscale-theme") || "auto"; } catch { return "auto"; }
}

function listen() {
  const redraw = { metric: "metric", axis: "axis", colour: "colour" };
  for (const [id, key] of Object.entries(redraw)) {
    find(id).addEventListener("change", (event) => { choose({ [key]: event.target.value }); showCurves(); askCurves(); });
  }
  for (const [id, key] of [["twin", "twin"], ["curve-xlog", "xlog"], ["curve-ylog", "ylog"]]) {
    find(id).checked = chosen[key];
    find(id).addEventListener("change", (event) => { choose({ [key]: event.target.checked }); showCurves(); askCurves(); });
  }
  for (const [id, key] of [["law-unit", "unit"], ["law-axis", "laxis"]]) {
    find(id).addEventListener("change", (event) => { choose({ [key]: event.target.value }); showLaw(); });
  }
  find("law-which").addEventListener("change", (event) => { choose({ which: Number(event.target.value), laxis: "", unit: "" }); showLaw(); });
  find("find").value = chosen.find;
  find("find").addEventListener("input", (event) => { choose({ find: event.target.value }); showTable(); });
  find("theme").addEventListener("click", () => {
    const order = ["auto", "light", "dark"], next = order[(order.indexOf(document.documentElement.dataset.theme || "auto") + 1) % 3];
    remember(next);
    setTheme(next);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => setTheme(document.documentElement.dataset.theme || "auto"));
}

function start() {
  readAddress();
  options(find("axis"), [["", [["seen", "data seen"], ["flops", "FLOPs"], ["step", "steps"], ["seconds", "seconds"]]]], chosen.axis);
  options(find("colour"), [["", [["", "as they differ"], ["parameters", "by N"], ["data", "by D"], ["flops", "by FLOPs"], ["seed", "by seed"], ["state", "by state"]]]], chosen.colour);
  Object.assign(table, { sort: chosen.sort, down: chosen.down });
  listen();
  setTheme(remembered());
  if (snapshot) {
    take(snapshot.state);
    find("status").textContent = `as it stood at ${clock(known.time)}; this page does not change`;
    showAll();
    askCurves();
  } else {
    poll();
  }
  showPick();
}

start();
