// A small line chart in SVG, drawn anew each time.

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 180;
const LEFT = 52; // room for the labels
const EDGE = 10;

// Draws lines of [time, value] points, or only the points, between two times.
//   series       [{ name, points }]; the line is of the class "line-" + name
//   from, to     the times at the edges
//   logarithmic  from 0.1 to 10000, with the points marked
export function draw(svg, { series, from, to, logarithmic = false, label }) {
  const width = svg.clientWidth;
  const scale = logarithmic ? logarithmicScale() : linearScale(series);
  const x = (time) => LEFT + ((width - LEFT - EDGE) * (time - from)) / (to - from);
  const y = (value) => EDGE + (HEIGHT - 2 * EDGE) * (1 - scale.part(value));

  svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  svg.setAttribute("aria-label", label);
  const parts = [];
  for (const tick of scale.ticks) {
    const height = y(tick);
    parts.push(make("line", { class: "grid", x1: LEFT, x2: width - EDGE, y1: height, y2: height }));
    const text = make("text", { x: LEFT - 6, y: height + 4, "text-anchor": "end" });
    text.textContent = scale.text(tick);
    parts.push(text);
  }
  for (const { name, points } of series) {
    const visible = points.filter(([time], index) => time >= from || points[index + 1]?.[0] >= from);
    const places = visible.map(([time, value]) => [Math.max(LEFT, x(time)).toFixed(1), y(value).toFixed(1)]);
    parts.push(make("polyline", { class: `line-${name}`, points: places.map(String).join(" ") }));
    if (!logarithmic) continue;
    for (const [cx, cy] of places) parts.push(make("circle", { class: `line-${name}`, cx, cy, r: 2.5 }));
  }
  svg.replaceChildren(...parts);
}

function make(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function linearScale(series) {
  const most = Math.max(4, ...series.flatMap(({ points }) => points.map(([, value]) => value)));
  // 1, 2 or 5 times a power of ten, so that three to five lines fit.
  const power = 10 ** Math.floor(Math.log10(most / 4));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size * 5 >= most);
  const top = Math.ceil(most / step) * step;
  const ticks = Array.from({ length: Math.round(top / step) + 1 }, (_, index) => index * step);
  return { ticks, part: (value) => value / top, text: (value) => short(value) };
}

function logarithmicScale() {
  const ticks = [0.1, 1, 10, 100, 1000, 10_000];
  const part = (value) => (Math.log10(Math.min(Math.max(value, 0.1), 10_000)) + 1) / 5;
  return { ticks, part, text: (value) => (value < 1000 ? `${value} ms` : `${value / 1000} s`) };
}

export function short(value) {
  if (value >= 1e6) return `${+(value / 1e6).toPrecision(3)} M`;
  return value >= 1e4 ? `${+(value / 1e3).toPrecision(3)} k` : String(value);
}
