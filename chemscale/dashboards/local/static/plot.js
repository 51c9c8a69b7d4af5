"use strict";
// Curves and points on a canvas: a thousand lines, each with its own x, on linear or logarithmic axes.
// (Plot libraries that are small ask all lines to share their x; that is why this is our own.)

const SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹";

function element(name, settings = {}, ...inside) {
  const made = Object.assign(document.createElement(name), settings);
  made.append(...inside);
  return made;
}

function digits(value, count = 3) {
  return String(Number(value.toPrecision(count)));
}

function powerOfTen(value) {
  if (!value) return "0";
  let power = Math.floor(Math.log10(Math.abs(value)) + 1e-9);
  let front = digits(value / 10 ** power);
  if (front === "10") { front = "1"; power += 1; }
  if (power >= -2 && power <= 3) return digits(value);
  const raised = (power < 0 ? "⁻" : "") + [...String(Math.abs(power))].map((d) => SUPERSCRIPTS[d]).join("");
  return (front === "1" ? "" : front + "·") + "10" + raised;
}

function short(value) {
  for (const [scale, letter] of [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "k"]]) {
    if (Math.abs(value) >= 0.9995 * scale) return digits(value / scale) + letter;
  }
  return digits(value);
}

// Places of ticks between two ends, at most about `most`.
function ticks(low, high, log, most) {
  const out = [];
  if (log && high / low > 8) {
    const decades = Math.log10(high / low);
    const factors = decades < 1.5 ? [1, 1.5, 2, 3, 5, 7] : decades < 3 ? [1, 3] : [1];
    for (let k = Math.floor(Math.log10(low)); k <= Math.ceil(Math.log10(high)); k++) {
      for (const factor of factors) out.push(factor * 10 ** k);
    }
    const within = out.filter((v) => v >= low && v <= high);
    const every = Math.ceil(within.length / most);
    return within.filter((_, n) => n % every === 0);
  }
  const rough = (high - low) / most, scale = 10 ** Math.floor(Math.log10(rough));
  const step = scale * [1, 2, 5, 10].find((m) => m * scale >= rough);
  for (let k = Math.ceil(low / step); k * step <= high; k++) out.push(Number((k * step).toPrecision(12)));
  return out;
}

class Plot {
  // onPick(id) is called when a line or point is clicked or chosen by the keyboard.
  constructor(box, label, onPick) {
    this.box = box; this.onPick = onPick;
    this.base = element("canvas");
    this.over = element("canvas", { tabIndex: 0 });
    this.over.setAttribute("role", "img");
    this.over.setAttribute("aria-label", `${label}. Arrow keys go from point to point, Enter marks a run.`);
    this.tip = element("div", { className: "tip", hidden: true });
    this.tip.setAttribute("role", "status");
    this.empty = element("p", { className: "empty soft" });
    this.reset = element("button", { type: "button", className: "reset", textContent: "whole view", hidden: true });
    box.append(this.base, this.over, this.tip, this.empty, this.reset);
    this.lines = []; this.bands = []; this.picked = null; this.zoom = null; this.at = null;
    this.over.addEventListener("pointermove", (event) => this.moved(event));
    this.over.addEventListener("pointerdown", (event) => this.pressed(event));
    this.over.addEventListener("pointerup", (event) => this.released(event));
    this.over.addEventListener("pointerleave", () => { if (!this.from) this.show(null); });
    this.over.addEventListener("blur", () => this.show(null));
    this.over.addEventListener("keydown", (event) => this.key(event));
    this.over.addEventListener("dblclick", () => this.whole());
    this.reset.addEventListener("click", () => this.whole());
    new ResizeObserver(() => this.draw()).observe(box);
  }

  // lines: {id, name, x, y, color, alpha, width, dash, shape, stroke}; bands: {x, low, high, color};
  // x and y: {label, log, format}; empty: words where there is nothing to draw.
  set({ lines, bands = [], x, y, empty = "" }) {
    const same = this.x && this.x.label === x.label && this.y.label === y.label && this.x.log === x.log && this.y.log === y.log;
    if (!same) this.zoom = null;
    Object.assign(this, { lines, bands, x, y });
    this.empty.textContent = lines.some((line) => line.x.length) ? "" : empty;
    this.draw();
  }

  pick(id) { this.picked = id; this.drawOver(); }

  whole() { this.zoom = null; this.draw(); }

  // Low and high of what is drawn, with room around it.
  range(axis, log) {
    let low = Infinity, high = -Infinity;
    const take = (values) => {
      for (const v of values) {
        if (v === null || (log && v <= 0)) continue;
        if (v < low) low = v;
        if (v > high) high = v;
      }
    };
    for (const line of this.lines) take(line[axis]);
    if (low > high) return log ? [1, 10] : [0, 1];
    // A band that opens far beyond the runs must not press them into a corner.
    const [lowest, highest] = log ? [low / 1.5, high * 1.5] : [low - (high - low) / 2, high + (high - low) / 2];
    for (const band of this.bands) {
      take((axis === "x" ? band.x : [...band.low, ...band.high]).filter((v) => v >= lowest && v <= highest));
    }
    if (log) {
      const room = Math.max((high / low) ** 0.05, 1.02);
      return [low / room, high * room];
    }
    const room = 0.05 * (high - low) || Math.abs(high) * 0.05 || 1;
    return [low < 0 || low - room > 0 || axis === "y" ? low - room : 0, high + room];
  }

  place() {
    const [width, height] = [this.box.clientWidth, this.box.clientHeight];
    const ratio = window.devicePixelRatio || 1;
    for (const canvas of [this.base, this.over]) {
      canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio);
      canvas.getContext("2d").setTransform(ratio, 0, 0, ratio, 0, 0);
    }
    const [xs, ys] = this.zoom || [this.range("x", this.x.log), this.range("y", this.y.log)];
    this.frame = { left: 58, right: width - 20, top: 10, bottom: height - 42 };
    const scale = ([low, high], log, from, to) => {
      const f = log ? Math.log10 : (v) => v, a = f(low), b = f(high);
      const forth = (v) => (v === null || (log && v <= 0) ? NaN : from + ((f(v) - a) / (b - a)) * (to - from));
      const back = (p) => { const v = a + ((p - from) / (to - from)) * (b - a); return log ? 10 ** v : v; };
      return { low, high, forth, back };
    };
    this.sx = scale(xs, this.x.log, this.frame.left, this.frame.right);
    this.sy = scale(ys, this.y.log, this.frame.bottom, this.frame.top);
  }

  draw() {
    if (!this.x || !this.box.clientWidth) return;
    this.place();
    this.reset.hidden = !this.zoom;
    const g = this.base.getContext("2d");
    g.clearRect(0, 0, this.base.width, this.base.height);
    this.axes(g);
    g.save(); this.clip(g);
    for (const band of this.bands) this.band(g, band);
    for (const line of this.lines) {
      line.px = Float32Array.from(line.x, this.sx.forth);
      line.py = Float32Array.from(line.y, this.sy.forth);
      this.line(g, line, line.width || 1.2, line.alpha ?? 1);
    }
    g.restore();
    this.drawOver();
  }

  clip(g) {
    const { left, right, top, bottom } = this.frame;
    g.beginPath(); g.rect(left, top - 4, right - left + 4, bottom - top + 4); g.clip();
  }

  axes(g) {
    const { left, right, top, bottom } = this.frame, colors = getComputedStyle(this.box);
    g.font = "12px system-ui, sans-serif"; g.lineWidth = 1;
    g.strokeStyle = colors.borderColor; g.fillStyle = colors.color;
    g.textAlign = "center"; g.textBaseline = "top";
    for (const v of ticks(this.sx.low, this.sx.high, this.x.log, Math.max(2, (right - left) / 75))) {
      const p = this.sx.forth(v);
      g.beginPath(); g.moveTo(p, top); g.lineTo(p, bottom + 4); g.stroke();
      g.fillText(this.x.format(v), p, bottom + 6);
    }
    g.fillText(this.x.label, (left + right) / 2, bottom + 24, right - left);
    g.textAlign = "right"; g.textBaseline = "middle";
    for (const v of ticks(this.sy.low, this.sy.high, this.y.log, Math.max(2, (bottom - top) / 38))) {
      const p = this.sy.forth(v);
      g.beginPath(); g.moveTo(left - 4, p); g.lineTo(right, p); g.stroke();
      g.fillText(this.y.format(v), left - 7, p);
    }
    g.save(); g.translate(9, (top + bottom) / 2); g.rotate(-Math.PI / 2);
    g.textAlign = "center"; g.fillText(this.y.label, 0, 0, bottom - top);
    g.restore();
  }

  band(g, { x, low, high, color }) {
    const upper = x.map((v, n) => [v, high[n]]).filter(([, v]) => v !== null);
    const lower = x.map((v, n) => [v, low[n]]).filter(([, v]) => v !== null && (v > 0 || !this.y.log)).reverse();
    g.beginPath();
    for (const [v, w] of [...upper, ...lower]) g.lineTo(this.sx.forth(v), this.sy.forth(w));
    g.closePath(); g.globalAlpha = 0.16; g.fillStyle = color; g.fill(); g.globalAlpha = 1;
  }

  line(g, line, width, alpha) {
    g.globalAlpha = alpha; g.strokeStyle = g.fillStyle = line.color; g.lineWidth = width;
    g.setLineDash(line.dash || []);
    if (line.stroke !== false && line.px.length > 1) {
      g.beginPath();
      let drawing = false;
      for (let n = 0; n < line.px.length; n++) {
        if (!isFinite(line.px[n]) || !isFinite(line.py[n])) continue;
        if (drawing) g.lineTo(line.px[n], line.py[n]); else g.moveTo(line.px[n], line.py[n]);
        drawing = true;
      }
      g.stroke();
    }
    g.setLineDash([]);
    if (line.shape || line.px.length === 1) {
      for (let n = 0; n < line.px.length; n++) this.mark(g, line.px[n], line.py[n], line.shape || "dot", width);
    }
    g.globalAlpha = 1;
  }

  mark(g, x, y, shape, width) {
    if (!isFinite(x) || !isFinite(y)) return;
    const r = 3 + width / 2;
    g.beginPath();
    if (shape === "cross") {
      g.moveTo(x - r, y - r); g.lineTo(x + r, y + r); g.moveTo(x - r, y + r); g.lineTo(x + r, y - r); g.stroke();
    } else {
      g.arc(x, y, r, 0, 2 * Math.PI);
      if (shape === "ring") g.stroke(); else g.fill();
    }
  }

  drawOver() {
    if (!this.frame) return;
    const g = this.over.getContext("2d"), { left, top } = this.frame;
    g.clearRect(0, 0, this.over.width, this.over.height);
    g.save(); this.clip(g);
    for (const line of this.lines) if (line.id !== undefined && line.id === this.picked) this.line(g, line, line.main === false ? 1.8 : 3.2, 1);
    const hovered = this.at && this.at.line;
    if (hovered && hovered.id !== this.picked) this.line(g, hovered, 2.4, 1);
    if (this.at) { g.strokeStyle = getComputedStyle(this.box).color; g.lineWidth = 1.5; this.mark(g, this.at.px, this.at.py, "ring", 4); }
    g.restore();
    if (this.from && this.to) {
      g.fillStyle = "rgba(128,128,128,.25)";
      g.fillRect(this.from.x, this.from.y, this.to.x - this.from.x, this.to.y - this.from.y);
    }
  }

  // --- pointing ---

  nearest(x, y, reach) {
    let best = reach * reach, found = null;
    for (const line of this.lines) {
      if (line.id === undefined || !line.px) continue;
      for (let n = 0; n < line.px.length; n++) {
        const dx = line.px[n] - x, dy = line.py[n] - y, far = dx * dx + dy * dy;
        if (far < best) { best = far; found = { line, n, px: line.px[n], py: line.py[n] }; }
      }
    }
    return found;
  }

  show(at) {
    this.at = at;
    this.tip.hidden = !at;
    if (at) {
      const { line, n } = at;
      this.tip.replaceChildren(element("b", { textContent: line.name }), element("br"),
        `${this.y.label}: ${digits(line.y[n], 5)}`, element("br"), `${this.x.label}: ${this.x.format(line.x[n])}`);
      const width = this.box.clientWidth, wide = this.tip.offsetWidth;
      this.tip.style.left = `${Math.max(0, Math.min(at.px + 12, width - wide - 4))}px`;
      this.tip.style.top = `${at.py > 90 ? at.py - this.tip.offsetHeight - 10 : at.py + 14}px`;
    }
    this.drawOver();
  }

  spot(event) {
    const box = this.over.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  moved(event) {
    const { x, y } = this.spot(event);
    if (this.from && Math.hypot(x - this.from.x, y - this.from.y) > 6) { this.to = { x, y }; this.show(null); return; }
    this.show(this.nearest(x, y, 40));
  }

  pressed(event) {
    const spot = this.spot(event);
    if (event.pointerType === "mouse") { this.from = spot; this.over.setPointerCapture(event.pointerId); }
    else this.show(this.nearest(spot.x, spot.y, 40));
  }

  released(event) {
    const { from, to } = this;
    this.from = this.to = null;
    if (from && to && Math.abs(to.x - from.x) > 8 && Math.abs(to.y - from.y) > 8) {
      const order = (a, b) => (a < b ? [a, b] : [b, a]);
      this.zoom = [order(this.sx.back(from.x), this.sx.back(to.x)), order(this.sy.back(from.y), this.sy.back(to.y))];
      this.draw();
    } else {
      const spot = this.spot(event), at = this.nearest(spot.x, spot.y, 40);
      if (at) this.onPick(at.line.id);
    }
  }

  key(event) {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [1, 0], ArrowDown: [-1, 0] }[event.key];
    const lines = this.lines.filter((line) => line.id !== undefined && line.px && line.px.length);
    if (event.key === "Escape") this.show(null);
    if (event.key === "Enter" && this.at) this.onPick(this.at.line.id);
    if (!step || !lines.length) return;
    event.preventDefault();
    const now = this.at ? lines.indexOf(this.at.line) : -1;
    const line = lines[now < 0 ? 0 : (now + step[0] + lines.length) % lines.length];
    const n = now < 0 ? 0 : Math.min(Math.max(0, this.at.n + step[1]), line.px.length - 1);
    this.show({ line, n, px: line.px[n], py: line.py[n] });
  }
}
