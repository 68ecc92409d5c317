"use strict";
// What the page knows of a run, how it is looked at, and which operation is in which row.

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
const AXIS = 26, LOAD = 62, GAP = 8, FOOT = 20, FEW = 120, SMALL = 480;

const view = {bySlot: spans.length > FEW, only: false, word: "", from: 0, to: data.seconds || 1, selected: null, drag: null};
let rows = [], places = new Map(), colors = {}, gutter = 200, rowHeight = 18, width = 0, height = 0;

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
  const room = Math.max(320, innerHeight - 400) - AXIS - LOAD - FOOT;
  const most = 26, least = view.bySlot ? 7 : 15;
  rowHeight = Math.max(least, Math.min(most, Math.floor(room / Math.max(1, rows.length))));
  fit();
}

function fit() {
  pen.font = "12px system-ui, sans-serif";
  const widest = rows.reduce((most, row) => Math.max(most, Math.min(34, row.label.length)), 8);
  width = chart.clientWidth;
  gutter = Math.round(Math.max(width < SMALL ? 100 : 150, Math.min(width * 0.3, 16 + 6.6 * widest + (view.bySlot ? 18 : 0))));
  const whole = AXIS + LOAD + rows.length * rowHeight + FOOT;
  spacer.style.height = whole + "px";
  height = Math.min(whole, chart.clientHeight);
  const ratio = devicePixelRatio || 1;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  canvas.style.height = height + "px";
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  draw();
}
