// The page of results: a table of runs and, for one run, its maps by day. Plain JavaScript, no server, no network.
//
// page/runs.js calls takeRuns with the table; page/data/<run>/lead<d>.js, loaded when a run is opened, calls takeRun with
// what utils/pack_forecast.py has packed. Values are Int16 in steps of data.step, by day and land cell; MISSING stands for NaN.
// What files and runs are called comes from users: it reaches the page as text only, never as HTML.
'use strict';

const MISSING = -32768;
const LARGEST = 32; // either way, of a skill; more is cut
const DAY = 86400000; // milliseconds
const UNIT = 'm³ m⁻³';
const KEPT_RUNS = 4; // that stay unpacked in memory
const LONGEST_NAME = 26; // letters, of a run over its map
const FRAME = 50; // ms a day while it plays

let table = {runs: [], forecasts: [], names: {}, make_again: ''};
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
  table = {names: {}, forecasts: [], ...given};
  for (const row of table.runs) row.data = row.synthetic ? 'synthetic' : row.data; // of others the cube's title or name
}

function takeRun(data) {
  Object.assign(table.names, data.names);
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

const one = selector => document.querySelector(selector);

function say(text) {
  const note = one('#trouble');
  note.textContent = text || '';
  note.hidden = !text;
}

// numbers and days

const fixed = (value, digits) => value == null || !Number.isFinite(value) ? '–'
  : value.toFixed(digits).replace(/^-(?=[0.]*$)/, '').replace('-', '−'); // what is rounded to 0 has no sign
const signed = (value, digits) => fixed(value, digits).replace(/^(?=.*[1-9])(?=\d)/, '+');
const counted = value => value == null ? '–' : value.toLocaleString('en');
const dayText = day => new Date(day * DAY).toISOString().slice(0, 10);
const leadText = lead => `${lead} ${lead === 1 ? 'day' : 'days'}`;
const clipped = (text, most) => text.length > most ? `${text.slice(0, most - 9).trim()}…${text.slice(-8).trim()}` : text;
const words = name => name.replaceAll('_', ' ');
// of a network or forecaster, as the figures call it (utils/captions.py)
const nameOf = name => Object.hasOwn(table.names, name) ? table.names[name] : words(name);

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
  if (found.length < 2 && high > low && most < 12) return ticks(low, high, most + 1); // one number tells no scale
  const digits = -Math.floor(Math.log10(step) + 1e-9) + (Math.abs(step / power - 2.5) < 1e-9 ? 1 : 0);
  return {step, values: found, digits: Math.max(0, digits)};
}

// the address holds what is shown: it can be kept and sent

function addressOf({run, lead, day, cell, other}) {
  const parts = new URLSearchParams({run, lead});
  if (day != null) parts.set('day', dayText(day));
  if (cell) parts.set('cell', cell.map(value => value.toFixed(4)).join());
  if (other) parts.set('with', `${other.lead},${other.id}`);
  return '#' + parts;
}

function currentAddress(change = {}) {
  const {run, row, day, cell, other} = view;
  return addressOf({run: row.id, lead: row.lead, day: run.days[day], cell: [latOf(run, cell), lonOf(run, cell)],
    other: other && other.row, ...change});
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
  clearTimeout(addressTimer);
  location.hash = currentAddress(change);
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
    if (!view || event.altKey || event.ctrlKey || event.metaKey || ['INPUT', 'SELECT'].includes(event.target.tagName)) return;
    const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (step) { event.preventDefault(); setDay(view.day + step); }
  });
  follow();
}
