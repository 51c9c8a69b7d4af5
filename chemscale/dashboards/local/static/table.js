"use strict";
// The table of points: sorted by a heading, filtered from outside, changed cell by cell so that nothing jumps.

class Table {
  // columns(rows) gives the columns that these rows need: {key, title, hint, value(row), text(row), fill(cell, row), left}.
  constructor(box, columns, onPick, onSort) {
    Object.assign(this, { box, columns, onPick, onSort, sort: "", down: false, picked: null });
    this.head = element("tr");
    this.body = element("tbody");
    box.append(element("table", {}, element("thead", {}, this.head), this.body));
    this.shown = new Map();
    this.body.addEventListener("click", (event) => {
      const row = event.target.closest("tr");
      if (row && !String(getSelection())) this.onPick(row.dataset.id);
    });
  }

  // rows: [[id, row], …] that the filter lets through; all: every row, which decides about columns.
  update(rows, all) {
    const columns = this.columns(all);
    const { scrollLeft, scrollTop } = this.box;
    const keys = columns.map((column) => `${column.key} ${column.title}`).join("|");
    if (keys !== this.keys) {
      this.keys = keys;
      this.now = columns;
      this.shown.clear();
      this.body.replaceChildren();
      this.heading();
    }
    const by = this.now.find((column) => column.key === this.sort) || { value: this.first };
    const placed = rows.map(([id, row]) => [id, row, by.value(row)]).sort((a, b) => this.order(a, b));
    const order = placed.map(([id, row]) => this.line(id, row));
    for (const [id, line] of this.shown) if (!line.kept) { line.tr.remove(); this.shown.delete(id); }
    let at = this.body.firstChild;
    for (const tr of order) {
      if (tr === at) at = at.nextSibling; else this.body.insertBefore(tr, at);
    }
    for (const line of this.shown.values()) line.kept = false;
    Object.assign(this.box, { scrollLeft, scrollTop });
  }

  // What needs a person comes first.
  first(row) {
    const place = ["failed", "unreadable", "silent", "running", "preempted", "paused"].indexOf(row.state);
    return place < 0 ? 9 : place;
  }

  order([idA, a, x], [idB, b, y]) {
    const missing = (v) => v === undefined || v === null || v === "";
    if (missing(x) !== missing(y)) return missing(x) ? 1 : -1;
    if (x !== y && !missing(x)) return (x < y ? -1 : 1) * (this.down ? -1 : 1);
    for (const axis of ["parameters", "frames", "tokens"]) {
      const gap = ((a.sizes || {})[axis] || 0) - ((b.sizes || {})[axis] || 0);
      if (gap) return gap;
    }
    return (a.seed || 0) - (b.seed || 0) || (idA < idB ? -1 : 1);
  }

  heading() {
    this.head.replaceChildren(...this.now.map((column) => {
      const button = element("button", { type: "button", textContent: column.title, title: column.hint || "" });
      button.addEventListener("click", () => {
        // Once up, once down, then as it was.
        if (this.sort !== column.key) [this.sort, this.down] = [column.key, false];
        else if (!this.down) this.down = true;
        else [this.sort, this.down] = ["", false];
        this.mark();
        this.onSort();
      });
      const th = element("th", { scope: "col", className: column.left ? "left" : "" }, button);
      th.dataset.key = column.key;
      return th;
    }));
    this.mark();
  }

  mark() {
    for (const th of this.head.children) {
      const mine = th.dataset.key === this.sort;
      if (mine) th.setAttribute("aria-sort", this.down ? "descending" : "ascending"); else th.removeAttribute("aria-sort");
    }
  }

  line(id, row) {
    let line = this.shown.get(id);
    if (!line) {
      const tr = element("tr");
      tr.dataset.id = id;
      const cells = this.now.map((column, n) => {
        const cell = element(n ? "td" : "th", { className: column.left ? "left" : "" });
        if (!n) cell.scope = "row";
        return cell;
      });
      tr.append(...cells);
      line = { tr, cells, row: null, texts: [] };
      this.shown.set(id, line);
      if (id === this.picked) tr.classList.add("picked");
    }
    line.kept = true;
    if (line.row !== row) {
      line.row = row;
      line.tr.dataset.state = row.state;
      this.now.forEach((column, n) => {
        const text = column.text(row);
        if (line.texts[n] === text) return;
        line.texts[n] = text;
        if (column.fill) column.fill(line.cells[n], row); else line.cells[n].textContent = text;
      });
    }
    return line.tr;
  }

  pick(id) {
    const mark = (key, on) => {
      const line = this.shown.get(key);
      if (!line) return;
      line.tr.classList.toggle("picked", on);
      const button = line.tr.querySelector("button");
      if (button) button.setAttribute("aria-pressed", on);
    };
    mark(this.picked, false);
    this.picked = id;
    mark(id, true);
  }
}
