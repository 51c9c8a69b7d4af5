"use strict";
// Numbers in words, names of axes, colours, and the columns of the table.

const HEADLINES = ["nats_per_token", "forces_mae", "energy_mae_per_atom"];
const UNITS = {
  nats_per_token: "nats/token", nats_per_molecule: "nats/molecule", nats_per_heavy_atom: "nats/heavy atom",
  energy_mae: "energy MAE (meV)", energy_mae_per_atom: "energy MAE (meV/atom)", energy_rmse: "energy RMSE (meV)",
  energy_rmse_per_atom: "energy RMSE (meV/atom)", forces_mae: "force MAE (meV/Å)", forces_rmse: "force RMSE (meV/Å)",
  objective: "objective", loss: "training loss", energy_loss: "energy part of the loss", force_loss: "force part of the loss",
  lr: "learning rate", gradient_norm: "gradient norm", padding_percent: "padding (%)", data_wait_percent: "data wait (%)",
  mfu_percent: "MFU (%)", peak_memory_gib: "peak memory (GiB)", flops_per_second: "FLOP/s",
};
const AXES = {
  parameters: "model parameters N (matrices)", all: "all parameters", non_embedding: "non-embedding parameters",
  blocks: "parameters of the blocks", tokens: "training tokens D", unique_tokens: "distinct training tokens U",
  frames: "training frames D", flops: "training compute C (FLOP)", joules: "energy of training (J)",
};
const TWINS = { "validation/nats_per_token": "train/loss", "validation/objective": "train/loss" };
const OKABE_ITO = {
  light: ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"],
  dark: ["#56b4e9", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#f0e442"],
};
// Cividis, as in the report: every kind of colour vision tells its order.
const CIVIDIS = ["#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#e1cc55", "#fee838"];

function unitName(key) {
  if (key.endsWith("_per_second") && !(key in UNITS)) return `${key.slice(0, -11).replaceAll("_", " ")}/s`;
  return UNITS[key] || key.replaceAll("_", " ");
}

function metricName(metric) {
  const [kind, key] = metric.split("/");
  if (kind === "validation") return validation(key);
  return unitName(key);
}

function validation(key) {
  return key.startsWith("nats") ? `validation loss (${unitName(key)})` : `validation ${unitName(key)}`;
}

function lossText(value) {
  return value === undefined || value === null ? "" : value >= 100 ? value.toFixed(1) : value >= 10 ? value.toFixed(2) : value.toFixed(4);
}

function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${String(minutes % 60).padStart(2, "0")} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

function deviceTime(seconds) {
  return seconds >= 360 ? `${digits(seconds / 3600)} device-hours` : `${duration(seconds)} of devices`;
}

function energy(joules) {
  for (const [scale, unit] of [[1e9, "GJ"], [1e6, "MJ"], [1e3, "kJ"]]) if (joules >= scale) return `${digits(joules / scale)} ${unit}`;
  return `${digits(joules)} J`;
}

function clock(seconds, withDate = true) {
  const at = new Date(seconds * 1000), two = (n) => String(n).padStart(2, "0");
  const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  return withDate ? `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${time}` : time;
}

function count(value) {
  return value === undefined || value === null ? "" : Math.round(value).toLocaleString("en");
}

function dark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function palette() {
  return OKABE_ITO[dark() ? "dark" : "light"];
}

// A colour of a share between 0 and 1; the end that would vanish in the paper is left out.
function shade(share) {
  const [from, to] = dark() ? [0.42, 1] : [0, 0.82];
  const at = (from + (to - from) * Math.min(1, Math.max(0, share))) * (CIVIDIS.length - 1);
  const low = Math.min(Math.floor(at), CIVIDIS.length - 2), part = at - low;
  const channel = (hex, n) => parseInt(hex.slice(1 + 2 * n, 3 + 2 * n), 16);
  return `rgb(${[0, 1, 2].map((n) => Math.round(channel(CIVIDIS[low], n) * (1 - part) + channel(CIVIDIS[low + 1], n) * part)).join(",")})`;
}

// --- the columns of the table ---

function size(row, axis) {
  return (row.sizes || {})[axis];
}

function dataSize(row) {
  return size(row, "frames") ?? size(row, "tokens");
}

function column(key, title, hint, value, text, more = {}) {
  return { key, title, hint, value, text: (row) => { const v = value(row); return v === undefined || v === null ? "" : text(v, row); }, ...more };
}

function nameCell(cell, row) {
  const button = element("button", { type: "button", textContent: row.name, title: row.name });
  button.setAttribute("aria-pressed", cell.parentNode.classList.contains("picked"));
  cell.replaceChildren(button);
}

function stateCell(cell, row) {
  cell.dataset.state = row.state;
  cell.replaceChildren(element("span", { className: "dot" }), row.state);
}

function reasonCell(cell, row) {
  const where = (row.error || row.file || "").replace(`${known.root}/`, "");
  cell.className = "left reason";
  cell.replaceChildren(row.reason || "", ...(where ? [element("br"), element("code", { textContent: where })] : []));
}

function columnsOf(rows) {
  const any = (test) => rows.some(test);
  const units = HEADLINES.filter((unit) => any((row) => unit in (row.losses || {})));
  const frames = any((row) => size(row, "frames"));
  const seen = frames ? "frames" : "tokens";
  return [
    column("name", "point", "", (row) => row.name, (v) => v, { left: true, fill: nameCell }),
    column("state", "state", "", (row) => row.state, (v) => v, { left: true, fill: stateCell }),
    ...(any((row) => row.reason) ? [column("reason", "reason", "why it is in this state, and where to read more", (row) => row.reason, (v, row) => `${v} ${row.error || row.file || ""}`, { left: true, fill: reasonCell })] : []),
    column("N", "N", "parameters, matrices only", (row) => size(row, "parameters"), count),
    column("D", `D (${seen})`, frames ? "distinct training frames" : "training tokens seen", dataSize, count),
    column("C", "C (FLOP)", "training compute, counted", (row) => size(row, "flops"), powerOfTen),
    ...units.map((unit) => column(unit, unitName(unit), "newest validation", (row) => (row.losses || {})[unit], lossText)),
    column("steps", "steps", "optimiser steps, of those planned", (row) => (row.planned ? (row.steps || 0) / row.planned : undefined), (v, row) => `${count(row.steps || 0)} / ${count(row.planned)}`),
    ...(any((row) => row.left && row.state === "running") ? [column("left", "left", "training time at its newest rate", (row) => (row.state === "running" ? row.left : undefined), duration)] : []),
    column("rate", "rate", "real units a second, padding left out", (row) => row.rate, (v, row) => `${v >= 100 ? count(v) : digits(v)} ${row.rate_of}/s`),
    ...(any((row) => row.mfu !== undefined) ? [column("mfu", "MFU", "share of the device's peak", (row) => row.mfu, (v) => `${v.toFixed(1)} %`)] : []),
    ...(any((row) => size(row, "joules")) ? [column("joules", "energy", "measured; blank where it could not be read", (row) => size(row, "joules"), energy)] : []),
    column("attempts", "starts", "how often it was started", (row) => row.attempts, count),
    ...(any((row) => row.skipped) ? [column("skipped", "skipped", "steps left out: no finite gradient", (row) => row.skipped, (v) => (v ? count(v) : ""))] : []),
    ...(any((row) => row.rolls) ? [column("rolls", "rolled back", "how often it went back to a checkpoint", (row) => (row.rolls || []).length, (v) => (v ? count(v) : ""))] : []),
    column("seed", "seed", "", (row) => row.seed, String),
    column("moved", "last change", "of its record or its metrics", (row) => row.moved, clock),
  ];
}

const DETAILS = [
  ["reason", (row) => row.reason], ["details in", (row) => row.error || row.file], ["folder", (row) => row.directory],
  ["overrides", (row) => row.overrides],
  ["losses", (row) => Object.entries(row.losses || {}).map(([key, v]) => `${unitName(key)} ${lossText(v)}`).join(" · ")],
  ["parameters", (row) => (row.sizes ? ["parameters", "blocks", "non_embedding", "all"].filter((a) => size(row, a)).map((a) => `${count(size(row, a))} ${a === "parameters" ? "matrices" : a.replace("_", "-")}`).join(" · ") : "")],
  ["data", (row) => (row.seen ? `${count(row.seen)} ${row.seen_of} seen, ${digits(row.epochs || 0)} epochs` : "")],
  ["compute", (row) => (size(row, "flops") ? `${powerOfTen(size(row, "flops"))} FLOP${row.inherited ? `, of which ${powerOfTen(row.inherited)} were another run's` : ""} · ${deviceTime(row.device_seconds || 0)} · ${row.device || "device unknown"}` : "")],
  ["efficiency", (row) => [row.mfu === undefined ? "" : `MFU ${row.mfu.toFixed(1)} %`, row.padding === undefined ? "" : `padding ${row.padding.toFixed(1)} %`, row.data_wait === undefined ? "" : `data wait ${row.data_wait.toFixed(1)} %`, row.memory === undefined ? "" : `peak memory ${row.memory.toFixed(2)} GiB`].filter(Boolean).join(" · ")],
  ["rolled back", (row) => (row.rolls || []).join(" · ")],
  ["skipped steps", (row) => (row.skipped ? count(row.skipped) : "")],
  ["unreadable lines", (row) => (row.broken_lines ? `${count(row.broken_lines)} of metrics.jsonl` : "")],
  ["first start", (row) => row.started], ["last change", (row) => (row.moved ? clock(row.moved) : "")],
  ["code", (row) => row.revision],
];
