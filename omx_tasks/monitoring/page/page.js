"use strict";
// Draws the timeline on a canvas: only the rows in sight, so that thousands of operations cost no more than a few.

const data = JSON.parse(document.getElementById("data").textContent);
const spans = data.spans.map((fields, index) => ({
  index,
  name: fields[0], call: data.calls[fields[1]], state: fields[2], agent: data.agents[fields[3]] || "",
  attempts: fields[4], error: fields[5], lane: fields[6], critical: fields[7],
  begun: fields[8], answered: fields[9],
  segments: fields[10].map(([kind, begin, end]) => ({kind: data.kinds[kind], begin, end})),
}));
for (const span of spans) {
  span.wrong = span.state === "failed" || span.state === "unknown";
  span.label = (span.wrong ? "✘ " : "") + span.name;
  const last = span.segments[span.segments.length - 1];
  span.ended = last ? last.end : 0;
  span.ready = (span.segments.find((one) => one.kind !== "dependency") || {begin: 0}).begin;
}
const short = data.agents.map((agent) => agent.split("@")[0]);
const agentNames = new Set(short).size === short.length ? short : data.agents;
const critical = data.critical.map((index) => spans[index]);

const element = (id) => document.getElementById(id);
const chart = element("chart"), spacer = element("spacer"), canvas = element("canvas"), tip = element("tip");
const pen = canvas.getContext("2d");
const AXIS = 26, LOAD = 62, GAP = 8, FEW = 120, NARROW = 150;

const view = {bySlot: spans.length > FEW, only: false, word: "", from: 0, to: data.seconds || 1, selected: null, drag: null};
let rows = [], places = new Map(), colors = {}, gutter = 200, rowHeight = 18, width = 0, height = 0;

// --- what is in which row --------------------------------------------------------------------------

function matches(span) {
  if (view.only && !span.critical) return false;
  return !view.word || (span.name + " " + span.call).toLowerCase().includes(view.word);
}

// Zoomed in, an operation has a row only while it waited for a slot or ran then.
function inSight(span) {
  return span.ready <= view.to && span.ended >= view.from;
}

function arrange() {
  const shown = spans.filter(matches);
  if (view.bySlot) {
    rows = data.lanes.map(([agent, slot]) => ({label: slot === 1 ? agentNames[agent] : "", slot, spans: []}));
    for (const span of shown) if (span.lane >= 0) rows[span.lane].spans.push(span);
  } else {
    rows = shown.filter(inSight).map((span) => ({label: span.label, spans: [span]}));
  }
  places = new Map();
  rows.forEach((row, place) => row.spans.forEach((span) => places.set(span, place)));
  const room = Math.max(320, innerHeight - 400) - AXIS - LOAD;
  const most = 26, least = view.bySlot ? 7 : 15;
  rowHeight = Math.max(least, Math.min(most, Math.floor(room / Math.max(1, rows.length))));
  fit();
}

function fit() {
  pen.font = "12px system-ui, sans-serif";
  const widest = rows.reduce((most, row) => Math.max(most, Math.min(34, row.label.length)), 8);
  width = chart.clientWidth;
  gutter = Math.round(Math.max(NARROW, Math.min(width * 0.3, 16 + 6.6 * widest + (view.bySlot ? 18 : 0))));
  const whole = AXIS + LOAD + rows.length * rowHeight + GAP;
  spacer.style.height = whole + "px";
  height = Math.min(whole, chart.clientHeight);
  const ratio = devicePixelRatio || 1;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  canvas.style.height = height + "px";
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  draw();
}

// --- drawing ---------------------------------------------------------------------------------------

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
  const step = niceStep((view.to - view.from) / Math.max(2, (width - gutter) / 110));
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
  if (row.label) pen.fillText(shortened(row.label, gutter - (view.bySlot ? 38 : 14)), 8, Math.max(y, y + rowHeight / 2));
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
  const most = Math.max(data.slots, ...taken), longest = Math.max(1, ...waiting), half = LOAD / 2 - 6;
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
  pen.fillText(shortened("slots, of " + data.slots, gutter - 12), 8, AXIS + half / 2);
  pen.fillText(shortened("waiting, up to " + Math.round(longest), gutter - 12), 8, AXIS + LOAD - 6 - half / 2);
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

// --- what is under the pointer ---------------------------------------------------------------------

function spanAt(event) {
  const box = canvas.getBoundingClientRect(), px = event.clientX - box.left, py = event.clientY - box.top;
  if (py < AXIS + LOAD) return null;
  const row = rows[Math.floor((py - AXIS - LOAD + chart.scrollTop) / rowHeight)];
  if (!row) return null;
  if (!view.bySlot) return row.spans[0];
  const time = timeAt(px), near = (timeAt(1) - timeAt(0)) * 2;
  return row.spans.find((span) => span.begun - near <= time && time <= span.ended + near) || null;
}

// Everything that comes from a run is set as text, never as markup.
function told(parent, tag, text, name) {
  const child = document.createElement(tag);
  child.textContent = text;
  if (name) child.className = name;
  parent.append(child);
  return child;
}

function describe(parent, span) {
  parent.replaceChildren();
  told(parent, "b", span.name);
  const tries = span.attempts > 1 ? " · " + span.attempts + " attempts" : "";
  told(parent, "div", [span.call, span.state, span.agent].filter(Boolean).join(" · ") + tries
    + (span.critical ? " · on the critical path" : ""));
  const list = told(parent, "ul", "");
  for (const {kind, begin, end} of span.segments) {
    const item = told(list, "li", "");
    told(item, "i", "", kind);
    item.append(kind + " ");
    told(item, "b", took(end - begin));
    item.append(" from " + took(begin));
  }
  if (span.error) told(parent, "div", span.error, "error");
}

function select(span) {
  view.selected = span;
  if (!span) {
    element("details").textContent = "Click an operation to see where its time went.";
  } else {
    describe(element("details"), span);
  }
  if (places.has(span)) {
    const y = yOf(places.get(span));
    if (y < AXIS + LOAD) chart.scrollTop += y - AXIS - LOAD;
    if (y + rowHeight > height) chart.scrollTop += y + rowHeight - height;
  }
  draw();
}

function hover(event) {
  if (view.drag) {
    view.drag.to = event.clientX - canvas.getBoundingClientRect().left;
    draw();
    return;
  }
  const span = spanAt(event);
  tip.hidden = !span;
  if (!span) return;
  tip.replaceChildren();
  told(tip, "b", span.name);
  told(tip, "div", span.call + " · " + span.state);
  const parts = span.segments.filter((one) => one.kind !== "dependency");
  told(tip, "div", parts.map((one) => one.kind + " " + took(one.end - one.begin)).join(" · "));
  tip.style.left = Math.max(8, Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8)) + "px";
  tip.style.top = Math.max(8, Math.min(event.clientY + 16, innerHeight - tip.offsetHeight - 8)) + "px";
}

// --- zoom ------------------------------------------------------------------------------------------

function show(from, to) {
  const whole = data.seconds || 1, length = Math.min(whole, Math.max(whole / 1e5, to - from));
  view.from = Math.max(0, Math.min(from, whole - length));
  view.to = view.from + length;
  if (view.bySlot) draw();
  else arrange();
}

function zoom(factor, centre) {
  const length = (view.to - view.from) * factor, share = (centre - view.from) / (view.to - view.from);
  show(centre - length * share, centre + length * (1 - share));
}

function wheel(event) {
  const sideways = event.shiftKey ? event.deltaY : event.deltaX;
  if (event.ctrlKey || event.metaKey) {
    zoom(event.deltaY > 0 ? 1.25 : 0.8, timeAt(event.clientX - canvas.getBoundingClientRect().left));
  } else if (sideways) {
    const shift = sideways / width * (view.to - view.from);
    show(view.from + shift, view.to + shift);
  } else {
    return;
  }
  event.preventDefault();
}

function release(event) {
  const drag = view.drag;
  view.drag = null;
  if (!drag) return;
  if (Math.abs(drag.to - drag.from) > 6) {
    show(timeAt(Math.min(drag.from, drag.to)), timeAt(Math.max(drag.from, drag.to)));
  } else {
    select(spanAt(event));
  }
}

function keys(event) {
  const step = {ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1}[event.key];
  const shown = rows.flatMap((row) => row.spans);
  if (event.key === "Escape") {
    select(null);
  } else if (step && shown.length) {
    const place = shown.indexOf(view.selected);
    select(shown[Math.max(0, Math.min(shown.length - 1, place < 0 ? 0 : place + step))]);
    event.preventDefault();
  }
}

function press() {
  element("by-slot").setAttribute("aria-pressed", view.bySlot);
  element("by-operation").setAttribute("aria-pressed", !view.bySlot);
  chart.scrollTop = 0;
  arrange();
}

element("by-slot").onclick = () => { view.bySlot = true; press(); };
element("by-operation").onclick = () => { view.bySlot = false; press(); };
element("only-critical").onchange = (event) => { view.only = event.target.checked; arrange(); };
element("filter").oninput = (event) => { view.word = event.target.value.toLowerCase(); arrange(); };
element("zoom-in").onclick = () => zoom(0.5, (view.from + view.to) / 2);
element("zoom-out").onclick = () => zoom(2, (view.from + view.to) / 2);
element("zoom-all").onclick = () => show(0, data.seconds || 1);
canvas.onpointerdown = (event) => {
  const px = event.clientX - canvas.getBoundingClientRect().left;
  canvas.setPointerCapture(event.pointerId);
  tip.hidden = true;
  view.drag = {from: px, to: px};
};
canvas.onpointermove = hover;
canvas.onpointerup = release;
canvas.onpointerleave = () => { tip.hidden = true; };
canvas.ondblclick = () => show(0, data.seconds || 1);
canvas.addEventListener("wheel", wheel, {passive: false});
canvas.onkeydown = keys;
chart.onscroll = draw;
addEventListener("resize", arrange);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readColors(); draw(); });
readColors();
press();
