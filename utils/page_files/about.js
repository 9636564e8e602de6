// What else is known of a run: scores, learning, days, figures, settings, files.
'use strict';

const SCORES = [['rmse_pooled', 'RMSE', 4], ['r2_pooled', 'R²', 3], ['bias_pooled', 'Bias', 4],
  ['rmse_cell_median', 'RMSE, cell median', 4], ['r2_cell_median', 'R², cell median', 3],
  ['skill_persistence', 'Skill / persistence', 3], ['skill_damped_persistence', 'Skill / damped', 3],
  ['skill_climatology', 'Skill / climatology', 3],
  ['skill_water_balance', 'Skill / water balance', 3]]; // column of metrics.csv, title, digits
const FIGURES = { // what the pictures of a run show, by the name of their file
  map: 'One day: observed, forecast, difference', scatter: 'Forecast against observation', series: 'Some cells, from dry to wet',
  skill_map: 'Skill of each cell', ensemble: 'How reliable the spread is', regions: 'Skill by season, wetness and region',
  events: 'Dry and wet events', spectrum: 'Detail of the maps, by wavelength', lead: 'Error against lead time',
  factor_importance: 'What the forecast lives on'};
const UNTOLD = ['name', 'results', 'resume', 'device']; // settings that make no difference between two forecasts
const TOLD = 'after_last_input'; // of splits.csv

function scores(row, data, other) {
  const line = (about, name, own, left = []) => make('tr', {class: own ? 'own' : ''}, make('td', {}, name),
    ...columns.map(([name, , digits]) => make('td', {class: 'number'}, left.includes(name) ? '' : fixed(about[name], digits))));
  const [own, ...baselines] = data.metrics;
  const columns = SCORES.filter(([name]) => name !== 'skill_water_balance' || Number.isFinite(own[name]));
  const left = other ? otherSkills(row, other.row) : [];
  const rows = [line(own, (other ? 'This run: ' : '') + nameOf(own.forecaster), true),
    other ? line(other.run.data.metrics[0], `The other run: ${titleOf(other.row)}, ${leadText(other.row.lead)}`, true, left) : '',
    ...baselines.map(about => line(about, nameOf(about.forecaster), false))];
  const title = other && !sameValues(row, other.row) ? 'Scores: the other run on its own values, all else on those of this run'
    : 'Scores, all on the same values';
  const units = make('span', {class: 'soft'}, `; RMSE and bias in ${UNIT}`);
  return make('div', {class: 'card'}, make('h3', {}, title, units), wideTable('Scores',
    [make('th', {scope: 'col'}, 'Forecaster'), ...columns.map(([, title]) => make('th', {scope: 'col', class: 'number'}, title))],
    rows), baselines.some(about => about.forecaster === 'ceiling') ? make('p', {class: 'hint'}, CEILING) : '',
  left.length ? make('p', {class: 'hint', id: 'no-skill'}, whyNoSkill(row, other.row)) : '');
}

function sameError(row, other, name) { // of a baseline in two runs, but for the rounding of another machine
  const [one, two] = [row, other].map(each => each.others[name]);
  return Number.isFinite(one) && Math.abs(one - two) <= 1e-5 * one;
}

const sameValues = (row, other) => ['map', 'lead', 'n', 'first', 'last'].every(key => row[key] === other[key])
  && sameError(row, other, 'persistence'); // which knows no training: it tells what was observed

// Columns in which another run has a skill against a baseline that is not the one of this run
const otherSkills = (row, other) => SCORES.map(([name]) => name).filter(name => name.startsWith('skill_')
  && !(sameValues(row, other) && sameError(row, other, name.slice('skill_'.length))));

function whyNoSkill(row, other) {
  const why = row.lead !== other.lead ? `its baselines forecast ${leadText(other.lead)} ahead, those here ${leadText(row.lead)}`
    : sameValues(row, other) ? 'its baseline was fitted to other days' : 'it was scored on other values';
  return `Skills of the other run are left out where they cannot be compared: ${why}.`;
}

function settingsApart(data, other) { // what differs between two runs
  const [one, two] = [data, other.run.data].map(each => each.settings.settings || {});
  const differs = name => name in one && name in two ? JSON.stringify(one[name]) !== JSON.stringify(two[name])
    : isAsked(one[name] ?? two[name] ?? null); // a script has it, the other has not
  const names = Object.keys({...one, ...two}).filter(name => !UNTOLD.includes(name) && differs(name));
  const cell = (values, name) => make('td', {}, name in values ? readable(values[name]) : '–');
  const title = 'Settings that differ';
  return make('div', {class: 'card', id: 'apart'}, make('h3', {}, title), names.length ? wideTable(title,
    ['Setting', ...view.names].map(head => make('th', {scope: 'col'}, head)),
    names.map(name => make('tr', {}, make('th', {scope: 'row'}, words(name)), cell(one, name), cell(two, name))))
    : make('p', {class: 'soft'}, 'None: all settings are the same.'));
}

function wideTable(name, head, rows) { // scrolls sideways where the screen is narrow
  return make('div', {class: 'scroll', tabindex: 0, role: 'region', 'aria-label': name},
    make('table', {}, make('thead', {}, make('tr', {}, ...head)), make('tbody', {}, ...rows)));
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
  const told = data.splits[0][TOLD]; // the same of all splits
  const cell = value => make('td', {class: 'number day'}, /^\d+$/.test(value) ? counted(+value) : value);
  return make('div', {class: 'card'}, make('h3', {}, 'Days'), wideTable('Days',
    [make('td'), ...data.splits.map(row => make('th', {scope: 'col', class: 'number'}, row[first]))],
    rest.filter(name => name !== TOLD).map(name => make('tr', {}, make('th', {scope: 'row'}, words(name)),
      ...data.splits.map(row => cell(row[name]))))),
  told && told !== 'nothing' ? make('p', {class: 'hint'}, `Of the days after the last input forecasts are told: ${told}.`) : '');
}

function refitStart(log) { // first epoch of the training that begins anew with the validation days, or null
  const first = log.findIndex((row, number) => number && row.validation_loss == null && log[number - 1].validation_loss != null);
  return first < 0 ? null : log[first].epoch;
}

function curve(title, log, name) {
  const points = log.map(row => [row.epoch, row[name]]).filter(([, value]) => Number.isFinite(value));
  if (!points.length) return '';
  const values = points.map(([, value]) => value);
  const margin = values.every(value => value === values[0]) ? Math.abs(values[0]) / 10 || 1 : 0;
  const low = Math.min(...values) - margin, high = Math.max(...values) + margin;
  const scale = ticks(low, high, 3);
  const labels = scale.values.map(value => value.toFixed(scale.digits));
  const width = window.innerWidth < 600 ? 340 : 560; // so that its text is as large as that around it
  const left = Math.max(52, 14 + 7.5 * Math.max(...labels.map(label => label.length)));
  const box = {left, right: width - 12, top: 22, bottom: 108};
  const last = Math.max(2, log.at(-1).epoch); // one axis for all curves
  const x = epoch => box.left + (epoch - 1) / (last - 1) * (box.right - box.left);
  const y = value => box.bottom - (value - low) / (high - low) * (box.bottom - box.top);
  const best = points.reduce((least, each) => each[1] < least[1] ? each : least);
  const text = `${title}: least ${best[1].toPrecision(4)} in epoch ${best[0]}`;
  const refit = refitStart(log), start = refit && x(refit - 0.5);
  const line = part => draw('path', {d: linePath(part.map(([epoch]) => epoch), part.map(([, value]) => value), x, y),
    stroke: 'var(--better)', 'stroke-width': 2, fill: 'none'});
  return draw('svg', {viewBox: `0 0 ${width} 144`, role: 'img', 'aria-label': text}, draw('text', {x: 0, y: 12}, text),
    ...refit ? [draw('rect', {x: start, y: box.top - 4, width: box.right + 4 - start, height: box.bottom - box.top + 8,
      fill: 'var(--sea)'}), draw('text', {class: 'refit', x: box.right, y: width < 400 ? box.bottom - 6 : 12,
      'text-anchor': 'end'},
    `refit from epoch ${refit}`, draw('title', {}, 'Trained once more, on training and validation days'))] : [],
    ...scale.values.flatMap((value, number) => [
      draw('line', {class: 'grid', x1: box.left, x2: box.right, y1: y(value), y2: y(value)}),
      draw('text', {x: box.left - 6, y: y(value) + 4, 'text-anchor': 'end'}, labels[number])]),
    ...ticks(1, last, width / 70).values.filter(Number.isInteger).map(epoch =>
      draw('text', {x: x(epoch), y: 124, 'text-anchor': 'middle'}, epoch)),
    draw('text', {x: (box.left + box.right) / 2, y: 140, 'text-anchor': 'middle'}, 'epoch'),
    line(points.filter(([epoch]) => !refit || epoch < refit)), refit ? line(points.filter(([epoch]) => epoch >= refit)) : '',
    draw('circle', {cx: x(best[0]), cy: y(best[1]), r: 4, fill: 'var(--worse)'}));
}

function figures(data) {
  const pictures = data.figures || [];
  if (!pictures.length) return '';
  const order = Object.keys(FIGURES), place = each => (order.indexOf(each.name) + 1) || order.length + 1;
  const titleOf = name => Object.hasOwn(FIGURES, name) ? FIGURES[name] : words(name);
  return make('div', {class: 'card'}, make('h3', {}, 'Figures'), make('div', {class: 'gallery'},
    ...pictures.sort((a, b) => place(a) - place(b)).map(({name, path, caption, pdf}) => make('figure', {},
      make('a', {href: path}, make('img', {src: path, alt: titleOf(name), loading: 'lazy'})),
      make('figcaption', {}, make('b', {}, titleOf(name)),
        make('span', {class: 'links'}, make('a', {href: path}, 'PNG'), pdf ? make('a', {href: pdf}, 'PDF') : ''),
        ...caption.trim().split('\n').map(line => make('p', {}, line)))))));
}

function folded(title, content, open = false) {
  return make('div', {class: 'card'}, make('details', {open}, make('summary', {}, title), content));
}

function readable(value) { // of a JSON file, for a reader
  const pair = ([name, each]) => `${words(name)} ${readable(each)}`;
  if (value === null || value === '') return 'not set';
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  if (Array.isArray(value)) return value.map(readable).join(', ') || 'none';
  if (typeof value === 'object') return Object.entries(value).map(pair).join(', ') || 'none';
  const text = Object.hasOwn(table.names, value) ? table.names[value] : String(value);
  return text.replace(/^([0-9a-f]{12})[0-9a-f]{28,}$/, '$1…') // a checksum
    .replace(/^(\d{4}-\d\d-\d\d)T(\d\d:\d\d).*\+00:00$/, '$1 $2 UTC');
}

const isAsked = value => value !== null && value !== false && (typeof value !== 'object' || Object.keys(value).length > 0);

// A list of settings under its title; of some the default is said; those that ask for nothing stand in one line below
function group(title, values, defaults = {}) {
  const names = Object.keys(values);
  const asked = names.filter(name => name in defaults || isAsked(values[name]));
  const idle = names.filter(name => !asked.includes(name)).map(words).join(', ');
  const row = name => make('div', {}, make('dt', {}, words(name)),
    make('dd', {title: typeof values[name] === 'string' ? values[name] : null}, readable(values[name]),
      name in defaults ? make('span', {class: 'soft'}, `default: ${readable(defaults[name])}`) : ''));
  return make('section', {}, title ? make('h4', {}, title) : '', make('dl', {class: 'settings'}, ...asked.map(row)),
    idle ? make('p', {class: 'soft'}, `Not set: ${idle}`) : '');
}

const pick = (values, names) => Object.fromEntries(names.map(name => [name, values[name]]));

function settings(data) {
  const values = data.settings.settings || {}, {groups = {}, defaults, places = []} = data;
  const others = Object.keys(defaults || {});
  const usual = Object.keys(values).filter(name => !others.includes(name) && !places.includes(name));
  const titles = [...new Set(usual.map(name => groups[name] || 'other'))];
  const first = others.length ? group('Other than the default', pick(values, others), defaults)
    : defaults ? make('p', {class: 'soft all'}, 'All settings of the experiment have their defaults.') : '';
  return folded('Settings', make('div', {class: 'groups'}, first, ...titles.map(title => group(titles.length > 1 ? title : '',
    pick(values, usual.filter(name => (groups[name] || 'other') === title)))),
  places.length ? group('where it ran and lies', pick(values, places)) : ''), true);
}

function made(data) {
  const {settings: _, ...about} = data.settings;
  const isGroup = value => value && typeof value === 'object' && !Array.isArray(value);
  const names = Object.keys(about);
  return folded('Data, software and machine', make('div', {class: 'groups'},
    group('run', pick(about, names.filter(name => !isGroup(about[name])))),
    ...names.filter(name => isGroup(about[name])).map(name => group(words(name), about[name]))));
}

function files(data) {
  const size = bytes => bytes < 1e6 ? `${Math.ceil(bytes / 1000)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
  return folded('Files', make('ul', {class: 'files'}, ...data.files.map(file =>
    make('li', {}, make('a', {href: file.path}, file.name), make('span', {class: 'soft'}, ` ${size(file.bytes)}`)))));
}
