// The page of results: a table of runs and, for one run, its maps by day. Plain JavaScript, no server, no network.
//
// page/runs.js calls takeRuns with the table; page/data/<run>/lead<d>.js, loaded when a run is opened, calls takeRun with
// what utils/pack_forecast.py has packed. Values are Int16 in steps of data.step, by day and land cell; MISSING stands for NaN.
// What files and runs are called comes from users: it reaches the page as text only, never as HTML.
'use strict';

const MISSING = -32768;
const DAY = 86400000; // milliseconds
const UNIT = 'm³ m⁻³';
const KEPT_RUNS = 4; // that stay unpacked in memory
const MAP_MARGINS = {left: 34, right: 16, top: 4, bottom: 20}; // px, of the degrees beside a map
const SHARPEST = 2; // pixels of a map for one of the page
const FRAME = 50; // ms a day while it plays
// The colours of the figures: YlGnBu without its palest end, BrBG and RdBu of ColorBrewer, safe for colour-blind readers
const COLOURS = {
  soil: ['#f7fcc7', '#edf8b1', '#c7e9b4', '#7fcdbb', '#41b6c4', '#1d91c0', '#225ea8', '#253494', '#081d58'],
  difference: ['#543005', '#8c510a', '#bf812d', '#dfc27d', '#f6e8c3', '#f5f5f5', '#c7eae5', '#80cdc1', '#35978f', '#01665e', '#003c30'],
  skill: ['#67001f', '#b2182b', '#d6604d', '#f4a582', '#fddbc7', '#f7f7f7', '#d1e5f0', '#92c5de', '#4393c3', '#2166ac', '#053061'],
};
// Forecasters of the strip in the table: label, colour, shape
const MARKS = {
  own: ['this run', 'var(--better)', 'diamond'],
  ceiling: ['ceiling', 'var(--ink)', 'bar'],
  water_balance: ['water balance', 'var(--water)', 'dot'],
  damped_persistence: ['damped persistence', 'var(--reference)', 'dot'],
  persistence: ['persistence', 'var(--pale)', 'ring'],
  climatology: ['climatology', 'var(--pale)', 'cross'],
};
const COLUMNS = [ // key, title, class, whether the first click puts large values first
  ['experiment', 'Experiment', 'experiment', false], ['model', 'Network', 'model', false], ['name', 'Run', 'name', false],
  ['lead', 'Lead', 'lead', false], ['rmse', 'RMSE', 'number', false], ['r2', 'R²', 'number wide-only', true],
  ['skill', 'Skill', 'skill-cell', true], ['baselines', 'Beside the baselines', 'strip-cell', null],
  ['n', 'Values', 'number wide-only', true], ['data', 'Data', 'data', false], ['date', 'Made', 'date wide-only', true],
];

let table = {runs: [], make_again: ''};
let sorting = {key: 'date', down: true};
const taken = new Map(); // key of a row -> what its data file gave
const opening = new Map(); // key of a row -> promise of the unpacked run
let view = null; // of the open run: run, row, day, cell, other, panels, and the elements that change
let writtenAddress = null;
let openings = 0;
let frame = 0;
let playing = 0;
let addressTimer = 0;

// what the data files call

function takeRuns(given) {
  table = given;
  for (const row of table.runs) row.data = row.synthetic ? 'synthetic' : 'real';
}

function takeRun(data) {
  taken.set(keyOf(data), data);
}

const keyOf = row => `${row.id} ${row.lead}`;

// elements

function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function draw(tag, attributes = {}, ...children) {
  return fill(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter(child => child != null && child !== ''));
  return element;
}

const find = selector => document.querySelector(selector);

function say(text) {
  const note = find('#trouble');
  note.textContent = text || '';
  note.hidden = !text;
}

// numbers and days

const fixed = (value, digits) => value == null || !Number.isFinite(value) ? '–' : value.toFixed(digits).replace('-', '−');
const signed = (value, digits) => (Number.isFinite(value) && value > 0 ? '+' : '') + fixed(value, digits);
const counted = value => value == null ? '–' : value.toLocaleString('en');
const dayText = day => new Date(day * DAY).toISOString().slice(0, 10);
const leadText = lead => `${lead} ${lead === 1 ? 'day' : 'days'}`;
const words = name => name.replaceAll('_', ' ');

function placeText(lat, lon) {
  const east = (lon + 540) % 360 - 180;
  return `${Math.abs(lat).toFixed(2)}° ${lat < 0 ? 'S' : 'N'}, ${Math.abs(east).toFixed(2)}° ${east < 0 ? 'W' : 'E'}`;
}

function ticks(low, high, most) {
  const rough = (high - low) / Math.max(1, most) || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 2.5, 5, 10].find(each => each * power >= rough * 0.999);
  const found = [];
  for (let number = Math.ceil(low / step - 1e-6); number * step <= high + 1e-6 * step; number++) found.push(number * step);
  return {step, values: found, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9) + (Math.abs(step / power - 2.5) < 1e-9 ? 1 : 0))};
}

// the table of runs

function showTable() {
  view = null;
  stopPlaying();
  document.title = 'Soil moisture forecasts: results';
  find('#run-view').hidden = true;
  const section = find('#table-view');
  section.hidden = false;
  if (!section.childElementCount) buildTable(section);
  fillTable();
}

function buildTable(section) {
  const choose = (id, title, key, text = value => value) => {
    const values = [...new Set(table.runs.map(row => row[key]))].sort((a, b) => compare(a, b));
    return make('label', {}, title, make('select', {id, onchange: fillTable}, make('option', {value: ''}, 'all'),
      ...values.map(value => make('option', {value}, text(value)))));
  };
  const sorts = COLUMNS.filter(([, , , down]) => down !== null);
  section.append(
    make('div', {class: 'filters'},
      make('label', {class: 'wide'}, 'Filter', make('input', {id: 'filter', type: 'search', placeholder: 'words of experiment, network, run …',
        oninput: fillTable})),
      choose('experiment', 'Experiment', 'experiment'), choose('model', 'Network', 'model'),
      choose('lead', 'Lead time', 'lead', leadText), choose('data', 'Data', 'data'),
      make('label', {class: 'phone'}, 'Sort by', make('select', {id: 'sort', onchange: event => sortBy(event.target.value)},
        ...sorts.map(([key, title]) => make('option', {value: key, selected: key === sorting.key}, title))))),
    make('p', {class: 'legend'}, ...Object.keys(MARKS).map(name => make('span', {},
      draw('svg', {width: 14, height: 14, 'aria-hidden': 'true'}, mark(name, 7, 7)), MARKS[name][0])),
    make('span', {}, `RMSE in ${UNIT}; skill = 1 − MSE / MSE of damped persistence`)),
    make('table', {class: 'runs'}, make('thead', {}, make('tr', {}, ...COLUMNS.map(([key, title, name, down]) =>
      make('th', {scope: 'col', 'data-key': key, class: name}, down === null ? make('button', {disabled: true}, title)
        : make('button', {type: 'button', onclick: () => sortBy(key)}, title))))),
    make('tbody')),
    make('p', {class: 'note', id: 'none', hidden: true}));
}

function sortBy(key) {
  const down = COLUMNS.find(column => column[0] === key)[3];
  sorting = {key, down: sorting.key === key ? !sorting.down : down};
  fillTable();
}

function compare(a, b) {
  if (a == null || b == null) return (a == null) - (b == null);
  return typeof a === 'number' ? a - b : String(a).localeCompare(String(b), 'en', {numeric: true});
}

function chosenRows() {
  const asked = find('#filter').value.toLowerCase().split(/\s+/).filter(Boolean);
  const rows = table.runs.filter(row => {
    const text = [row.experiment, row.model, row.name, row.member, row.data, row.date].join(' ').toLowerCase();
    return asked.every(word => text.includes(word))
      && ['experiment', 'model', 'lead', 'data'].every(key => !find(`#${key}`).value || String(row[key]) === find(`#${key}`).value);
  });
  const {key, down} = sorting;
  return rows.sort((a, b) => (a[key] == null || b[key] == null ? compare(a[key], b[key]) : (down ? -1 : 1) * compare(a[key], b[key]))
    || compare(a.id, b.id) || a.lead - b.lead);
}

function fillTable() {
  const rows = chosenRows();
  const errors = table.runs.flatMap(row => [row.rmse, ...Object.values(row.others)]).filter(Number.isFinite);
  const range = [Math.min(...errors), Math.max(...errors)];
  const skills = table.runs.map(row => row.skill).filter(Number.isFinite);
  const ends = [Math.max(-1, Math.min(0, ...skills)), Math.max(0.1, ...skills)];
  find('.runs tbody').replaceChildren(...rows.map(row => tableRow(row, range, ends)));
  for (const head of document.querySelectorAll('.runs th')) {
    if (head.dataset.key === sorting.key) head.setAttribute('aria-sort', sorting.down ? 'descending' : 'ascending');
    else head.removeAttribute('aria-sort');
  }
  const all = new Set(table.runs.map(row => row.id)).size;
  const shown = new Set(rows.map(row => row.id)).size;
  find('#count').textContent = shown === all ? `${all} ${all === 1 ? 'run' : 'runs'}` : `${shown} of ${all} runs`;
  const none = find('#none');
  none.hidden = rows.length > 0;
  none.textContent = table.runs.length ? 'No run is like that.' : 'No run is finished yet: a training script adds its run here when it ends.';
}

function tableRow(row, range, ends) {
  const address = '#' + new URLSearchParams({run: row.id, lead: row.lead});
  return make('tr', {}, make('td', {class: 'experiment'}, row.experiment), make('td', {}, row.model),
    make('td', {class: 'name'}, make('a', {href: address}, row.name), row.member ? make('span', {class: 'soft'}, ` ${row.member}`) : ''),
    make('td', {class: 'lead'}, leadText(row.lead)),
    make('td', {class: 'number', 'data-label': 'RMSE'}, fixed(row.rmse, 4)),
    make('td', {class: 'number wide-only', 'data-label': 'R²'}, fixed(row.r2, 3)),
    make('td', {class: 'skill-cell', 'data-label': 'Skill'}, skillBar(row.skill, ends)),
    make('td', {class: 'strip-cell'}, strip(row, range)),
    make('td', {class: 'number wide-only', 'data-label': 'Values'}, counted(row.n)),
    make('td', {}, dataChip(row)), make('td', {class: 'date wide-only'}, row.date.slice(0, 10)));
}

const dataChip = row => make('span', {class: row.synthetic ? 'chip' : 'chip real'}, row.data);

function skillBar(skill, [low, high]) {
  const place = value => 100 * (Math.min(high, Math.max(low, value)) - low) / (high - low);
  const bar = make('span', {class: 'bar', 'aria-hidden': 'true'});
  if (Number.isFinite(skill)) {
    const [from, to] = [place(Math.min(0, skill)), place(Math.max(0, skill))];
    bar.append(make('i', {style: `left:${from}%;width:${to - from}%;background:var(--${skill < 0 ? 'worse' : 'better'})`}));
  }
  bar.append(make('b', {style: `left:${place(0)}%`}));
  return make('span', {class: 'skill'}, bar, make('span', {class: 'number'}, fixed(skill, 3)));
}

function strip(row, [low, high]) {
  const x = value => 8 + 194 * (value - low) / (high - low || 1);
  const errors = {...row.others, own: row.rmse};
  const names = Object.keys(MARKS).filter(name => Number.isFinite(errors[name])).reverse();
  const text = names.map(name => `${MARKS[name][0]} ${fixed(errors[name], 4)}`).reverse().join(', ');
  return draw('svg', {class: 'strip', viewBox: '0 0 210 22', role: 'img', 'aria-label': `RMSE: ${text}`}, draw('title', {}, `RMSE: ${text}`),
    draw('line', {class: 'grid', x1: 4, x2: 206, y1: 11, y2: 11}), ...names.map(name => mark(name, x(errors[name]), 11)));
}

function mark(name, x, y) {
  const [, colour, shape] = MARKS[name];
  const stroke = {stroke: colour, 'stroke-width': 2, fill: 'none'};
  if (shape === 'diamond') return draw('path', {d: `M${x} ${y - 6}l6 6-6 6-6-6z`, fill: colour});
  if (shape === 'bar') return draw('path', {d: `M${x} ${y - 7}v14`, ...stroke});
  if (shape === 'cross') return draw('path', {d: `M${x - 3.5} ${y - 3.5}l7 7m0-7l-7 7`, ...stroke});
  return draw('circle', {cx: x, cy: y, r: 4, ...(shape === 'ring' ? stroke : {fill: colour})});
}

// loading and unpacking

function open(row) {
  const key = keyOf(row);
  if (!opening.has(key)) {
    const promise = loadScript(row).then(() => unpackRun(taken.get(key)));
    promise.catch(() => opening.delete(key));
    promise.finally(() => taken.delete(key)).catch(() => {});
    opening.set(key, promise);
    if (opening.size > KEPT_RUNS) opening.delete(opening.keys().next().value);
  }
  return opening.get(key);
}

function loadScript(row) {
  return new Promise((done, fail) => {
    const script = make('script', {src: `page/data/${row.id}/lead${row.lead}.js`});
    const failed = () => fail(new Error(`There are no maps of this run yet. To make them: ${table.make_again}`));
    script.onload = () => { script.remove(); taken.has(keyOf(row)) ? done() : failed(); };
    script.onerror = () => { script.remove(); failed(); };
    document.head.append(script);
  });
}

async function inflate(text) {
  const letters = atob(text);
  const bytes = new Uint8Array(letters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = letters.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function unpack(packed, days, cells) {
  const bytes = await inflate(packed.changes);
  const size = days * cells;
  const values = new Int16Array(size);
  for (let i = 0; i < size; i++) {
    values[i] = (bytes[i] | bytes[size + i] << 8) + (i < cells ? 0 : values[i - cells]);
  }
  if (packed.missing) {
    const bits = await inflate(packed.missing);
    for (let i = 0; i < size; i++) if (bits[i >> 3] & (128 >> (i & 7))) values[i] = MISSING;
  }
  return values;
}

async function unpackRun(data) {
  if (typeof DecompressionStream === 'undefined') throw new Error('This browser is too old to unpack the maps: take one of 2023 or later.');
  const land = await inflate(data.land);
  const rows = data.lat.length, columns = data.lon.length;
  const cellAt = new Int32Array(rows * columns).fill(-1); // of the map
  const places = []; // of the cells on the map
  for (let i = 0; i < land.length; i++) if (land[i]) { cellAt[i] = places.length; places.push(i); }
  const run = {data, step: data.step, days: data.days, cells: places.length, rows, columns, cellAt, places,
    dayOf: new Map(data.days.map((day, number) => [day, number]))};
  for (const name of ['forecast', 'observed', 'below', 'above']) {
    if (data[name]) run[name] = await unpack(data[name], run.days.length, run.cells);
  }
  run.skill = await unpack(data.skill, 1, run.cells);
  return run;
}

const latOf = (run, cell) => run.data.lat[Math.floor(run.places[cell] / run.columns)];
const lonOf = (run, cell) => run.data.lon[run.places[cell] % run.columns];

function nearestCell(run, lat, lon) {
  let best = 0, least = Infinity;
  for (let cell = 0; cell < run.cells; cell++) {
    const aside = ((lonOf(run, cell) - lon + 540) % 360 - 180) * Math.cos(lat * Math.PI / 180);
    const distance = (latOf(run, cell) - lat) ** 2 + aside ** 2;
    if (distance < least) { least = distance; best = cell; }
  }
  return best;
}

// one run

async function showRun(row, asked) {
  const number = ++openings;
  stopPlaying();
  say('');
  document.body.setAttribute('aria-busy', 'true');
  try {
    const other = asked.other ? await open(asked.other).then(run => ({run, row: asked.other})) : null;
    const run = await open(row);
    if (number !== openings) return; // another one was asked for meanwhile
    find('#table-view').hidden = true;
    const section = find('#run-view');
    section.hidden = false;
    find('#count').textContent = '';
    document.title = `${row.experiment} ${row.model} ${row.name}: soil moisture forecasts`;
    const stays = view && keyOf(view.row) === keyOf(row) && (view.other && keyOf(view.other.row)) === (other && keyOf(other.row));
    if (!stays) {
      view = {run, row, other, day: 0, cell: 0};
      section.replaceChildren(...buildRun());
    }
    view.day = chooseDay(asked.day);
    view.cell = asked.cell ? nearestCell(run, ...asked.cell) : stays ? view.cell : usualCell(run);
    layOut();
  } catch (error) {
    if (number === openings) { if (find('#run-view').hidden) showTable(); say(error.message); }
  } finally {
    document.body.removeAttribute('aria-busy');
  }
}

function chooseDay(asked) {
  const {run, other} = view;
  if (asked != null) { // the nearest one
    return run.days.reduce((best, day, number) => Math.abs(day - asked) < Math.abs(run.days[best] - asked) ? number : best, 0);
  }
  const shared = other ? run.days.findIndex(day => other.run.dayOf.has(day)) : -1;
  return Math.max(shared, shared < 0 ? Math.floor(run.days.length / 2) : 0);
}

function usualCell(run) { // in the middle of the map
  const lat = run.data.lat, lon = run.data.lon;
  return nearestCell(run, lat[Math.floor(lat.length / 2)], lon[Math.floor(lon.length / 2)]);
}

function buildRun() {
  const {run, row} = view;
  return [
    make('div', {class: 'run-head'}, make('a', {href: '#'}, '← all runs'),
      make('h2', {}, [row.experiment, row.model, row.name, row.member].filter(Boolean).join(' / ')), dataChip(row),
      make('span', {class: 'soft'}, `${leadText(row.lead)} ahead`)),
    tiles(row, run), viewer(), scores(run.data), make('div', {class: 'columns'}, learning(run.data), splits(run.data)), figures(run.data), settings(run.data),
  ];
}

function tiles(row, run) {
  const tile = (title, value, unit = '') => make('div', {}, make('dt', {}, title), make('dd', {}, value, unit ? make('small', {}, ` ${unit}`) : ''));
  return make('dl', {class: 'tiles'}, tile('RMSE', fixed(row.rmse, 4), UNIT), tile('R²', fixed(row.r2, 3)),
    tile('Skill against damped persistence', fixed(row.skill, 3)), tile('Values scored', counted(row.n)),
    tile('Test days', `${dayText(run.days[0])} to ${dayText(run.days.at(-1))}`));
}

function viewer() {
  const {run, row, other} = view;
  const packed = table.runs.filter(each => each.packed);
  const leads = packed.filter(each => each.id === row.id);
  const title = each => `${[each.experiment, each.model, each.name, each.member].filter(Boolean).join(' / ')}, ${leadText(each.lead)}`;
  const others = packed.filter(each => keyOf(each) !== keyOf(row));
  view.slider = make('input', {type: 'range', id: 'slider', min: 0, max: run.days.length - 1, step: 1, 'aria-label': 'Day', oninput: event => setDay(+event.target.value)});
  view.dayLabel = make('output', {id: 'day', for: 'slider'});
  view.playButton = make('button', {id: 'play', type: 'button', 'aria-label': 'Play the days', onclick: togglePlaying}, '▶');
  view.readout = make('p', {id: 'readout', role: 'status'});
  view.series = draw('svg', {id: 'series', role: 'img', onclick: event => setDay(dayAt(event))});
  view.panels = panelsOf(run, other);
  const panels = view.panels.map(panel => panel.figure);
  return make('div', {class: 'card', id: 'viewer'},
    make('div', {class: 'controls'},
      make('div', {class: 'choices'},
        leads.length > 1 ? make('label', {}, 'Lead time', make('select', {id: 'lead-choice', onchange: event => go({lead: +event.target.value})},
          ...leads.map(each => make('option', {value: each.lead, selected: each.lead === row.lead}, leadText(each.lead))))) : '',
        others.length ? make('label', {}, 'Compare with', make('select', {id: 'compare', onchange: event => go({other: others[+event.target.value] || null})},
          make('option', {value: -1}, 'nothing'),
          ...others.map((each, number) => make('option', {value: number, selected: Boolean(other) && keyOf(other.row) === keyOf(each)}, title(each))))) : ''),
      make('div', {class: 'slide'}, view.playButton, view.slider, view.dayLabel)),
    other && !run.days.some(day => other.run.dayOf.has(day))
      ? make('p', {class: 'note', id: 'no-day'}, `The two runs have no day in common: ${title(other.row)} forecasts ${dayText(other.run.days[0])} to ${dayText(other.run.days.at(-1))}.`) : '',
    make('div', {class: 'maps'}, ...panels,
      make('figure', {class: 'series'}, make('figcaption', {}, make('b', {}, 'The chosen cell'), keys()), view.readout, view.series)),
    make('p', {class: 'hint'}, 'Click or tap a map to choose a cell, the series to choose a day. Arrow keys: the day; on a map, the cell. ', packedText(run)));
}

function keys() {
  const {run, other} = view;
  return make('span', {class: 'keys'}, make('span', {}, make('i', {class: 'dot'}), 'observed'),
    make('span', {}, make('i', {style: 'color:var(--better)'}), other ? 'this run' : 'forecast'),
    other ? make('span', {}, make('i', {style: 'color:var(--worse)'}), 'the other run') : '',
    run.below && !other ? make('span', {}, make('i', {class: 'block'}), '90 % interval') : '');
}

function packedText(run) {
  const {block, stride, step} = run.data;
  const off = `Values are rounded to ${step}, so ${step / 2} ${UNIT} off at most.`;
  const thin = [block > 1 ? `each cell here is the mean of ${block} × ${block} cells (without interval)` : '',
    stride > 1 ? `one of ${stride} days is kept` : ''].filter(Boolean).join(', ');
  return thin ? `${off} To keep this page small, ${thin}; the files of the run hold everything.` : off;
}

function panelsOf(run, other) {
  const {data} = run;
  const soil = {palette: 'soil', low: data.range[0], high: data.range[1], unit: UNIT};
  if (other) { // one colour bar for both
    soil.low = Math.min(soil.low, other.run.data.range[0]);
    soil.high = Math.max(soil.high, other.run.data.range[1]);
  }
  const sizeOf = each => each.data.largest_difference;
  const forecast = panel(other ? 'This run' : 'Forecast', run, soil, (values, day) => copyDay(run, run.forecast, day, values),
    day => `from data to ${dayText(run.days[day] - data.lead)}`);
  const observed = panel('Observed', run, soil, (values, day) => copyDay(run, run.observed, day, values),
    (day, values) => `${counted(values.reduce((sum, value) => sum + (value !== MISSING), 0))} of ${counted(run.cells)} cells`);
  if (!other) {
    const large = {palette: 'difference', low: -sizeOf(run), high: sizeOf(run), unit: `${UNIT}; brown: forecast too dry, green: too wet`};
    const skill = {palette: 'skill', low: -data.largest_skill, high: data.largest_skill, unit: '1 − MSE / MSE of damped persistence'};
    return [forecast, observed,
      panel('Forecast − observed', run, large, (values, day) => differences(run, day, values), (day, values) => `RMSE of the day ${fixed(rootMeanSquare(run, values), 4)}`),
      panel('Skill', run, skill, values => values.set(run.skill), (day, values) => `all test days, median ${signed(median(values) * run.step, 2)}`)];
  }
  const otherDay = day => other.run.dayOf.get(run.days[day]);
  const same = sameCells(run, other.run);
  const closer = {palette: 'skill', low: -Math.max(sizeOf(run), sizeOf(other.run)) / 2, high: Math.max(sizeOf(run), sizeOf(other.run)) / 2,
    unit: `${UNIT}; blue: this run is closer, red: the other`};
  return [forecast,
    panel('The other run', other.run, soil, (values, day) => copyDay(other.run, other.run.forecast, otherDay(day), values),
      day => `from data to ${dayText(run.days[day] - other.run.data.lead)}`), observed,
    panel('Difference of errors', run, closer, (values, day) => errorDifferences(run, day, other.run, otherDay(day), same, values),
      (day, values) => closerText(values))];
}

function copyDay(run, series, day, values) {
  if (day === undefined) values.fill(MISSING);
  else values.set(series.subarray(day * run.cells, (day + 1) * run.cells));
}

function differences(run, day, values) {
  const start = day * run.cells;
  for (let cell = 0; cell < run.cells; cell++) {
    const observed = run.observed[start + cell], forecast = run.forecast[start + cell];
    values[cell] = observed === MISSING || forecast === MISSING ? MISSING : forecast - observed;
  }
}

function errorDifferences(run, day, other, otherDay, same, values) {
  values.fill(MISSING);
  if (otherDay === undefined) return;
  const own = new Int16Array(run.cells), others = new Int16Array(other.cells);
  differences(run, day, own);
  differences(other, otherDay, others);
  for (let cell = 0; cell < run.cells; cell++) {
    if (same[cell] >= 0 && own[cell] !== MISSING && others[same[cell]] !== MISSING) values[cell] = Math.abs(others[same[cell]]) - Math.abs(own[cell]);
  }
}

function sameCells(run, other) { // for each cell of a run that of another at the same place, or -1
  const name = (each, cell) => `${latOf(each, cell).toFixed(2)} ${lonOf(each, cell).toFixed(2)}`;
  const cells = new Map();
  for (let cell = 0; cell < other.cells; cell++) cells.set(name(other, cell), cell);
  return Int32Array.from({length: run.cells}, (_, cell) => cells.get(name(run, cell)) ?? -1);
}

const known = values => values.filter(value => value !== MISSING);

function rootMeanSquare(run, values) {
  let sum = 0, n = 0;
  for (const value of values) if (value !== MISSING) { sum += value * value; n++; }
  return n ? Math.sqrt(sum / n) * run.step : NaN;
}

function median(values) {
  const sorted = known(values).sort();
  return sorted.length ? sorted[sorted.length >> 1] : NaN;
}

function closerText(values) {
  let closer = 0, n = 0;
  for (const value of values) if (value !== MISSING && value !== 0) { closer += value > 0; n++; }
  return n ? `this run is closer in ${Math.round(100 * closer / n)} % of cells` : 'no cell to compare';
}

// maps

function panel(title, run, scale, read, caption) {
  const note = make('span');
  const canvas = make('canvas', {tabindex: 0, role: 'img', onclick: event => setCellAt(made, event), onkeydown: event => moveCell(made, event)});
  const figure = make('figure', {class: 'map', 'data-map': title}, make('figcaption', {}, make('b', {}, title), note), canvas, colourBar(scale));
  const made = {title, run, scale, read, caption, note, canvas, figure, values: new Int16Array(run.cells), colours: colourTable(scale.palette)};
  return made;
}

function colourBar(scale) {
  const stops = COLOURS[scale.palette];
  const text = scale.palette === 'soil' ? fixed : signed;
  const found = ticks(scale.low, scale.high, 6);
  const labels = found.values.map(value => make('span', {style: `left:${100 * (value - scale.low) / (scale.high - scale.low)}%`},
    text(Math.abs(value) < 1e-9 ? 0 : value, found.digits)));
  return make('div', {class: 'colour-bar'}, make('i', {style: `background:linear-gradient(to right,${stops.join()})`}),
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
    const part = shift => Math.round((1 - share) * (pixel(stops[left]) >>> shift & 255) + share * (pixel(stops[left + 1]) >>> shift & 255));
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
  for (const each of view.panels) layOutPanel(each, dots);
  drawSeries();
  redraw();
}

function layOutPanel(panel, dots) {
  const {lat, lon} = panel.run.data;
  const latEdges = edges(lat), lonEdges = edges(lon);
  const width = Math.max(120, panel.figure.clientWidth);
  const inner = width - MAP_MARGINS.left - MAP_MARGINS.right;
  const tall = (latEdges[0] - latEdges.at(-1)) / (lonEdges.at(-1) - lonEdges[0]) / Math.cos((latEdges[0] + latEdges.at(-1)) * Math.PI / 360);
  const height = Math.round(inner * Math.min(1.3, Math.max(0.4, tall)));
  Object.assign(panel, {latEdges, lonEdges, dots, inner, height});
  panel.canvas.width = Math.round(width * dots);
  panel.canvas.height = Math.round((height + MAP_MARGINS.top + MAP_MARGINS.bottom) * dots);
  panel.canvas.style.height = `${height + MAP_MARGINS.top + MAP_MARGINS.bottom}px`;
  panel.context = panel.canvas.getContext('2d');
  panel.image = panel.context.createImageData(Math.round(inner * dots), Math.round(height * dots));
  panel.pixels = new Uint32Array(panel.image.data.buffer);
  const columns = Array.from({length: panel.image.width}, (_, x) => between(lonEdges, lonEdges[0] + (x + 0.5) / panel.image.width * (lonEdges.at(-1) - lonEdges[0])));
  panel.cellOfPixel = new Int32Array(panel.pixels.length);
  for (let y = 0, i = 0; y < panel.image.height; y++) {
    const row = between(latEdges, latEdges[0] + (y + 0.5) / panel.image.height * (latEdges.at(-1) - latEdges[0]));
    for (const column of columns) panel.cellOfPixel[i++] = panel.run.cellAt[row * panel.run.columns + column];
  }
  panel.cellColours = new Uint32Array(panel.run.cells);
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
  const {context, dots, inner, height, latEdges, lonEdges} = panel;
  context.setTransform(dots, 0, 0, dots, 0, 0);
  context.clearRect(0, 0, panel.canvas.width, panel.canvas.height);
  context.fillStyle = view.ink;
  context.font = '11px system-ui, sans-serif';
  const degrees = (value, digits, letters) => `${Math.abs(value).toFixed(digits)}°${value === 0 ? '' : letters[+(value < 0)]}`;
  context.textAlign = 'right';
  context.textBaseline = 'middle';
  const down = ticks(latEdges.at(-1), latEdges[0], height / 60);
  for (const lat of down.values) context.fillText(degrees(lat, down.digits, 'NS'), MAP_MARGINS.left - 4, MAP_MARGINS.top + (latEdges[0] - lat) / (latEdges[0] - latEdges.at(-1)) * height);
  context.textAlign = 'center';
  context.textBaseline = 'top';
  const across = ticks(lonEdges[0], lonEdges.at(-1), inner / 80);
  for (const lon of across.values) context.fillText(degrees((lon + 540) % 360 - 180, across.digits, 'EW'), MAP_MARGINS.left + (lon - lonEdges[0]) / (lonEdges.at(-1) - lonEdges[0]) * inner, MAP_MARGINS.top + height + 5);
}

function redraw() { // maps and texts of the day
  if (!view) return;
  const {run, day} = view;
  for (const panel of view.panels) {
    panel.read(panel.values, day);
    paint(panel);
    panel.note.textContent = panel.caption(day, panel.values);
    panel.canvas.setAttribute('aria-label', `Map: ${panel.title}, ${dayText(run.days[day])}. ${panel.note.textContent}. Arrow keys move the chosen cell.`);
  }
  view.slider.value = day;
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
  const {context, latEdges, lonEdges, inner, height, run} = panel;
  const cell = cellOn(panel);
  if (cell < 0) return;
  const row = Math.floor(run.places[cell] / run.columns), column = run.places[cell] % run.columns;
  const x = edge => MAP_MARGINS.left + (lonEdges[edge] - lonEdges[0]) / (lonEdges.at(-1) - lonEdges[0]) * inner;
  const y = edge => MAP_MARGINS.top + (latEdges[edge] - latEdges[0]) / (latEdges.at(-1) - latEdges[0]) * height;
  const centre = [(x(column) + x(column + 1)) / 2, (y(row) + y(row + 1)) / 2];
  const size = Math.max(9, x(column + 1) - x(column) + 3, y(row + 1) - y(row) + 3);
  for (const [colour, width] of [['#fff', 4], [view.mark, 2]]) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.strokeRect(centre[0] - size / 2, centre[1] - size / 2, size, size);
  }
}

function cellOn(panel) { // the chosen cell on a map, which may have another grid
  if (panel.run === view.run) return view.cell;
  const row = between(panel.latEdges, latOf(view.run, view.cell)), column = between(panel.lonEdges, lonOf(view.run, view.cell));
  return panel.run.cellAt[row * panel.run.columns + column];
}

function setCellAt(panel, event) {
  const box = panel.canvas.getBoundingClientRect();
  const x = (event.clientX - box.left) * (panel.canvas.width / panel.dots / box.width) - MAP_MARGINS.left;
  const y = event.clientY - box.top - MAP_MARGINS.top;
  if (x < 0 || y < 0 || x >= panel.inner || y >= panel.height) return;
  const lon = panel.lonEdges[0] + x / panel.inner * (panel.lonEdges.at(-1) - panel.lonEdges[0]);
  const lat = panel.latEdges[0] + y / panel.height * (panel.latEdges.at(-1) - panel.latEdges[0]);
  setCell(nearestCell(view.run, lat, lon));
}

function moveCell(panel, event) {
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

// what is chosen

function setDay(day) {
  view.day = Math.max(0, Math.min(view.run.days.length - 1, day));
  cancelAnimationFrame(frame);
  frame = requestAnimationFrame(redraw);
  writeAddressSoon();
}

function setCell(cell) {
  view.cell = cell;
  drawSeries();
  redraw();
  writeAddressSoon();
}

function togglePlaying() {
  if (playing) { stopPlaying(); return; }
  view.readout.setAttribute('aria-live', 'off');
  view.playButton.textContent = '❚❚';
  view.playButton.setAttribute('aria-label', 'Stop');
  playing = setInterval(() => setDay((view.day + 1) % view.run.days.length), FRAME);
}

function stopPlaying() {
  clearInterval(playing);
  playing = 0;
  if (!view) return;
  view.readout.removeAttribute('aria-live');
  view.playButton.textContent = '▶';
  view.playButton.setAttribute('aria-label', 'Play the days');
}

function writeReadout() {
  const {run, day, cell, other} = view;
  const at = day * run.cells + cell;
  const value = (series, number, of = run) => series && series[number] !== MISSING ? series[number] * of.step : NaN;
  const forecast = value(run.forecast, at), observed = value(run.observed, at);
  const parts = [placeText(latOf(run, cell), lonOf(run, cell)), ' · ', `${other ? 'this run' : 'forecast'} `, make('b', {id: 'forecast-value'}, fixed(forecast, 3))];
  if (other) {
    const otherCell = sameCellOf(other.run), otherDay = other.run.dayOf.get(run.days[day]);
    parts.push(' · the other run ', make('b', {id: 'other-value'}, fixed(otherCell < 0 || otherDay === undefined ? NaN : value(other.run.forecast, otherDay * other.run.cells + otherCell, other.run), 3)));
  }
  parts.push(' · observed ', make('b', {id: 'observed-value'}, fixed(observed, 3)), ` ${UNIT}`);
  if (!other) {
    parts.push(' · difference ', make('b', {}, signed(forecast - observed, 3)));
    if (run.below) parts.push(` · 90 % interval ${fixed(forecast - value(run.below, at), 3)} to ${fixed(forecast + value(run.above, at), 3)}`);
    parts.push(` · skill of the cell ${signed(value(run.skill, cell), 2)}`);
  }
  view.readout.replaceChildren(...parts);
}

const sameCellOf = other => view.panels.filter(panel => panel.run === other).map(cellOn)[0] ?? -1;

// the series of a cell

function drawSeries() {
  const {run, cell, other, series} = view;
  const width = Math.max(240, series.parentNode.clientWidth);
  const height = width < 600 ? 210 : Math.max(230, Math.min(420, view.panels[0].height + 30)); // as tall as the map beside it
  const box = {left: 44, right: width - 10, top: 8, bottom: height - 24};
  const of = (each, values, number) => Float64Array.from(each.days, (_, day) => {
    const value = number < 0 ? MISSING : values[day * each.cells + number];
    return value === MISSING ? NaN : value * each.step;
  });
  const forecast = of(run, run.forecast, cell), observed = of(run, run.observed, cell);
  const otherForecast = other ? of(other.run, other.run.forecast, sameCellOf(other.run)) : null;
  const band = run.below && !other;
  const below = band && of(run, run.below, cell), above = band && of(run, run.above, cell);
  const shown = [...forecast, ...observed,
    ...(band ? [...forecast].flatMap((value, day) => [value - below[day], value + above[day]]) : []),
    ...(other ? [...otherForecast].filter((_, day) => run.dayOf.has(other.run.days[day])) : [])].filter(Number.isFinite);
  const low = Math.min(...shown), high = Math.max(...shown), margin = Math.max(0.005, 0.05 * (high - low));
  const first = run.days[0], last = Math.max(run.days.at(-1), first + 1);
  const x = day => box.left + (day - first) / (last - first) * (box.right - box.left);
  const y = value => box.bottom - (value - low + margin) / (high - low + 2 * margin) * (box.bottom - box.top);
  const path = (days, values) => days.map((day, number) => Number.isFinite(values[number])
    ? `${number && Number.isFinite(values[number - 1]) ? 'L' : 'M'}${x(day).toFixed(1)} ${y(values[number]).toFixed(1)}` : '').join('');
  const scale = ticks(low - margin, high + margin, 5);
  const place = placeText(latOf(run, cell), lonOf(run, cell));
  series.setAttribute('height', height);
  series.setAttribute('viewBox', `0 0 ${width} ${height}`);
  series.setAttribute('aria-label', `Series of the cell at ${place}: forecast and observation by day`);
  view.seriesScale = {x, box, first, last, width};
  view.dayLine = draw('line', {y1: box.top, y2: box.bottom, stroke: 'var(--mark)', 'stroke-width': 1.5});
  const clip = draw('clipPath', {id: 'series-box'}, draw('rect', {x: box.left, y: 0, width: box.right - box.left, height}));
  series.replaceChildren(clip,
    ...scale.values.flatMap(value => [draw('line', {class: 'grid', x1: box.left, x2: box.right, y1: y(value), y2: y(value)}),
      draw('text', {x: box.left - 6, y: y(value) + 4, 'text-anchor': 'end'}, value.toFixed(scale.digits))]),
    ...dayTicks(first, last, (box.right - box.left) / 62).flatMap(([day, text]) => [draw('line', {class: 'axis', x1: x(day), x2: x(day), y1: box.bottom, y2: box.bottom + 4}),
      draw('text', {x: x(day), y: box.bottom + 17, 'text-anchor': x(day) < box.left + 20 ? 'start' : x(day) > box.right - 20 ? 'end' : 'middle'}, text)]),
    draw('line', {class: 'axis', x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom}),
    band ? draw('path', {d: bandPath(run.days, forecast, below, above, x, y), fill: 'var(--band)'}) : '',
    draw('path', {d: dots(run.days, observed, x, y), stroke: 'var(--ink)', 'stroke-width': run.days.length > 120 ? 3 : 5, 'stroke-linecap': 'round', fill: 'none'}),
    otherForecast ? draw('path', {'clip-path': 'url(#series-box)', d: path(other.run.days, otherForecast), stroke: 'var(--worse)', 'stroke-width': 1.6, fill: 'none'}) : '',
    draw('path', {id: 'forecast-line', d: path(run.days, forecast), stroke: 'var(--better)', 'stroke-width': 1.8, 'stroke-linejoin': 'round', fill: 'none'}), view.dayLine);
  markDay();
}

function bandPath(days, forecast, below, above, x, y) {
  const there = days.map((_, day) => day).filter(day => Number.isFinite(forecast[day] - below[day] + above[day]));
  const point = (day, value) => `${x(days[day]).toFixed(1)} ${y(value).toFixed(1)}`;
  if (!there.length) return '';
  return `M${there.map(day => point(day, forecast[day] + above[day])).join('L')}L${there.reverse().map(day => point(day, forecast[day] - below[day])).join('L')}Z`;
}

function dots(days, values, x, y) {
  return days.map((day, number) => Number.isFinite(values[number]) ? `M${x(day).toFixed(1)} ${y(values[number]).toFixed(1)}h0` : '').join('');
}

function dayTicks(first, last, most) { // days of an axis and what to call them: months, or weeks of a short one
  const names = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
  const length = last - first;
  if (length < 100) {
    const step = [1, 2, 5, 7, 14, 28].find(each => length / each <= most) || 56;
    return Array.from({length: Math.floor(length / step) + 1}, (_, number) => {
      const date = new Date((first + number * step) * DAY);
      return [first + number * step, `${date.getUTCDate()} ${names[date.getUTCMonth()]}${number ? '' : ` ${date.getUTCFullYear()}`}`];
    });
  }
  const step = [1, 2, 3, 6, 12, 24, 60].find(each => length / 30.4 / each <= most) || 120;
  const found = [];
  const start = new Date(first * DAY);
  for (let month = start.getUTCFullYear() * 12 + start.getUTCMonth(); ; month++) {
    const day = Date.UTC(Math.floor(month / 12), month % 12, 1) / DAY;
    if (day > last) return found;
    if (day >= first && month % step === 0) found.push([day, month % 12 && found.length ? names[month % 12] : `${names[month % 12]} ${Math.floor(month / 12)}`]);
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

// the rest of a run

function scores(data) {
  const columns = [['rmse_pooled', 'RMSE', 4], ['r2_pooled', 'R²', 3], ['bias_pooled', 'Bias', 4], ['rmse_cell_median', 'RMSE, cell median', 4],
    ['r2_cell_median', 'R², cell median', 3], ['skill_persistence', 'Skill / persistence', 3], ['skill_damped_persistence', 'Skill / damped', 3],
    ['skill_climatology', 'Skill / climatology', 3]];
  return make('div', {class: 'card'}, make('h3', {}, 'Scores, all on the same values'), make('div', {class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Scores'},
    make('table', {}, make('thead', {}, make('tr', {}, make('th', {scope: 'col'}, 'Forecaster'), ...columns.map(([, title]) => make('th', {scope: 'col', class: 'number'}, title)))),
      make('tbody', {}, ...data.metrics.map((row, number) => make('tr', {class: number ? '' : 'own'}, make('td', {}, words(row.forecaster)),
        ...columns.map(([name, , digits]) => make('td', {class: 'number'}, fixed(row[name], digits)))))))));
}

function learning(data) {
  const log = data.training_log;
  if (!log.length) return '';
  return make('div', {class: 'card'}, make('h3', {}, 'Learning'), make('div', {class: 'curves'},
    curve('training loss', log, 'train_loss'), curve(`validation RMSE, ${UNIT}`, log, 'validation_loss')));
}

function splits(data) {
  if (!data.splits.length) return '';
  const [first, ...rest] = Object.keys(data.splits[0]);
  return make('div', {class: 'card'}, make('h3', {}, 'Days'), make('div', {class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Days'},
    make('table', {}, make('thead', {}, make('tr', {}, make('td'), ...data.splits.map(row => make('th', {scope: 'col', class: 'number'}, row[first])))),
      make('tbody', {}, ...rest.map(name => make('tr', {}, make('th', {scope: 'row'}, words(name)),
        ...data.splits.map(row => make('td', {class: 'number day'}, row[name]))))))));
}

function curve(title, log, name) {
  const points = log.map(row => [row.epoch, row[name]]).filter(([, value]) => Number.isFinite(value));
  if (!points.length) return '';
  const width = 560, height = 130, box = {left: 52, right: 548, top: 22, bottom: 108};
  const values = points.map(point => point[1]);
  let low = Math.min(...values), high = Math.max(...values);
  if (low === high) { low -= Math.abs(low) / 10 || 1; high += Math.abs(high) / 10 || 1; }
  const last = Math.max(2, points.at(-1)[0]);
  const x = epoch => box.left + (epoch - 1) / (last - 1) * (box.right - box.left);
  const y = value => box.bottom - (value - low) / (high - low) * (box.bottom - box.top);
  const best = points.reduce((least, point) => point[1] < least[1] ? point : least);
  const scale = ticks(low, high, 3);
  return draw('svg', {viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': `${title} by epoch, least ${best[1].toPrecision(4)} in epoch ${best[0]}`},
    draw('text', {x: box.left, y: 12}, `${title}: least ${best[1].toPrecision(4)} in epoch ${best[0]}`),
    ...scale.values.flatMap(value => [draw('line', {class: 'grid', x1: box.left, x2: box.right, y1: y(value), y2: y(value)}),
      draw('text', {x: box.left - 6, y: y(value) + 4, 'text-anchor': 'end'}, value.toFixed(scale.digits))]),
    ...ticks(1, last, 8).values.filter(Number.isInteger).map(epoch => draw('text', {x: x(epoch), y: height - 6, 'text-anchor': 'middle'}, epoch)),
    draw('path', {d: points.map(([epoch, value], number) => `${number ? 'L' : 'M'}${x(epoch).toFixed(1)} ${y(value).toFixed(1)}`).join(''), stroke: 'var(--better)', 'stroke-width': 2, fill: 'none'}),
    draw('circle', {cx: x(best[0]), cy: y(best[1]), r: 4, fill: 'var(--worse)'}));
}

function figures(data) {
  const pictures = data.files.filter(file => file.name.endsWith('.png'));
  if (!pictures.length) return '';
  return make('div', {class: 'card'}, make('h3', {}, 'Figures'), make('div', {class: 'gallery'}, ...pictures.map(file =>
    make('a', {href: file.path}, make('img', {src: file.path, alt: words(file.name.slice(0, -4)), loading: 'lazy'}), file.name))));
}

function settings(data) {
  const {settings: given, ...about} = data.settings;
  const text = value => value === null ? 'none' : typeof value === 'object' ? JSON.stringify(value) : String(value);
  const list = values => make('dl', {class: 'settings'}, ...Object.entries(values).map(([name, value]) =>
    make('div', {}, make('dt', {}, words(name)), make('dd', {}, text(value)))));
  const flat = Object.fromEntries(Object.entries(about).flatMap(([name, value]) => value && typeof value === 'object' && !Array.isArray(value)
    ? Object.entries(value).map(([inner, each]) => [`${name} ${inner}`, each]) : [[name, value]]));
  const size = bytes => bytes < 1e6 ? `${Math.ceil(bytes / 1000)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
  return make('div', {}, make('div', {class: 'card'}, make('details', {open: true}, make('summary', {}, 'Settings'), list(given || {}))),
    make('div', {class: 'card'}, make('details', {}, make('summary', {}, 'Made of and with'), list(flat))),
    make('div', {class: 'card'}, make('details', {}, make('summary', {}, 'Files'), make('ul', {class: 'files'}, ...data.files.map(file =>
      make('li', {}, make('a', {href: file.path}, file.name), make('span', {class: 'soft'}, ` ${size(file.bytes)}`)))))));
}

// the address holds what is shown: it can be kept and sent

function addressOf({run, lead, day, cell, other}) {
  const parts = new URLSearchParams({run, lead});
  if (day != null) parts.set('day', dayText(day));
  if (cell) parts.set('cell', cell.map(value => value.toFixed(4)).join());
  if (other) parts.set('with', `${other.lead},${other.id}`);
  return '#' + parts;
}

function currentAddress() {
  const {run, row, day, cell, other} = view;
  return addressOf({run: row.id, lead: row.lead, day: run.days[day], cell: [latOf(run, cell), lonOf(run, cell)], other: other && other.row});
}

function writeAddressSoon() { // browsers refuse many changes in a row
  clearTimeout(addressTimer);
  addressTimer = setTimeout(() => {
    if (!view) return;
    writtenAddress = currentAddress();
    history.replaceState(null, '', writtenAddress);
  }, 200);
}

function go(change) { // to another lead time, or another run to compare with
  const {run, row, day, cell, other} = view;
  clearTimeout(addressTimer);
  location.hash = addressOf({run: row.id, lead: row.lead, day: run.days[day], cell: [latOf(run, cell), lonOf(run, cell)], other: other && other.row, ...change});
}

function follow() {
  if (location.hash && location.hash === writtenAddress) return;
  writtenAddress = null;
  const asked = new URLSearchParams(location.hash.slice(1));
  say('');
  if (!asked.has('run')) { openings++; showTable(); return; }
  const rowOf = (id, lead) => table.runs.find(row => row.id === id && (!lead || row.lead === +lead));
  const row = rowOf(asked.get('run'), asked.get('lead'));
  if (!row) { openings++; showTable(); say(`There is no run ${asked.get('run')} here.`); return; }
  const [lead, ...id] = (asked.get('with') || '').split(',');
  const day = Date.parse(asked.get('day')) / DAY;
  const cell = (asked.get('cell') || '').split(',').map(parseFloat);
  showRun(row, {day: Number.isFinite(day) ? day : null, cell: cell.length === 2 && cell.every(Number.isFinite) ? cell : null,
    other: rowOf(id.join(), lead) || null});
}

function start() {
  if (!table.make_again) say('The table of runs, page/runs.js, is not beside this page.');
  window.addEventListener('hashchange', follow);
  let width = window.innerWidth;
  window.addEventListener('resize', () => { if (window.innerWidth !== width) { width = window.innerWidth; layOut(); } });
  window.matchMedia('(prefers-color-scheme: dark)').addEventListener('change', layOut);
  document.addEventListener('keydown', event => {
    if (!view || event.altKey || event.ctrlKey || event.metaKey || ['INPUT', 'SELECT', 'TEXTAREA'].includes(event.target.tagName)) return;
    const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (step) { event.preventDefault(); setDay(view.day + step); }
  });
  follow();
}
