// The table of all runs: sorted, filtered, with what each is worth beside the baselines.
'use strict';

// Forecasters of the strip in the table: colour, shape
const MARKS = {
  own: ['var(--better)', 'diamond'],
  ceiling: ['var(--ink)', 'bar'],
  water_balance: ['var(--water)', 'dot'],
  damped_persistence: ['var(--reference)', 'dot'],
  persistence: ['var(--pale)', 'ring'],
  climatology: ['var(--pale)', 'cross'],
};
const CEILING = 'Ceiling: the best that can be forecast in the synthetic twin, known because its truth is.';
const markName = name => name === 'own' ? 'this run' : nameOf(name);
const COLUMNS = [ // key, title, class, whether the first click puts large values first
  ['experiment', 'Experiment', 'experiment', false], ['model', 'Network', 'model', false], ['name', 'Run', 'name', false],
  ['lead', 'Lead', 'lead', false], ['rmse', 'RMSE', 'number', false], ['r2', 'R²', 'number wide-only', true],
  ['skill', 'Skill', 'skill-cell', true], ['baselines', 'Beside the baselines', 'strip-cell', null],
  ['n', 'Values', 'number wide-only', true], ['data', 'Data', 'data', false], ['date', 'Made', 'date wide-only', true],
];

// What an order is called: ascending, descending
const ORDERS = {text: ['A to Z', 'Z to A'], number: ['smallest first', 'largest first'],
  lead: ['shortest first', 'longest first'], date: ['oldest first', 'newest first']};
const NUMBERS = ['rmse', 'r2', 'skill', 'n'];

const CHOICES = ['experiment', 'model', 'lead', 'data']; // of the filters

function showTable() {
  view = null;
  stopPlaying();
  document.title = 'Soil moisture forecasts: results';
  one('#run-view').hidden = true;
  const section = one('#table-view');
  section.hidden = false;
  if (!section.childElementCount) buildTable(section);
  fillTable();
}

function buildTable(section) {
  const choose = (id, title, key, text = value => value) => {
    const values = [...new Set(table.runs.map(row => row[key]))].sort((a, b) => compare(a, b));
    return make('label', {class: 'choice'}, title, make('select', {id, onchange: fillTable}, make('option', {value: ''}, 'all'),
      ...values.map(value => make('option', {value}, text(value)))));
  };
  const more = make('button', {class: 'more', type: 'button', 'aria-expanded': false, onclick: () => { // on a phone
    const open = one('.filters').classList.toggle('open');
    more.setAttribute('aria-expanded', open);
    more.textContent = open ? 'Fewer filters' : 'More filters';
  }}, 'More filters');
  const sorts = COLUMNS.filter(([, , , down]) => down !== null);
  section.append(
    make('div', {class: 'filters'},
      make('div', {class: 'wide'}, make('label', {for: 'filter'}, 'Filter'), make('div', {class: 'find'}, make('input',
        {id: 'filter', type: 'search', placeholder: 'words of experiment, network, run …', oninput: fillTable}), more)),
      choose('experiment', 'Experiment', 'experiment'), choose('model', 'Network', 'model', nameOf),
      choose('lead', 'Lead time', 'lead', leadText), choose('data', 'Data', 'data'),
      make('div', {class: 'sort'}, make('label', {}, 'Sort by', make('select',
        {id: 'sort', onchange: event => sortBy(event.target.value)},
        ...sorts.map(([key, title]) => make('option', {value: key}, title)))),
      make('button', {id: 'order', type: 'button', onclick: () => sortBy(sorting.key)}))),
    make('p', {class: 'legend', id: 'strip-legend'}, make('b', {}, 'Beside the baselines:'),
      ...Object.keys(MARKS).map(name => make('span', {title: name === 'ceiling' ? CEILING : null},
        draw('svg', {width: 14, height: 14, 'aria-hidden': 'true'}, mark(name, 7, 7)), markName(name))),
      make('span', {}, `RMSE in ${UNIT}, each row from its least to its largest`)),
    make('p', {class: 'legend'}, make('span', {}, make('b', {}, 'Skill:'), ` 1 − MSE / MSE of damped persistence. ${CEILING}`),
    table.forecasts.length ? make('a', {href: '#forecasts'}, 'Forecasts from the newest data: below the runs') : ''),
    make('table', {class: 'runs'}, make('thead', {}, make('tr', {}, ...COLUMNS.map(([key, title, name, down]) =>
      make('th', {scope: 'col', 'data-key': key, class: name}, down === null ? title
        : make('button', {type: 'button', title: `Sort by ${title}`, onclick: () => sortBy(key)}, title))))),
    make('tbody')),
    make('p', {class: 'note', id: 'none', hidden: true}), forecasts());
}

function forecasts() { // in real use, those from the newest data first
  if (!table.forecasts.length) return '';
  const link = file => make('a', {href: file.path}, file.name);
  return make('section', {class: 'card', id: 'forecasts'}, make('h3', {}, 'Forecasts',
    make('span', {class: 'soft'}, ' made by forecast.py, those from the newest data first; a picture opens the map')),
  make('div', {class: 'gallery'}, ...table.forecasts.map(row => make('figure', {}, row.maps.length ? make('a',
    {href: row.maps[0].path}, make('img', {src: row.maps[0].path, alt: `Map: ${row.title}`, loading: 'lazy'})) : '',
  make('figcaption', {}, make('b', {}, row.name), row.day === row.last_input ? '' : make('span', {}, words(row.day)),
    make('span', {}, `from data to ${row.last_input}`),
    make('span', {class: 'links'}, ...[...row.maps.map(map => ({name: `${leadText(map.lead)} ahead`, path: map.path})),
      ...row.files].map(link)))))));
}

function sortBy(key) {
  const down = COLUMNS.find(column => column[0] === key)[3];
  sorting = {key, down: sorting.key === key ? !sorting.down : down};
  fillTable();
}

function showOrder() { // in the head of the table, and beside the choice that narrow windows have
  const {key, down} = sorting;
  for (const head of document.querySelectorAll('.runs th')) {
    if (head.dataset.key === key) head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
    else head.removeAttribute('aria-sort');
  }
  const text = (ORDERS[key] || ORDERS[NUMBERS.includes(key) ? 'number' : 'text'])[+down];
  one('#sort').value = key;
  one('#order').replaceChildren(make('span', {'aria-hidden': 'true'}, down ? '▼ ' : '▲ '), text);
  one('#order').setAttribute('aria-label', `${text}: turn the order round`);
}

function compare(a, b) {
  if (a == null || b == null) return (a == null) - (b == null);
  return typeof a === 'number' ? a - b : String(a).localeCompare(String(b), 'en', {numeric: true});
}

function chosenRows() {
  const asked = one('#filter').value.toLowerCase().split(/\s+/).filter(Boolean);
  const rows = table.runs.filter(row => {
    const text = [row.experiment, row.model, nameOf(row.model), row.name, row.member, row.data, row.date].join(' ').toLowerCase();
    return asked.every(word => text.includes(word))
      && CHOICES.every(key => !one(`#${key}`).value || String(row[key]) === one(`#${key}`).value);
  });
  const {key, down} = sorting;
  const turn = (a, b) => down && a != null && b != null ? -1 : 1; // what is not known comes last either way
  return rows.sort((a, b) => turn(a[key], b[key]) * compare(a[key], b[key]) || compare(a.id, b.id) || a.lead - b.lead);
}

function fillTable() {
  const rows = chosenRows();
  const skills = table.runs.map(row => row.skill).filter(Number.isFinite);
  const ends = [Math.max(-1, Math.min(0, ...skills)), Math.max(0.1, ...skills)];
  one('.runs tbody').replaceChildren(...rows.map(row => tableRow(row, ends)));
  showOrder();
  const all = new Set(table.runs.map(row => row.id)).size;
  const shown = new Set(rows.map(row => row.id)).size;
  const lines = rows.length > shown ? `, ${rows.length} lines: one per lead time` : '';
  one('#count').textContent = (shown === all ? `${all} ${all === 1 ? 'run' : 'runs'}` : `${shown} of ${all} runs`) + lines;
  const none = one('#none');
  none.hidden = rows.length > 0;
  none.textContent = table.runs.length ? 'No run is like that.'
    : 'No run is finished yet: a training script adds its run here when it ends.';
}

function tableRow(row, ends) {
  const address = '#' + new URLSearchParams({run: row.id, lead: row.lead});
  const line = make('tr', {}, make('td', {class: 'experiment'}, row.experiment),
    make('td', {class: 'model'}, nameOf(row.model)),
    make('td', {class: 'name'}, make('a', {href: address}, row.name),
      row.member ? make('span', {class: 'soft'}, ` ${row.member}`) : ''),
    make('td', {class: 'lead'}, leadText(row.lead)),
    make('td', {class: 'number rmse', 'data-label': 'RMSE'}, fixed(row.rmse, 4)),
    make('td', {class: 'number r2 wide-only', 'data-label': 'R²'}, short(row.r2)),
    make('td', {class: 'skill-cell', 'data-label': 'Skill'}, skillBar(row.skill, ends)),
    make('td', {class: 'strip-cell', 'data-label': 'Beside the baselines'}, strip(row)),
    make('td', {class: 'number n wide-only', 'data-label': 'Values'}, counted(row.n)),
    make('td', {class: 'data'}, dataChip(row)),
    make('td', {class: 'date wide-only', 'data-label': 'Made'}, ...timeText(row.date)));
  line.addEventListener('click', () => { if (!String(getSelection())) location.hash = address; }); // not where text is being marked
  return line;
}

function timeText(iso) { // day and, below it, time of the reader's clock and its zone
  const date = new Date(iso);
  const time = date.toLocaleTimeString('en-GB', {hour: '2-digit', minute: '2-digit', timeZoneName: 'short'});
  return [date.toLocaleDateString('sv'), ' ', make('span', {class: 'soft'}, time)];
}

const dataChip = row => row.synthetic ? make('span', {class: 'chip'}, row.data)
  : make('span', {class: 'soft cube', title: row.data}, row.data);

const short = value => fixed(value, Math.abs(value) < 10 ? 3 : 1); // of a share: what is far below 0 is bad, however much

function skillBar(skill, [low, high]) {
  const place = value => 100 * (Math.min(high, Math.max(low, value)) - low) / (high - low);
  const bar = make('span', {class: 'bar', 'aria-hidden': 'true'});
  if (Number.isFinite(skill)) {
    const [from, to] = [place(Math.min(0, skill)), place(Math.max(0, skill))];
    bar.append(make('i', {style: `left:${from}%;width:${to - from}%;background:var(--${skill < 0 ? 'worse' : 'better'})`}));
  }
  bar.append(make('b', {style: `left:${place(0)}%`}));
  return make('span', {class: 'skill'}, bar, make('span', {class: 'number'}, short(skill)));
}

function strip(row) { // on a scale of its own: one bad run leaves the others apart
  const errors = {...row.others, own: row.rmse};
  const names = Object.keys(MARKS).filter(name => Number.isFinite(errors[name])).reverse();
  const shown = names.map(name => errors[name]);
  const low = Math.min(...shown), high = Math.max(...shown);
  const x = value => 8 + 194 * (value - low) / (high - low || 1);
  const text = names.map(name => `${markName(name)} ${fixed(errors[name], 4)}`).reverse().join(', ');
  return draw('svg', {class: 'strip', viewBox: '0 0 210 22', role: 'img', 'aria-label': `RMSE: ${text}`},
    draw('title', {}, `RMSE: ${text}`), draw('line', {class: 'grid', x1: 4, x2: 206, y1: 11, y2: 11}),
    ...names.map(name => mark(name, x(errors[name]), 11)));
}

function mark(name, x, y) {
  const [colour, shape] = MARKS[name];
  const stroke = {stroke: colour, 'stroke-width': 2, fill: 'none'};
  if (shape === 'diamond') return draw('path', {d: `M${x} ${y - 6}l6 6-6 6-6-6z`, fill: colour});
  if (shape === 'bar') return draw('path', {d: `M${x} ${y - 7}v14`, ...stroke});
  if (shape === 'cross') return draw('path', {d: `M${x - 3.5} ${y - 3.5}l7 7m0-7l-7 7`, ...stroke});
  return draw('circle', {cx: x, cy: y, r: 4, ...(shape === 'ring' ? stroke : {fill: colour})});
}
