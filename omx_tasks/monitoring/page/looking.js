// Hovering, selecting, stepping and zooming; then the page is drawn for the first time.

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
canvas.onpointercancel = () => { view.drag = null; draw(); };
canvas.onpointerleave = () => { tip.hidden = true; };
canvas.ondblclick = () => show(0, data.seconds || 1);
canvas.addEventListener("wheel", wheel, {passive: false});
canvas.onkeydown = keys;
chart.onscroll = draw;
addEventListener("resize", arrange);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readColors(); draw(); });
readColors();
press();
