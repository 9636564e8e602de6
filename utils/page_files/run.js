// One run: its data file is loaded and unpacked, its maps and series are put together, a day and a cell are chosen.
'use strict';

// loading and unpacking

function openRun(row) {
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
  if (typeof DecompressionStream === 'undefined') {
    throw new Error('This browser is too old to unpack the maps: take one of 2023 or later.');
  }
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
    const other = asked.other ? await openRun(asked.other).then(run => ({run, row: asked.other})) : null;
    const run = await openRun(row);
    if (number !== openings) return; // another one was asked for meanwhile
    one('#table-view').hidden = true;
    const section = one('#run-view');
    section.hidden = false;
    one('#count').textContent = '';
    document.title = `${row.experiment} ${nameOf(row.model)} ${row.name}: soil moisture forecasts`;
    const stays = view && keyOf(view.row) === keyOf(row) && (view.other && keyOf(view.other.row)) === (other && keyOf(other.row));
    if (!stays) {
      view = {run, row, other, day: 0, cell: 0};
      section.replaceChildren(...buildRun());
    }
    view.day = chooseDay(asked.day);
    view.cell = asked.cell ? nearestCell(run, ...asked.cell) : stays ? view.cell : usualCell(run);
    layOut();
  } catch (error) {
    if (number === openings) { if (one('#run-view').hidden) showTable(); say(error.message); }
  } finally {
    document.body.removeAttribute('aria-busy');
  }
}

function chooseDay(asked) {
  const {run, other} = view;
  if (asked != null) { // the nearest one
    return run.days.reduce((best, day, number) => Math.abs(day - asked) < Math.abs(run.days[best] - asked) ? number : best, 0);
  }
  const numbers = [...run.days.keys()];
  const shared = other ? numbers.filter(number => other.run.dayOf.has(run.days[number])) : [];
  const days = shared.length ? shared : numbers;
  return days[Math.floor(days.length / 2)];
}

function usualCell(run) { // in the middle of the map
  const lat = run.data.lat, lon = run.data.lon;
  return nearestCell(run, lat[Math.floor(lat.length / 2)], lon[Math.floor(lon.length / 2)]);
}

function buildRun() {
  const {run, row, other} = view;
  view.names = other ? shortNames(row, other.row) : [];
  return [
    make('div', {class: 'run-head'}, make('a', {href: '#'}, '← all runs'), make('h2', {}, titleOf(row)), dataChip(row),
      make('span', {class: 'soft'}, `${leadText(row.lead)} ahead`)),
    tiles(row, run), viewer(), scores(row, run.data, other), other ? settingsApart(run.data, other) : '',
    make('div', {class: 'columns'}, learning(run.data), splits(run.data)),
    figures(run.data), settings(run.data), made(run.data), files(run.data),
  ];
}

function shortNames(row, other) { // of two runs: what tells them apart, less of it where that is long
  const parts = each => ({lead: leadText(each.lead), experiment: each.experiment, model: nameOf(each.model),
    member: each.member || 'one network', name: each.name});
  const [one, two] = [row, other].map(parts);
  const keys = Object.keys(one).filter(key => one[key] !== two[key]);
  const names = () => [one, two].map(each => [...keys].reverse().map(key => each[key]).join(', '));
  while (keys.length > 1 && names().some(name => name.length > LONGEST_NAME)) keys.shift();
  const short = names().map(name => clipped(name, LONGEST_NAME));
  return short[0] !== short[1] ? short : ['This run', 'The other run'];
}

const titleOf = row => [row.experiment, nameOf(row.model), row.name, row.member].filter(Boolean).join(' / ');

function tiles(row, run) {
  const overBalance = run.data.metrics[0].skill_water_balance;
  const tile = (title, value, unit = '') => make('div', {}, make('dt', {}, title),
    make('dd', {}, value, unit ? make('small', {}, ` ${unit}`) : ''));
  return make('dl', {class: 'tiles'}, tile('RMSE', fixed(row.rmse, 4), UNIT), tile('R²', fixed(row.r2, 3)),
    tile('Skill against damped persistence', fixed(row.skill, 3)),
    Number.isFinite(overBalance) ? tile('Skill against water balance', fixed(overBalance, 3)) : '',
    tile('Values scored', counted(row.n)),
    tile('Test days', `${dayText(run.days[0])} to ${dayText(run.days.at(-1))}`));
}

function viewer() {
  const {run, other} = view;
  view.slider = make('input', {type: 'range', id: 'slider', min: 0, max: run.days.length - 1, step: 1, 'aria-label': 'Day',
    oninput: event => setDay(+event.target.value)});
  view.dayLabel = make('output', {id: 'day', for: 'slider'});
  view.playButton = make('button', {id: 'play', type: 'button', 'aria-label': 'Play the days', onclick: togglePlaying}, '▶');
  view.readout = make('p', {id: 'readout', role: 'status'});
  const step = (days, text, name) => make('button', {class: 'step', type: 'button', 'aria-label': name,
    onclick: () => setDay(view.day + days)}, text);
  view.series = draw('svg', {id: 'series', role: 'img', onclick: event => setDay(dayAt(event))});
  view.panels = panelsOf(run, other);
  return make('div', {class: 'card', id: 'viewer'},
    make('div', {class: 'controls'}, choices(),
      make('div', {class: 'slide'}, view.playButton, step(-1, '‹', 'The day before'), view.slider,
        step(1, '›', 'The day after'), view.dayLabel)),
    other && !run.days.some(day => other.run.dayOf.has(day)) ? make('p', {class: 'note', id: 'no-day'},
      `The two runs have no day in common: the other forecasts ${dayText(other.run.days[0])} to `
      + `${dayText(other.run.days.at(-1))}.`) : '',
    other && other.row.map !== view.row.map ? make('p', {class: 'note', id: 'no-map'},
      'The two runs have different maps: they are compared only where cells have the same place.') : '',
    other && other.row.lead !== view.row.lead ? make('p', {class: 'note', id: 'no-lead'}, `The two runs forecast `
      + `${leadText(view.row.lead)} and ${leadText(other.row.lead)} ahead: the difference of their errors would tell of the lead `
      + 'times, not of the runs, and is not shown.') : '',
    switches(view.panels),
    make('div', {class: other ? 'maps compared' : 'maps'}, ...view.panels.map(panel => panel.figure),
      view.allDays ? allDaysText() : '',
      make('figure', {class: 'series'},
        make('figcaption', {}, make('b', {}, 'The chosen cell'), make('span', {class: 'soft'}, UNIT), keys()),
        view.readout, view.series)),
    make('p', {class: 'hint'}, 'Click or tap a map to choose a cell, the series to choose a day. Arrow keys: the day; on a map, ',
      'the cell. ', packedText(run)));
}

function switches(panels) { // which map is shown where there is room for one
  const buttons = panels.map(panel => make('button', {type: 'button', onclick: () => { show(panel); layOut(); }}, panel.short));
  const show = chosen => panels.forEach((panel, number) => {
    panel.figure.classList.toggle('shown', panel === chosen);
    buttons[number].setAttribute('aria-pressed', panel === chosen);
  });
  show(panels[1]); // the forecast
  return make('div', {class: 'switches', role: 'group', 'aria-label': 'Map'}, ...buttons);
}

function comparable(row) { // runs of the same map that forecast days of the same time, those of the same lead time first
  const far = each => Math.abs(each.lead - row.lead);
  return table.runs.filter(each => each.packed && keyOf(each) !== keyOf(row) && each.map && each.map === row.map
    && each.first <= row.last && each.last >= row.first).sort((a, b) => far(a) - far(b));
}

function choices() { // of the lead time, and of a run to compare with
  const {row, other} = view;
  const leads = table.runs.filter(each => each.packed && each.id === row.id);
  const others = comparable(row);
  if (other && !others.includes(other.row)) others.push(other.row); // from an address
  const leadOf = each => each.lead === row.lead ? '' : `, ${leadText(each.lead)} ahead`;
  const group = (title, same) => {
    const options = others.flatMap((each, number) => (each.lead === row.lead) !== same ? [] : [make('option',
      {value: number, selected: Boolean(other) && other.row === each}, titleOf(each) + leadOf(each))]);
    return options.length ? make('optgroup', {label: title}, ...options) : '';
  };
  const atLead = lead => { // the other run goes along, where it has the lead time
    const there = other && table.runs.find(each => each.packed && each.id === other.row.id && each.lead === lead);
    go(there ? {lead, other: there} : {lead});
  };
  const choice = (id, title, onchange, ...options) => make('label', {}, title, make('select', {id, onchange}, ...options));
  return make('div', {class: 'choices'},
    leads.length > 1 ? choice('lead-choice', 'Lead time', event => atLead(+event.target.value),
      ...leads.map(each => make('option', {value: each.lead, selected: each.lead === row.lead}, leadText(each.lead)))) : '',
    others.length ? choice('compare', 'Compare with', event => go({other: others[+event.target.value] || null}),
      make('option', {value: -1}, 'nothing'), group(`Also ${leadText(row.lead)} ahead`, true),
      group('Other lead times: no difference of errors', false)) : '');
}

function keys() {
  const {run, other, names} = view;
  return make('span', {class: 'keys'}, make('span', {}, make('i', {class: 'dot'}), 'observed'),
    make('span', {}, make('i', {style: 'color:var(--better)'}), other ? names[0] : 'forecast'),
    other ? make('span', {}, make('i', {style: 'color:var(--worse)'}), names[1]) : '',
    run.below ? make('span', {}, make('i', {class: 'block'}), other ? `90 % interval of ${names[0]}` : '90 % interval') : '');
}

function packedText(run) {
  const {block, stride, step} = run.data;
  const off = `Values are rounded to ${step}, so ${step / 2} ${UNIT} off at most.`;
  const thin = [block > 1 ? `each cell here is the mean of ${block} × ${block} cells (without interval)` : '',
    stride > 1 ? `one of ${stride} days is kept` : ''].filter(Boolean).join(', ');
  return thin ? `${off} To keep this page small, ${thin}; the files of the run hold everything.` : off;
}

function panelsOf(run, other) {
  const soil = {palette: 'soil', low: run.data.range[0], high: run.data.range[1], unit: UNIT};
  if (other) { // one colour bar for both
    soil.low = Math.min(soil.low, other.run.data.range[0]);
    soil.high = Math.max(soil.high, other.run.data.range[1]);
  }
  const forecast = panel([other ? view.names[0] : 'Forecast'], run, soil,
    (values, day) => copyDay(run, run.forecast, day, values),
    day => `from data to ${dayText(run.days[day] - run.data.lead)}`);
  const observed = panel(['Observed'], run, soil, (values, day) => copyDay(run, run.observed, day, values),
    (day, values) => `${counted(known(values).length)} of ${counted(run.cells)} cells`);
  if (!other) return [observed, forecast, differencePanel(run), skillPanel(run)];
  const panels = [observed, forecast, otherPanel(run, other.run, soil)];
  if (run.data.lead !== other.run.data.lead) return panels; // their errors do not compare
  view.allDays = compareDays(run, other.run);
  return [...panels, errorPanel(run, other.run), allDaysPanel(run, view.allDays)];
}

function differencePanel(run) {
  const size = run.data.largest_difference;
  const scale = {palette: 'difference', low: -size, high: size, unit: `${UNIT}; brown: forecast too dry, green: too wet`};
  return panel(['Forecast − observed', 'Difference'], run, scale, (values, day) => differences(run, day, values),
    (day, values) => `RMSE of the day ${fixed(rootMeanSquare(run, values), 3)}`);
}

function skillPanel(run) {
  const size = run.data.largest_skill;
  const scale = {palette: 'skill', low: -size, high: size, unit: '1 − MSE / MSE of damped persistence'};
  return panel(['Skill'], run, scale, values => values.set(run.skill),
    (day, values) => `all test days, median ${signed(median(values) * run.step, 2)}`);
}

function otherPanel(run, other, scale) {
  return panel([view.names[1]], other, scale,
    (values, day) => copyDay(other, other.forecast, other.dayOf.get(run.days[day]), values),
    day => `from data to ${dayText(run.days[day] - other.data.lead)}`);
}

function errorPanel(run, other) {
  const size = Math.max(run.data.largest_difference, other.data.largest_difference) / 2;
  const scale = {palette: 'skill', low: -size, high: size, unit: `difference of their errors, ${UNIT}; blue: ${view.names[0]} is closer`};
  const same = sameCells(run, other);
  return panel(['Errors on this day', 'This day'], run, scale,
    (values, day) => errorDifferences(run, day, other, other.dayOf.get(run.days[day]), same, values),
    (day, values) => closerText(values));
}

// Errors of two runs over all days that both forecast and observe, of cells at the same place.
// skill: of each cell, 1 − MSE / MSE of the other, in steps. days: their number. rmse: of both. better: share of cells with
// the smaller MSE.
function compareDays(run, other) {
  const same = sameCells(run, other), sums = [new Float64Array(run.cells), new Float64Array(run.cells)];
  const own = new Int16Array(run.cells), others = new Int16Array(other.cells);
  let n = 0, days = 0;
  for (let day = 0; day < run.days.length; day++) {
    const otherDay = other.dayOf.get(run.days[day]);
    if (otherDay === undefined) continue;
    differences(run, day, own);
    differences(other, otherDay, others);
    const before = n;
    for (let cell = 0; cell < run.cells; cell++) {
      if (same[cell] < 0 || own[cell] === MISSING || others[same[cell]] === MISSING) continue;
      sums[0][cell] += (own[cell] * run.step) ** 2;
      sums[1][cell] += (others[same[cell]] * other.step) ** 2;
      n++;
    }
    if (n > before) days++;
  }
  const skill = Int16Array.from(sums[0], (error, cell) => sums[1][cell] === 0 ? MISSING
    : Math.round(Math.max(-LARGEST, 1 - error / sums[1][cell]) / run.step));
  const better = sums[0].filter((error, cell) => error < sums[1][cell]).length; // also where the skill is rounded to 0
  return {skill, days, rmse: sums.map(each => Math.sqrt(each.reduce((sum, error) => sum + error, 0) / n)),
    better: better / known(skill).length};
}

function allDaysPanel(run, all) {
  const sizes = known(all.skill).map(Math.abs).sort();
  const most = (sizes[Math.floor(0.98 * (sizes.length - 1))] || 0) * run.step; // what nearly no cell exceeds
  const size = Math.min(1, Math.max(0.1, Math.ceil(10 * most - 1e-6) / 10));
  const scale = {palette: 'skill', low: -size, high: size,
    unit: `1 − MSE / MSE of ${view.names[1]}; blue: ${view.names[0]} is better`};
  return panel(['Skill over all days', 'All days'], run, scale, values => values.set(all.skill),
    () => Number.isFinite(all.better) ? `${view.names[0]} better in ${percent(all.better)} of cells` : 'no cell to compare');
}

function allDaysText() {
  const {names, allDays: {rmse, days, better}} = view;
  const lines = names.map((name, number) => make('div', {}, make('dt', {}, `RMSE of ${name}`),
    make('dd', {}, fixed(rmse[number], 4), make('small', {}, ` ${UNIT}`))));
  return make('figure', {id: 'all-days'}, make('figcaption', {}, make('b', {}, 'All days that both have'),
    make('span', {class: 'soft'}, ` ${counted(days)} days`)), make('dl', {class: 'tiles'}, ...lines,
    make('div', {}, make('dt', {}, `Cells in which ${names[0]} is better`),
      make('dd', {}, Number.isFinite(better) ? percent(better) : '–'))),
  make('p', {class: 'hint'}, 'One day says little. Differences below the spread between seeds or members are noise: ',
    make('code', {}, '--seeds 3'), ' shows it.'));
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
    if (same[cell] < 0 || own[cell] === MISSING || others[same[cell]] === MISSING) continue;
    values[cell] = Math.abs(others[same[cell]]) - Math.abs(own[cell]);
  }
}

function sameCells(run, other) { // for each cell of a run that of another at the same place, or -1
  const name = (each, cell) => `${latOf(each, cell).toFixed(2)} ${lonOf(each, cell).toFixed(2)}`;
  const cells = new Map();
  for (let cell = 0; cell < other.cells; cell++) cells.set(name(other, cell), cell);
  return Int32Array.from({length: run.cells}, (_, cell) => cells.get(name(run, cell)) ?? -1);
}

const percent = share => `${Math.round(100 * share)} %`;
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
  return n ? `${view.names[0]} closer in ${percent(closer / n)} of cells` : 'no cell to compare';
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
  const {run, day, cell, other, names} = view;
  const forecast = valueOf(run, run.forecast, day, cell), observed = valueOf(run, run.observed, day, cell);
  const parts = [make('span', {class: 'place'}, placeText(latOf(run, cell), lonOf(run, cell)))];
  const tell = (name, value, id) => parts.push(make('span', {}, `${name} `, make('b', {id}, value)));
  tell(other ? names[0] : 'forecast', fixed(forecast, 3), 'forecast-value');
  if (other) {
    const place = sameCellOf(other.run);
    if (place < 0) parts.push(make('span', {}, 'the other run has no cell here')); // as its grid ends, or has water
    else {
      const value = valueOf(other.run, other.run.forecast, other.run.dayOf.get(run.days[day]), place);
      tell(names[1], fixed(value, 3), 'other-value');
    }
  }
  if (Number.isFinite(observed)) tell('observed', fixed(observed, 3), 'observed-value');
  else parts.push(make('span', {}, 'not observed'));
  if (!other && Number.isFinite(observed)) tell('difference', signed(forecast - observed, 3));
  if (run.below) {
    const [below, above] = [run.below, run.above].map(series => valueOf(run, series, day, cell));
    tell(other ? `90 % interval of ${names[0]}` : '90 % interval',
      `${fixed(forecast - below, 3)} to ${fixed(forecast + above, 3)}`);
  }
  if (!other) tell('skill', signed(valueOf(run, run.skill, 0, cell), 2));
  view.readout.replaceChildren(...parts);
}

function valueOf(run, series, day, cell) { // NaN where there is none
  const value = day === undefined || cell < 0 ? MISSING : series[day * run.cells + cell];
  return value === MISSING ? NaN : value * run.step;
}

const sameCellOf = other => view.panels.filter(panel => panel.run === other).map(cellOn)[0] ?? -1;
