// Draws the timeline on a canvas: only the rows in sight, so that thousands of operations cost no more than a few.

const x = (time) => gutter + (time - view.from) / (view.to - view.from) * (width - gutter - GAP);
const timeAt = (pixel) => view.from + (pixel - gutter) / (width - gutter - GAP) * (view.to - view.from);
const yOf = (place) => AXIS + LOAD + place * rowHeight - chart.scrollTop;

function readColors() {
  const style = getComputedStyle(document.documentElement);
  for (const name of [...data.kinds, "paper", "ink", "soft", "line", "row", "good", "bad"]) {
    colors[name] = style.getPropertyValue("--" + name).trim();
  }
}

function draw() {
  pen.clearRect(0, 0, width, height);
  pen.font = (rowHeight < 13 ? 10 : 12) + "px system-ui, sans-serif";
  pen.textBaseline = "middle";
  const step = niceStep((view.to - view.from) / Math.max(2, (width - gutter) / (width < SMALL ? 60 : 110)));
  if (!view.bySlot) drawStripes();
  drawGrid(step);
  const first = Math.max(0, Math.floor(chart.scrollTop / rowHeight));
  const last = Math.min(rows.length, first + Math.ceil(height / rowHeight) + 1);
  for (let place = first; place < last; place++) drawRow(rows[place], place);
  clipped(drawPath);
  clipped(drawIdeal);
  drawLoad();
  drawAxis(step);
  if (view.drag) drawDrag();
}

function clipped(paint) {
  pen.save();
  pen.beginPath();
  pen.rect(gutter, AXIS + LOAD, width - gutter, height - AXIS - LOAD);
  pen.clip();
  paint();
  pen.restore();
}

function drawStripes() {
  pen.fillStyle = colors.row;
  for (let place = 1; place < rows.length; place += 2) pen.fillRect(0, yOf(place), width, rowHeight);
}

function drawRow(row, place) {
  const y = yOf(place);
  const group = view.bySlot && row.slot === 1;
  if (group && place) {
    pen.fillStyle = colors.line;
    pen.fillRect(0, y, width, 1);
  }
  clipped(() => row.spans.forEach((span) => drawSpan(span, y)));
  const one = view.bySlot ? null : row.spans[0];
  pen.fillStyle = one && one.wrong ? colors.bad : one && !one.critical ? colors.soft : colors.ink;
  if (one && one.critical) pen.font = "600 " + pen.font;
  pen.textAlign = "left";
  if (row.label) pen.fillText(shortened(row.label, gutter - (view.bySlot ? 38 : 14)), 8, y + Math.max(rowHeight / 2, 7));  // not under the load
  pen.font = pen.font.replace(/^\d{3} /, "");
  if (view.bySlot && rowHeight >= 11) {
    pen.fillStyle = colors.soft;
    pen.textAlign = "right";
    pen.fillText(row.slot, gutter - 6, y + rowHeight / 2);
  }
}

function drawSpan(span, y) {
  if (x(span.ended) < gutter || x(view.bySlot ? span.begun : 0) > width) return;
  const pad = rowHeight < 10 ? 1 : rowHeight < 16 ? 2 : 3, tall = rowHeight - 2 * pad;
  for (const {kind, begin, end} of span.segments) {
    if (view.bySlot && end <= span.begun) continue;
    const left = x(begin), wide = Math.max(0.75, x(end) - left);
    const thin = kind === "dependency";
    pen.fillStyle = colors[kind];
    pen.fillRect(left, thin ? y + rowHeight / 2 - 1 : y + pad, wide, thin ? 2 : tall);
  }
  const left = x(span.begun), wide = Math.max(1, x(span.ended) - left);
  if (view.bySlot && wide > 6) {  // neighbours in a lane touch
    pen.fillStyle = colors.paper;
    pen.fillRect(left - 0.5, y + pad, 1, tall);
  }
  if (span.critical) outline(left, y + pad, wide, tall);
  if (span === view.selected) {
    pen.strokeStyle = colors.ink;
    pen.lineWidth = 2;
    const from = x(view.bySlot ? span.begun : 0);
    pen.strokeRect(from, y + 1, Math.max(3, x(span.ended) - from), rowHeight - 2);
  }
  drawName(span, y);
}

function outline(left, y, wide, tall) {
  pen.fillStyle = pen.strokeStyle = colors.ink;
  pen.lineWidth = 1.5;
  if (wide > 4) pen.strokeRect(left + 0.75, y + 0.75, wide - 1.5, tall - 1.5);
  else pen.fillRect(left, y, wide, tall);
}

// A name is written on its bar by slot, and only where there is room for it.
function drawName(span, y) {
  const left = Math.max(gutter, x(span.begun)), room = x(span.answered) - left;
  if (!view.bySlot || rowHeight < 13 || room < 24) return;
  const text = shortened(span.label, room - 10);
  if (text !== span.label && text.length < 7) return;
  pen.fillStyle = "#fff";
  pen.textAlign = "left";
  pen.fillText(text, left + 5, y + rowHeight / 2);
}

function drawPath() {
  pen.strokeStyle = colors.ink;
  pen.lineWidth = 1;
  pen.setLineDash([2, 2]);
  pen.beginPath();
  for (let place = 1; place < critical.length; place++) {
    const before = critical[place - 1], after = critical[place];
    if (!places.has(before) || !places.has(after)) continue;
    pen.moveTo(x(before.ended), yOf(places.get(before)) + rowHeight / 2);
    pen.lineTo(x(before.ended), yOf(places.get(after)) + rowHeight / 2);
    pen.lineTo(x(after.begun), yOf(places.get(after)) + rowHeight / 2);
  }
  pen.stroke();
  pen.setLineDash([]);
}

// How many slots were taken and how many operations waited for one, over time: the run at one glance.
function drawLoad() {
  pen.fillStyle = colors.paper;
  pen.fillRect(0, 0, width, AXIS + LOAD);
  const wide = Math.max(1, Math.floor(width - gutter - GAP));
  const taken = counted(wide, (span) => [span.begun, span.answered]);
  const waiting = counted(wide, (span) => [span.ready, span.begun]);
  const most = Math.max(1, ...taken), longest = Math.max(1, ...waiting), half = LOAD / 2 - 6;
  for (let column = 0; column < wide; column++) {
    const up = taken[column] / most * half, down = waiting[column] / longest * half;
    pen.fillStyle = colors.call;
    pen.fillRect(gutter + column, AXIS + half - up, 1, up);
    pen.fillStyle = colors.slot;
    pen.fillRect(gutter + column, AXIS + LOAD - 6 - down, 1, down);
  }
  pen.font = "12px system-ui, sans-serif";
  pen.fillStyle = colors.soft;
  pen.textAlign = "left";
  const upTo = width < SMALL ? "" : "up to ", slots = Math.round(most) + " of " + data.slots + " slots";
  pen.fillText(shortened(upTo + slots, gutter - 12), 8, AXIS + half / 2);
  pen.fillText(shortened(upTo + Math.round(longest) + " waiting", gutter - 12), 8, AXIS + LOAD - 6 - half / 2);
  pen.fillStyle = colors.line;
  pen.fillRect(0, AXIS + LOAD - 3, width, 1);
}

// The mean number of spans in each column of pixels.
function counted(wide, stretch) {
  const change = new Float64Array(wide + 2), scale = wide / (view.to - view.from);
  const add = (moment, sign) => {  // a step in the middle of a column counts for its share
    const place = Math.min(wide, Math.max(0, (moment - view.from) * scale)), column = Math.floor(place);
    change[column] += sign * (1 - (place - column));
    change[column + 1] += sign * (place - column);
  };
  for (const span of spans) {
    if (!matches(span)) continue;
    const [begin, end] = stretch(span);
    add(begin, 1);
    add(end, -1);
  }
  let sum = 0;
  return Array.from(change.subarray(0, wide), (step) => Math.max(0, sum += step));
}

function ticks(step) {
  const count = Math.floor((view.to - view.from) / step) + 1, first = Math.ceil(view.from / step);
  return Array.from({length: count}, (_, place) => (first + place) * step).filter((tick) => tick <= view.to);
}

function drawGrid(step) {
  pen.fillStyle = colors.line;
  pen.globalAlpha = 0.7;
  for (const tick of ticks(step)) pen.fillRect(Math.round(x(tick)), AXIS, 1, height);
  pen.globalAlpha = 1;
}

function drawAxis(step) {
  pen.font = "12px system-ui, sans-serif";
  pen.textAlign = "center";
  pen.fillStyle = colors.soft;
  for (const tick of ticks(step)) {
    if (x(tick) < width - 24) pen.fillText(written(tick, step), Math.max(gutter + 10, x(tick)), AXIS / 2);
  }
}

// Where the ideal schedule would have been over.
function drawIdeal() {
  pen.strokeStyle = colors.good;
  pen.lineWidth = 1.5;
  pen.setLineDash([5, 4]);
  pen.beginPath();
  pen.moveTo(x(data.ideal), AXIS + LOAD);
  pen.lineTo(x(data.ideal), height);
  pen.stroke();
  pen.setLineDash([]);
  pen.textAlign = "right";
  pen.font = "12px system-ui, sans-serif";
  pen.fillStyle = colors.paper;
  pen.fillRect(x(data.ideal) - 38, height - 18, 36, 16);
  pen.fillStyle = colors.good;
  pen.fillText("ideal", x(data.ideal) - 6, height - 9);
}

function niceStep(rough) {
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough);
}

function drawDrag() {
  pen.fillStyle = colors.call;
  pen.globalAlpha = 0.2;
  pen.fillRect(Math.min(view.drag.from, view.drag.to), AXIS, Math.abs(view.drag.to - view.drag.from), height);
  pen.globalAlpha = 1;
}

function shortened(text, room) {
  if (room <= 8) return "";
  if (pen.measureText(text).width <= room) return text;
  let keep = Math.max(0, Math.floor(room / 7));
  while (keep && pen.measureText(text.slice(0, keep) + "…").width > room) keep--;
  return keep ? text.slice(0, keep) + "…" : "";
}

function written(seconds, step) {
  if (step < 0.1 && view.to < 1) return (seconds * 1000).toFixed(step < 0.001 ? 1 : 0) + " ms";
  return seconds.toFixed(step >= 1 ? 0 : Math.min(6, Math.ceil(-Math.log10(step)))) + " s";
}

function took(seconds) {
  return seconds < 0.1 ? (seconds * 1000).toFixed(1) + " ms" : seconds.toFixed(2) + " s";
}
