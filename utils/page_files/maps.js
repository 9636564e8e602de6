// The maps of a day, on canvases, and the series of a cell, as a drawing.
'use strict';

const MAP_MARGINS = {left: 34, right: 16, top: 4, bottom: 20}; // px, of the degrees beside a map
const SHARPEST = 2; // pixels of a map for one of the page
// The colours of the figures: YlGnBu without its palest end, BrBG and RdBu of ColorBrewer, safe for colour-blind readers
const COLOURS = {
  soil: ['#f7fcc7', '#edf8b1', '#c7e9b4', '#7fcdbb', '#41b6c4', '#1d91c0', '#225ea8', '#253494', '#081d58'],
  difference: ['#543005', '#8c510a', '#bf812d', '#dfc27d', '#f6e8c3', '#f5f5f5', '#c7eae5', '#80cdc1', '#35978f', '#01665e',
    '#003c30'],
  skill: ['#67001f', '#b2182b', '#d6604d', '#f4a582', '#fddbc7', '#f7f7f7', '#d1e5f0', '#92c5de', '#4393c3', '#2166ac',
    '#053061'],
};

// maps

function panel([title, short = title], run, scale, read, caption) {
  const note = make('span');
  const canvas = make('canvas', {tabindex: 0, role: 'img', onclick: event => setCellAt(made, event), onkeydown: moveCell});
  const bar = colourBar(scale, endsBeyond(run, scale, read));
  const figure = make('figure', {class: 'map'}, make('figcaption', {}, make('b', {}, title), note), canvas, bar);
  const made = {title, short, run, scale, read, caption, note, canvas, figure, values: new Int16Array(run.cells),
    colours: colourTable(scale.palette), latEdges: edges(run.data.lat), lonEdges: edges(run.data.lon)};
  return made;
}

function endsBeyond(run, scale, read) { // whether values of any day lie [below, above] the ends of the colour bar
  const [low, high] = [scale.low, scale.high].map(end => Math.round(end / run.step));
  const values = new Int16Array(run.cells), found = [false, false];
  for (let day = 0; day < view.run.days.length && !(found[0] && found[1]); day++) {
    read(values, day);
    for (const value of values) {
      if (value > high) found[1] = true;
      else if (value < low && value !== MISSING) found[0] = true;
    }
  }
  return found;
}

function colourBar(scale, [below, above]) {
  const stops = COLOURS[scale.palette];
  const text = scale.palette === 'soil' ? fixed : signed;
  const found = ticks(scale.low, scale.high, 6);
  const labels = found.values.map(value => make('span', {style: `left:${100 * (value - scale.low) / (scale.high - scale.low)}%`},
    text(Math.abs(value) < 1e-9 ? 0 : value, found.digits)));
  const arrow = (name, path, fill) => draw('svg', {class: name, viewBox: '0 0 9 12', role: 'img',
    'aria-label': `Values lie ${name}`}, draw('title', {}, `Values lie ${name}`), draw('path', {d: path, fill}));
  return make('div', {class: 'colour-bar'}, make('i', {style: `background:linear-gradient(to right,${stops.join()})`}),
    below ? arrow('below', 'M9 .5L.5 6 9 11.5', stops[0]) : '', above ? arrow('above', 'M0 .5L8.5 6 0 11.5', stops.at(-1)) : '',
    make('div', {}, ...labels), make('p', {}, scale.unit));
}

function pixel(hex) { // as a canvas keeps it on little-endian machines
  const [red, green, blue] = [1, 3, 5].map(start => parseInt(hex.slice(start, start + 2), 16));
  return (255 << 24 | blue << 16 | green << 8 | red) >>> 0;
}

function colourTable(palette) {
  const stops = COLOURS[palette];
  return Uint32Array.from({length: 256}, (_, number) => {
    const place = number / 255 * (stops.length - 1), left = Math.min(stops.length - 2, Math.floor(place)), share = place - left;
    const part = shift => {
      const [before, after] = [stops[left], stops[left + 1]].map(stop => pixel(stop) >>> shift & 255);
      return Math.round((1 - share) * before + share * after);
    };
    return (255 << 24 | part(16) << 16 | part(8) << 8 | part(0)) >>> 0;
  });
}

function edges(centres) {
  if (centres.length === 1) return [centres[0] - 0.5, centres[0] + 0.5];
  const inner = centres.slice(1).map((value, number) => (value + centres[number]) / 2);
  return [2 * centres[0] - inner[0], ...inner, 2 * centres.at(-1) - inner.at(-1)];
}

function layOut() { // sizes of maps and series, when a run is opened or the window changes
  if (!view) return;
  const style = getComputedStyle(document.documentElement);
  const colour = name => style.getPropertyValue(name).trim();
  view.sea = pixel(colour('--sea'));
  view.gap = pixel(colour('--gap'));
  view.ink = colour('--soft');
  view.mark = colour('--mark');
  view.lines = colour('--strong-line');
  const dots = Math.min(SHARPEST, window.devicePixelRatio || 1);
  view.shown = view.panels.filter(each => each.figure.clientWidth); // a phone shows one map
  for (const each of view.shown) layOutPanel(each, dots);
  drawSeries();
  redraw();
}

function layOutPanel(panel, dots) {
  const {canvas, run, latEdges, lonEdges} = panel;
  const [north, south, west, east] = [latEdges[0], latEdges.at(-1), lonEdges[0], lonEdges.at(-1)];
  const width = Math.max(120, panel.figure.clientWidth);
  const inner = width - MAP_MARGINS.left - MAP_MARGINS.right;
  const tall = (north - south) / (east - west) / Math.cos((north + south) / 2 * Math.PI / 180);
  const height = Math.round(inner * Math.min(1.3, Math.max(0.4, tall)));
  canvas.width = Math.round(width * dots);
  canvas.height = Math.round((height + MAP_MARGINS.top + MAP_MARGINS.bottom) * dots);
  canvas.style.height = `${height + MAP_MARGINS.top + MAP_MARGINS.bottom}px`;
  const context = canvas.getContext('2d');
  const image = context.createImageData(Math.round(inner * dots), Math.round(height * dots));
  Object.assign(panel, {dots, inner, height, context, image,
    x: lon => MAP_MARGINS.left + (lon - west) / (east - west) * inner, // px of the canvas
    y: lat => MAP_MARGINS.top + (north - lat) / (north - south) * height,
    lonAt: x => west + (x - MAP_MARGINS.left) / inner * (east - west),
    latAt: y => north - (y - MAP_MARGINS.top) / height * (north - south),
    pixels: new Uint32Array(image.data.buffer), cellColours: new Uint32Array(run.cells),
    cellOfPixel: new Int32Array(image.width * image.height)});
  const columns = Array.from({length: image.width}, (_, x) => between(lonEdges, west + (x + 0.5) / image.width * (east - west)));
  for (let y = 0, i = 0; y < image.height; y++) {
    const row = between(latEdges, north - (y + 0.5) / image.height * (north - south));
    for (const column of columns) panel.cellOfPixel[i++] = run.cellAt[row * run.columns + column];
  }
  drawDegrees(panel);
}

function between(edges, value) { // index of the interval that holds a value; edges ascend or descend
  const sign = Math.sign(edges.at(-1) - edges[0]);
  let low = 0, high = edges.length - 2;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sign * (value - edges[middle + 1]) >= 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

function drawDegrees(panel) {
  const {canvas, context, dots, inner, height, latEdges, lonEdges} = panel;
  const degrees = (value, digits, letters) => `${Math.abs(value).toFixed(digits)}°${value === 0 ? '' : letters[+(value < 0)]}`;
  context.setTransform(dots, 0, 0, dots, 0, 0);
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.fillStyle = view.ink;
  context.font = '11px system-ui, sans-serif';
  context.textAlign = 'right';
  context.textBaseline = 'middle';
  const down = ticks(latEdges.at(-1), latEdges[0], height / 60);
  for (const lat of down.values) context.fillText(degrees(lat, down.digits, 'NS'), MAP_MARGINS.left - 4, panel.y(lat));
  context.textAlign = 'center';
  context.textBaseline = 'top';
  const across = ticks(lonEdges[0], lonEdges.at(-1), inner / 80);
  for (const lon of across.values) {
    context.fillText(degrees((lon + 540) % 360 - 180, across.digits, 'EW'), panel.x(lon), MAP_MARGINS.top + height + 5);
  }
}

function redraw() { // maps and texts of the day
  if (!view) return;
  const {run, day} = view;
  for (const panel of view.shown) {
    panel.read(panel.values, day);
    paint(panel);
    panel.note.textContent = panel.caption(day, panel.values);
    panel.canvas.setAttribute('aria-label',
      `Map: ${panel.title}, ${dayText(run.days[day])}. ${panel.note.textContent}. Arrow keys move the chosen cell.`);
  }
  view.slider.value = day;
  view.slider.style.setProperty('--passed', `${100 * day / Math.max(1, run.days.length - 1)}%`);
  view.slider.setAttribute('aria-valuetext', dayText(run.days[day]));
  view.dayLabel.textContent = dayText(run.days[day]);
  markDay();
  writeReadout();
}

function paint(panel) {
  const {values, cellColours, pixels, cellOfPixel, colours, scale, run, context, dots} = panel;
  const low = scale.low / run.step, factor = 255 / ((scale.high - scale.low) / run.step);
  for (let cell = 0; cell < values.length; cell++) {
    const value = values[cell];
    cellColours[cell] = value === MISSING ? view.gap : colours[Math.max(0, Math.min(255, Math.round((value - low) * factor)))];
  }
  for (let i = 0; i < pixels.length; i++) pixels[i] = cellOfPixel[i] < 0 ? view.sea : cellColours[cellOfPixel[i]];
  context.putImageData(panel.image, MAP_MARGINS.left * dots, MAP_MARGINS.top * dots);
  context.setTransform(dots, 0, 0, dots, 0, 0);
  context.strokeStyle = view.lines;
  context.lineWidth = 1;
  context.strokeRect(MAP_MARGINS.left + 0.5, MAP_MARGINS.top + 0.5, panel.inner - 1, panel.height - 1);
  markCell(panel);
}

function markCell(panel) {
  const {context, latEdges, lonEdges, run} = panel;
  const cell = cellOn(panel);
  if (cell < 0) return;
  const row = Math.floor(run.places[cell] / run.columns), column = run.places[cell] % run.columns;
  const [left, right] = [lonEdges[column], lonEdges[column + 1]].map(panel.x);
  const [top, bottom] = [latEdges[row], latEdges[row + 1]].map(panel.y);
  const size = Math.max(9, right - left + 3, bottom - top + 3);
  for (const [colour, width] of [['#fff', 4], [view.mark, 2]]) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.strokeRect((left + right - size) / 2, (top + bottom - size) / 2, size, size);
  }
}

function cellOn(panel) { // on a map, which may have another grid, the cell that holds the centre of the chosen one, or -1
  if (panel.run === view.run) return view.cell;
  const {latEdges, lonEdges, run} = panel;
  const lat = latOf(view.run, view.cell);
  const east = (((lonOf(view.run, view.cell) - lonEdges[0]) % 360) + 360) % 360; // degrees from the western edge
  if (lat > latEdges[0] || lat < latEdges.at(-1) || east > lonEdges.at(-1) - lonEdges[0]) return -1;
  return run.cellAt[between(latEdges, lat) * run.columns + between(lonEdges, lonEdges[0] + east)];
}

function setCellAt(panel, event) {
  const box = panel.canvas.getBoundingClientRect();
  setCell(nearestCell(view.run, panel.latAt(event.clientY - box.top), panel.lonAt(event.clientX - box.left)));
}

function moveCell(event) {
  const step = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]}[event.key];
  if (!step) return;
  event.preventDefault();
  event.stopPropagation();
  const {run} = view;
  let row = Math.floor(run.places[view.cell] / run.columns), column = run.places[view.cell] % run.columns;
  do { // over water to the next land
    row += step[0];
    column += step[1];
  } while (row >= 0 && row < run.rows && column >= 0 && column < run.columns && run.cellAt[row * run.columns + column] < 0);
  if (row >= 0 && row < run.rows && column >= 0 && column < run.columns) setCell(run.cellAt[row * run.columns + column]);
}

// the series of a cell

function drawSeries() {
  const {run, cell, other, series} = view;
  const of = (each, values, number) => each.days.map((_, day) => valueOf(each, values, day, number));
  const forecast = of(run, run.forecast, cell), observed = of(run, run.observed, cell);
  const others = other ? of(other.run, other.run.forecast, sameCellOf(other.run)) : [];
  const banded = Boolean(run.below);
  const below = banded ? of(run, run.below, cell).map((distance, day) => forecast[day] - distance) : [];
  const above = banded ? of(run, run.above, cell).map((distance, day) => forecast[day] + distance) : [];
  const shown = others.filter((_, day) => run.dayOf.has(other.run.days[day]));
  const axes = seriesAxes([...forecast, ...observed, ...below, ...above, ...shown].filter(Number.isFinite));
  const {x, y, box, width, height} = axes;
  const line = (days, values, about) => draw('path', {d: linePath(days, values, x, y), fill: 'none', 'stroke-width': 1.8,
    'stroke-linejoin': 'round', ...about});
  view.seriesScale = axes;
  view.dayLine = draw('line', {y1: box.top, y2: box.bottom, stroke: 'var(--mark)', 'stroke-width': 1.5});
  series.setAttribute('height', height);
  series.setAttribute('viewBox', `0 0 ${width} ${height}`);
  series.setAttribute('aria-label', `Series of the cell at ${placeText(latOf(run, cell), lonOf(run, cell))}: forecast and `
    + 'observation by day');
  series.replaceChildren(
    draw('clipPath', {id: 'series-box'}, draw('rect', {x: box.left, y: 0, width: box.right - box.left, height})),
    ...axisLines(axes),
    banded ? draw('path', {d: bandPath(run.days, below, above, x, y), fill: 'var(--band)'}) : '',
    draw('path', {d: dotPath(run.days, observed, x, y), stroke: 'var(--ink)', 'stroke-width': run.days.length > 120 ? 3 : 5,
      'stroke-linecap': 'round', fill: 'none'}),
    other ? line(other.run.days, others, {stroke: 'var(--worse)', 'clip-path': 'url(#series-box)'}) : '',
    line(run.days, forecast, {stroke: 'var(--better)'}), view.dayLine);
  markDay();
}

function seriesAxes(values) { // where days and values stand in the drawing, px
  const {run, series, shown} = view;
  const width = Math.max(240, series.parentNode.clientWidth);
  const height = width < 600 ? 210 : Math.max(230, Math.min(420, shown[0].height + 30)); // as tall as the map beside it
  const box = {left: 44, right: width - 10, top: 8, bottom: height - 24};
  const margin = Math.max(0.005, 0.05 * (Math.max(...values) - Math.min(...values)));
  const low = Math.min(...values) - margin, high = Math.max(...values) + margin;
  const first = run.days[0], last = Math.max(run.days.at(-1), first + 1);
  return {width, height, box, low, high, first, last,
    x: day => box.left + (day - first) / (last - first) * (box.right - box.left),
    y: value => box.bottom - (value - low) / (high - low) * (box.bottom - box.top)};
}

function axisLines({x, y, box, low, high, first, last}) {
  const scale = ticks(low, high, 5);
  const anchor = place => place < box.left + 20 ? 'start' : place > box.right - 20 ? 'end' : 'middle';
  return [
    ...scale.values.flatMap(value => [draw('line', {class: 'grid', x1: box.left, x2: box.right, y1: y(value), y2: y(value)}),
      draw('text', {x: box.left - 6, y: y(value) + 4, 'text-anchor': 'end'}, value.toFixed(scale.digits))]),
    ...dayTicks(first, last, (box.right - box.left) / 62).flatMap(([day, text]) => [
      draw('line', {class: 'axis', x1: x(day), x2: x(day), y1: box.bottom, y2: box.bottom + 4}),
      draw('text', {x: x(day), y: box.bottom + 17, 'text-anchor': anchor(x(day))}, text)]),
    draw('line', {class: 'axis', x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom})];
}

const point = (x, y) => `${x.toFixed(1)} ${y.toFixed(1)}`;

function linePath(days, values, x, y) { // broken where a value is missing
  const joined = number => number > 0 && Number.isFinite(values[number - 1]);
  return days.map((day, number) => Number.isFinite(values[number])
    ? `${joined(number) ? 'L' : 'M'}${point(x(day), y(values[number]))}` : '').join('');
}

function bandPath(days, below, above, x, y) {
  const there = [...days.keys()].filter(day => Number.isFinite(below[day] + above[day]));
  if (!there.length) return '';
  const edge = (numbers, values) => numbers.map(day => point(x(days[day]), y(values[day]))).join('L');
  return `M${edge(there, above)}L${edge(there.reverse(), below)}Z`;
}

function dotPath(days, values, x, y) {
  return days.map((day, number) => Number.isFinite(values[number]) ? `M${point(x(day), y(values[number]))}h0` : '').join('');
}

function dayTicks(first, last, most) { // days of an axis and what to call them: months, or weeks of a short one
  const names = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
  const length = last - first;
  if (length < 100) {
    const step = [1, 2, 5, 7, 14, 28].find(each => length / each <= most) || 56;
    return Array.from({length: Math.floor(length / step) + 1}, (_, number) => {
      const date = new Date((first + number * step) * DAY);
      const text = `${date.getUTCDate()} ${names[date.getUTCMonth()]}`;
      return [first + number * step, number ? text : `${text} ${date.getUTCFullYear()}`];
    });
  }
  const step = [1, 2, 3, 6, 12, 24, 60].find(each => length / 30.4 / each <= most) || 120;
  const found = [];
  const start = new Date(first * DAY);
  for (let month = start.getUTCFullYear() * 12 + start.getUTCMonth(); ; month++) {
    const day = Date.UTC(Math.floor(month / 12), month % 12, 1) / DAY;
    if (day > last) return found;
    if (day < first || month % step) continue;
    const text = names[month % 12];
    found.push([day, month % 12 && found.length ? text : `${text} ${Math.floor(month / 12)}`]);
  }
}

function markDay() {
  if (!view.seriesScale) return;
  const place = view.seriesScale.x(view.run.days[view.day]);
  view.dayLine.setAttribute('x1', place);
  view.dayLine.setAttribute('x2', place);
}

function dayAt(event) {
  const {box, first, last, width} = view.seriesScale;
  const outline = view.series.getBoundingClientRect();
  const x = (event.clientX - outline.left) * width / outline.width;
  return chooseDay(first + (x - box.left) / (box.right - box.left) * (last - first));
}
