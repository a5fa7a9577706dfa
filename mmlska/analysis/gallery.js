'use strict';
const data = JSON.parse(document.getElementById('data').textContent);
const $ = id => document.getElementById(id);
const boxes = data.task === 'detection';
const COLORS = {
  'missed': 'missed', 'wrong class': 'class', 'badly placed': 'place', 'wrong class, badly placed': 'both', 'duplicate': 'twice',
  'background': 'ground', 'correct': 'right', 'invented': 'class', 'poor overlap': 'place', 'in a crowd': 'soft',
};
const color = kind => `var(--${COLORS[kind]})`;
const className = label => label < data.classes.length ? data.classes[label] : 'nothing';
const state = { kinds: new Set(), label: -1, pair: null, text: '', sort: 'lost' };
const BATCH = 60;
let shown = [], drawn = 0, opened = -1;

// Text only ever enters the page as text: names of files and classes are not ours.
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith('aria-') || key === 'style' || key === 'role' || key === 'scope') element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children);
  return element;
}
function shape(tag, attributes, text) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

// One list of errors for each image: kind, the classes it is about, and the box where there is one.
for (const image of data.images) {
  if (boxes) {
    image.errors = [];
    image.truths.forEach(t => {
      if (!t.missed) return;
      t.error = image.errors.length;
      image.errors.push({ kind: 'missed', labels: [t.label], truth: t.label, box: t.box });
    });
    image.detections.forEach(d => {
      if (!data.kinds.includes(d.kind)) return;
      d.error = image.errors.length;
      const truth = d.truth >= 0 ? image.truths[d.truth].label : data.classes.length;
      image.errors.push({ kind: d.kind, labels: d.truth >= 0 ? [d.label, truth] : [d.label], truth, found: d.label, score: d.score, box: d.box });
    });
    image.pairs = new Set(image.pairs.map(String));
  } else {
    image.errors.forEach(e => { e.labels = [e.label] });
    image.pairs = new Set(image.confused.map(c => c[0] + ',' + c[1]));
    image.classes.forEach(c => { if (c.iou > 0) image.pairs.add(c.label + ',' + c.label) });
  }
}

function matches(image) {
  if (state.text && !image.name.toLowerCase().includes(state.text)) return false;
  if (state.pair && !image.pairs.has(state.pair)) return false;
  if (!state.kinds.size && state.label < 0) return true;
  return image.errors.some(e => (!state.kinds.size || state.kinds.has(e.kind)) && (state.label < 0 || e.labels.includes(state.label)));
}
const ORDERS = {
  lost: ['costliest first', (a, b) => b.lost - a.lost],
  many: ['most errors first', (a, b) => b.errors.length - a.errors.length || b.lost - a.lost],
  name: ['file name', (a, b) => a.name.localeCompare(b.name, undefined, { numeric: true })],
};
if (!boxes) ORDERS.miou = ['lowest mIoU first', (a, b) => (a.miou ?? 101) - (b.miou ?? 101)];

function update() {
  shown = data.images.filter(matches).sort(ORDERS[state.sort][1]);
  drawn = 0;
  $('grid').replaceChildren();
  more();
  $('none').hidden = shown.length > 0;
  const left = data.total - data.images.length;
  $('count').textContent = `${shown.length} of ${data.images.length} images` + (left ? ` (${left} cheaper ones left out)` : '');
  for (const chip of $('kinds').children) chip.setAttribute('aria-pressed', state.kinds.has(chip.dataset.kind));
  for (const cell of document.querySelectorAll('td button')) cell.setAttribute('aria-pressed', cell.dataset.pair === state.pair);
}
function more() {
  $('grid').append(...shown.slice(drawn, drawn + BATCH).map((image, i) => card(image, drawn + i)));
  drawn = Math.min(drawn + BATCH, shown.length);
}
function card(image, index) {
  const [width, height] = image.size;
  const counts = {};
  image.errors.forEach(e => { counts[e.kind] = (counts[e.kind] || 0) + 1 });
  const tags = data.kinds.filter(k => counts[k]).map(k => make('span', { className: 'tag', style: `--color:${color(k)}` }, `${counts[k]} ${k}`));
  const button = make('button', { className: 'card' },
    stack(image, 'thumb', boxes ? [] : ['wrong'], boxes ? overlay(image, image.errors, false) : null, `${width}/${Math.min(height, width * 1.4)}`),
    make('div', { className: 'text' },
      make('div', { className: 'name' }, make('span', { title: image.name }, image.name),
        make('b', { title: `points of ${data.metric} to gain if this image were perfect` }, `−${image.lost.toFixed(2)}`)),
      make('div', { className: 'tags' }, ...(tags.length ? tags : ['no error']))));
  button.dataset.index = index;
  return button;
}
function stack(image, file, layers, svg, ratio) {
  const pictures = [file, ...layers].map((name, i) => make('img', {
    // Lazy before src, or the picture is fetched at once.
    loading: 'lazy', decoding: 'async', alt: i ? '' : image.name, className: i ? 'layer' : '', src: 'images/' + image[name],
    style: i && name !== 'wrong' ? 'opacity:.72' : '' }));
  return make('div', { className: 'stack', style: `aspect-ratio:${ratio}` }, ...pictures, ...(svg ? [svg] : []));
}
function overlay(image, items, texts) {
  const [width, height] = image.size;
  const svg = shape('svg', { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: 'xMidYMid meet', 'aria-hidden': 'true' });
  const size = Math.max(width, height) / 40, placed = [], names = [];
  for (const item of items) {
    const [x1, y1, x2, y2] = item.box;
    const box = { x: x1, y: y1, width: Math.max(x2 - x1, 0), height: Math.max(y2 - y1, 0) };
    const error = { 'data-error': item.error ?? -1 }, group = shape('g', error);
    // A dark line beneath keeps the coloured one visible on any picture.
    group.append(shape('rect', { ...box, stroke: '#000b', 'stroke-width': texts ? 5 : 3.5 }));
    group.append(shape('rect', { ...box, style: `stroke:${color(item.kind)}`, 'stroke-width': texts ? 2.5 : 2, class: item.kind === 'missed' ? 'dash' : '' }));
    if (texts) {
      const length = item.text.length * size * .6, x = Math.min(Math.max(x1, 0) + size * .2, Math.max(width - length, 0));
      let y = Math.max(y1 - size * .3, size);
      // Beneath each other, where boxes begin in one place.
      while (placed.some(p => Math.abs(p.y - y) < size && p.x < x + length && x < p.x + p.length)) y += size * .25;
      placed.push({ x, y, length });
      names.push(shape('text', { ...error, x, y, 'font-size': size, 'stroke-width': size * .24, style: `fill:${color(item.kind)}` }, item.text));
    }
    svg.append(group);
  }
  svg.append(...names); // over all boxes
  return svg;
}

function open(index) {
  opened = index;
  const image = shown[index], [width, height] = image.size;
  $('view-name').textContent = `${image.name}  (−${image.lost.toFixed(2)} points of ${data.metric}, ${index + 1} of ${shown.length})`;
  const figures = $('view').querySelector('.figures');
  const parts = boxes ? boxFigures(image) : mapFigures(image);
  const columns = parts.length, tall = height > width * 1.3 ? 60 : 68;
  figures.style.gridTemplateColumns = `repeat(${columns}, minmax(0, ${tall * width / height}vh))`;
  figures.replaceChildren(...parts);
  $('view').querySelector('.below').replaceChildren(...(boxes ? boxText(image) : mapText(image)));
  $('before').disabled = index === 0;
  $('after').disabled = index === shown.length - 1;
  if (!$('view').open) $('view').showModal();
  $('view').scrollTop = 0;
}
function figure(caption, content) {
  return make('figure', {}, make('figcaption', {}, caption), content);
}
function boxFigures(image) {
  const ratio = image.size.join('/');
  const truths = image.truths.map(t => ({ box: t.box, kind: t.missed ? 'missed' : t.crowd ? 'in a crowd' : 'correct', text: className(t.label), error: t.error }));
  const found = image.detections.filter(d => $('show').checked || data.kinds.includes(d.kind))
    .map(d => ({ box: d.box, kind: d.kind, error: d.error, text: `${className(d.label)} ${d.score.toFixed(2)}` }));
  return [
    figure('labelled; missed ones dashed', stack(image, 'full', [], overlay(image, truths, true), ratio)),
    figure(`predicted with a score of ${data.score_thr} or more, coloured by error`, stack(image, 'full', [], overlay(image, found, true), ratio)),
  ];
}
function mapFigures(image) {
  const ratio = image.size.join('/'), over = name => stack(image, 'full', $('show').checked ? [name] : [], null, ratio);
  return [figure('labelled', over('labelled')), figure('predicted', over('predicted')), figure('wrong pixels', over('wrong'))];
}
function boxText(image) {
  const legend = ['correct', ...data.kinds].map(k => make('span', { className: 'tag', style: `--color:${color(k)}` }, k));
  return [...legend, make('ul', {}, ...image.errors.map((e, i) => {
    const about = e.kind === 'missed' ? className(e.truth)
      : `${className(e.found)} ${e.score.toFixed(2)}` + (e.labels.length > 1 && e.truth !== e.found ? `, labelled ${className(e.truth)}` : '');
    return make('li', { tabIndex: 0, onmouseenter: () => point(i), onmouseleave: () => point(-1), onfocus: () => point(i), onblur: () => point(-1) },
      make('span', { className: 'tag', style: `--color:${color(e.kind)}` }, e.kind), ': ' + about);
  }))];
}
function mapText(image) {
  const swatch = label => make('span', { className: 'tag', style: `--color:rgb(${data.palette[label].join(' ')})` }, className(label));
  const kind = label => image.errors.find(e => e.label === label)?.kind;
  return [make('span', {}, `mIoU ${image.miou?.toFixed(1) ?? '–'}, ${image.accuracy.toFixed(1)} % of pixels right`),
    make('ul', {}, ...image.classes.map(c => make('li', {}, swatch(c.label), `: IoU ${c.iou.toFixed(1)}` + (kind(c.label) ? `, ${kind(c.label)}` : ''))),
      ...image.confused.map(([a, b, share]) => make('li', {}, swatch(a), ' taken for ', swatch(b), `: ${share.toFixed(1)} % of the image`)))];
}
function point(error) {
  for (const svg of $('view').querySelectorAll('svg')) {
    const chosen = [...svg.children].filter(part => error >= 0 && Number(part.dataset.error) === error);
    svg.classList.toggle('one', chosen.length > 0);
    for (const part of svg.children) part.classList.toggle('chosen', chosen.includes(part));
  }
}
function step(by) {
  const next = opened + by;
  if (next < 0 || next >= shown.length) return;
  while (next >= drawn) more();
  open(next);
}

function matrix() {
  const size = data.confusion.length, all = [...Array(size).keys()];
  const wrong = i => all.reduce((sum, j) => sum + (i === j ? 0 : data.confusion[i][j] + data.confusion[j][i]), 0);
  const kept = size <= 25 ? all : all.slice().sort((a, b) => wrong(b) - wrong(a)).slice(0, 24).sort((a, b) => a - b);
  const unit = boxes ? 'objects' : 'pixels';
  $('matrix').querySelector('.note').textContent = `Rows: labelled, columns: predicted, in ${unit}; shaded by the share of its row. ` +
    (size > kept.length ? `The ${kept.length} of ${size} classes with most errors. ` : '') + 'A cell shows the images with that error. ' +
    (boxes ? `Each object and each detection counts once, at an IoU of 0.5: more detections of one object are in the last row.` : 'An image keeps its ten largest confusions.');
  const short = n => n >= 1e6 ? (n / 1e6).toFixed(1) + 'M' : n >= 1e4 ? Math.round(n / 1e3) + 'k' : String(n);
  const head = make('tr', {}, make('th', {}), ...kept.map(j => make('th', { scope: 'col', title: className(j) }, className(j))), make('th', {}, boxes ? 'AP50' : 'IoU'));
  const rows = kept.map(i => {
    const sum = Math.max(data.confusion[i].reduce((a, b) => a + b, 0), 1);
    const cells = kept.map(j => {
      const n = data.confusion[i][j];
      const button = make('button', { title: `${className(i)} → ${className(j)}: ${n}`, style: `background:rgb(var(--cell) / ${(n / sum * .75).toFixed(3)})` }, n ? short(n) : '·');
      button.dataset.pair = `${i},${j}`;
      button.disabled = !n;
      return make('td', { className: i === j ? 'right' : '' }, button);
    });
    const value = data.per_class[className(i)];
    return make('tr', {}, make('th', { scope: 'row' }, className(i)), ...cells, make('th', {}, i < data.classes.length && value !== null ? value.toFixed(1) : '–'));
  });
  $('matrix').querySelector('.wide').append(make('table', {}, make('thead', {}, head), make('tbody', {}, ...rows)));
}

document.title = data.title;
$('title').textContent = data.title;
$('about').append(...Object.entries(data.about).map(([key, value]) => make('span', {}, `${key}: ${value}`)));
$('value').append(make('small', {}, `${data.metric} `), data.value === null ? '–' : data.value.toFixed(1));
$('kinds').append(...data.kinds.map(kind => {
  const chip = make('button', { className: 'chip', 'aria-pressed': 'false', style: `--color:${color(kind)}` }, kind, make('b', {}, String(data.counts[kind])));
  chip.dataset.kind = kind;
  return chip;
}));
$('class').append(make('option', { value: -1 }, 'all'), ...data.classes.map((name, i) => make('option', { value: i }, name)));
$('sort').append(...Object.entries(ORDERS).map(([key, [text]]) => make('option', { value: key }, text)));
$('show-text').textContent = boxes ? 'correct ones too' : 'classes over the photo';
$('definitions').textContent = boxes
  ? 'Kinds of error as TIDE defines them (Bolya et al., ECCV 2020): right place from an IoU of 0.5, background below 0.1.'
  : 'missed: less than a tenth of its pixels found; invented: predicted, not labelled; poor overlap: otherwise an IoU below 0.5.';
matrix();
update();

$('kinds').addEventListener('click', event => {
  const kind = event.target.closest('.chip')?.dataset.kind;
  if (!kind) return;
  if (!state.kinds.delete(kind)) state.kinds.add(kind);
  update();
});
$('class').addEventListener('change', event => { state.label = Number(event.target.value); update() });
$('sort').addEventListener('change', event => { state.sort = event.target.value; update() });
$('search').addEventListener('input', event => { state.text = event.target.value.trim().toLowerCase(); update() });
$('matrix').addEventListener('click', event => {
  const pair = event.target.closest('td button')?.dataset.pair;
  if (pair) { state.pair = state.pair === pair ? null : pair; update() }
});
$('reset').addEventListener('click', () => {
  Object.assign(state, { kinds: new Set(), label: -1, pair: null, text: '' });
  $('class').value = -1; $('search').value = '';
  update();
});
$('grid').addEventListener('click', event => {
  const button = event.target.closest('.card');
  if (button) open(Number(button.dataset.index));
});
$('before').addEventListener('click', () => step(-1));
$('after').addEventListener('click', () => step(1));
$('close').addEventListener('click', () => $('view').close());
$('view').addEventListener('click', event => { if (event.target === $('view')) $('view').close() });
$('view').addEventListener('close', () => $('grid').children[opened]?.focus());
$('show').addEventListener('change', () => open(opened));
document.addEventListener('keydown', event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if ($('view').open) {
    if (event.key === 'ArrowLeft' || event.key === 'ArrowRight') { event.preventDefault(); step(event.key === 'ArrowLeft' ? -1 : 1) }
    return;
  }
  if (event.key === '/' && !event.target.matches('input')) { event.preventDefault(); $('search').focus(); return }
  if (!event.target.matches('.card') && event.target !== document.body) return;
  const columns = getComputedStyle($('grid')).gridTemplateColumns.split(' ').length;
  const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
  if (!by) return;
  const now = event.target.matches('.card') ? Number(event.target.dataset.index) : -1;
  const next = now < 0 ? 0 : now + by;
  if (next < 0 || next >= shown.length) return;
  event.preventDefault();
  while (next >= drawn) more();
  $('grid').children[next].focus();
});
// The rest follows while one scrolls: thousands of cards at once would be slow to lay out.
new IntersectionObserver(entries => { if (entries.some(e => e.isIntersecting) && drawn < shown.length) more() }, { rootMargin: '1200px' })
  .observe(document.querySelector('footer'));
