/**
 * The live fleet. Lists the nodes, follows the stream of transitions, and shows one node's actor.
 *
 * 1. The list is read again every few seconds (heartbeats are no transitions), and at once after a transition of a node.
 * 2. A stream's transition moves its own row at once. After a gone cursor (410) the page begins again from a listing.
 * 3. Everything from the server becomes text, never markup.
 */
import { api, openSession, signInText } from './session.js';
import { changeText, dueText, duration, reasonOf, statedReason, valueText } from './words.js';

const REFRESH_MS = 5_000;
const TICK_MS = 1_000;
const LIST_LIMIT = 500;
const HISTORY_LIMIT = 25;
/** The newest change of what is shown is rarely further back: what comes between are rechecks. */
const REASON_LOOKBACK = 20;
/** The reasons of so many rows are asked for at once. */
const REASONS_AT_ONCE = 4;
const RETRY_MS = 2_000;

const element = (id) => document.getElementById(id);
const nodes = new Map(); // node id → node
const reasons = new Map(); // node id → { since, text }
const rows = new Map(); // node id → { row, cells }
let selected = null;
let actor = null;
let cursor = null;
let refreshing = null;
let signedOut = false;

function make(tag, { text, className, attributes = {} } = {}, ...children) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// Talking to the control plane

function notify(error) {
  element('notice').hidden = !error;
  element('notice').textContent = error?.message ?? '';
  if (error?.status !== 401) return;
  signedOut = true;
  element('notice').textContent = signInText(error);
  document.querySelector('main').hidden = true;
  setConnection('signed out', 'down');
}

// The list

async function refresh() {
  refreshing ??= (async () => {
    try {
      const page = await api(`/api/fabric/nodes?limit=${LIST_LIMIT}`);
      nodes.clear();
      for (const node of page.items) nodes.set(node.nodeId, node);
      notify(null);
      renderList();
      await loadReasons();
    } catch (error) {
      notify(error);
    } finally {
      refreshing = null;
    }
  })();
  return refreshing;
}

async function loadReasons() {
  const wanted = [...nodes.values()].filter((node) => reasons.get(node.nodeId)?.since !== node.since);
  const worker = async () => {
    for (let node = wanted.shift(); node; node = wanted.shift()) {
      const page = await api(`/api/actors/node/${encodeURIComponent(node.nodeId)}/history?limit=${REASON_LOOKBACK}`).catch(() => null);
      if (!page?.items[0]) continue;
      const stated = page.items.map(statedReason).find((reason) => reason !== undefined);
      reasons.set(node.nodeId, { since: node.since, text: stated ?? reasonOf(page.items[0]) });
    }
  };
  await Promise.all(Array.from({ length: REASONS_AT_ONCE }, worker));
  renderList();
}

function renderList() {
  const sorted = [...nodes.values()].sort((left, right) => left.name.localeCompare(right.name));
  element('empty').hidden = sorted.length > 0;
  for (const [id, { row }] of rows) {
    if (nodes.has(id)) continue;
    row.remove();
    rows.delete(id);
  }
  sorted.forEach((node, index) => {
    const { row } = renderRow(node);
    const body = element('nodes');
    if (body.children[index] !== row) body.insertBefore(row, body.children[index] ?? null);
  });
  const counts = Object.groupBy(sorted, (node) => node.state);
  element('counts').replaceChildren(
    ...['online', 'degraded', 'offline', 'unknown']
      .filter((state) => counts[state])
      .map((state) => make('li', {}, make('b', { text: String(counts[state].length) }), ' ', stateMark(state))),
  );
}

function renderRow(node) {
  let entry = rows.get(node.nodeId);
  if (!entry) {
    const open = make('button', { className: 'link', attributes: { type: 'button' } });
    open.addEventListener('click', () => select(node.nodeId));
    const cells = Array.from({ length: 7 }, (_, index) => make('td', { className: index > 3 ? 'number' : '' }));
    cells[3].classList.add('why');
    entry = { row: make('tr', {}, make('th', { attributes: { scope: 'row' } }, open), ...cells), open, cells };
    entry.row.addEventListener('click', (event) => event.target === open || select(node.nodeId));
    rows.set(node.nodeId, entry);
  }
  const { row, open, cells } = entry;
  const system = node.status?.system ?? {};
  row.toggleAttribute('data-selected', node.nodeId === selected);
  open.textContent = node.name;
  open.title = node.nodeId;
  if (cells[0].dataset.state !== node.state) {
    cells[0].dataset.state = node.state;
    cells[0].replaceChildren(stateMark(node.state));
  }
  setAge(cells[1], node.since);
  setAge(cells[2], node.lastSeenAt);
  cells[3].textContent = reasons.get(node.nodeId)?.text ?? '';
  setMeter(cells[4], system.cpu_percent);
  setMeter(cells[5], percent(system.memory_used_gb, system.memory_total_gb) ?? system.memory_percent);
  const gpus = (node.status?.gpu ?? []).map((gpu) => gpu.utilization_percent).filter(Number.isFinite);
  setMeter(cells[6], gpus.length > 0 ? Math.max(...gpus) : undefined);
  return entry;
}

const percent = (used, total) => (Number.isFinite(used) && total > 0 ? (100 * used) / total : undefined);

function stateMark(state) {
  return make('span', { className: `state ${state}`, text: state });
}

function setMeter(cell, value) {
  if (!Number.isFinite(value)) return cell.replaceChildren(make('span', { className: 'muted', text: '–', attributes: { 'aria-label': 'not reported' } }));
  const rounded = Math.round(value);
  cell.replaceChildren(
    make('span', { text: `${rounded} %` }),
    make('meter', { attributes: { min: 0, max: 100, low: 80, high: 95, optimum: 0, value: rounded, 'aria-hidden': 'true' } }),
  );
}

// Times are shown as ages, exact on hover, and go on by themselves.

function setAge(target, time, kind = 'age') {
  target.dataset[kind] = time ?? '';
  target.title = time ?? '';
  target.textContent = time ? (kind === 'age' ? duration(Date.now() - Date.parse(time)) : dueText(time)) : 'never';
}

function tick() {
  for (const target of document.querySelectorAll('[data-age]')) setAge(target, target.dataset.age);
  for (const target of document.querySelectorAll('[data-due]')) setAge(target, target.dataset.due, 'due');
}

// One node's actor

async function select(id) {
  selected = id;
  actor = null;
  renderList();
  await loadActor();
  if (selected === id) element('detail').focus({ preventScroll: false });
}

function closeDetail() {
  const opener = rows.get(selected)?.open;
  selected = null;
  element('detail').hidden = true;
  renderList();
  opener?.focus();
}

async function loadActor() {
  const id = selected;
  if (id === null) return;
  const path = `/api/actors/node/${encodeURIComponent(id)}`;
  try {
    const [view, past] = await Promise.all([api(path), api(`${path}/history?limit=${HISTORY_LIMIT}`)]);
    if (id !== selected) return;
    actor = view;
    renderActor(past);
  } catch (error) {
    notify(error);
  }
}

function renderActor(past) {
  element('detail').hidden = false;
  element('detail-title').textContent = `${actor.type}/${actor.id}`;
  const facts = [
    ['State', valueText(actor.value)],
    ['Revision', `${actor.revision} (machine ${actor.machineVersion})`],
    ['Tags', (actor.tags ?? []).join(', ') || '–'],
    ...(actor.parked ? [['Parked', actor.parked]] : []),
  ];
  element('facts').replaceChildren(...facts.flatMap(([name, value]) => [make('dt', { text: name }), make('dd', { text: value })]));
  const timers = actor.timers.map((timer) => {
    const due = make('span', { className: 'muted' });
    setAge(due, timer.dueAt, 'due');
    return make('li', {}, make('code', { text: timer.id.slice(timer.id.indexOf('|') + 1) }), ' ', due);
  });
  element('timers').replaceChildren(...(timers.length > 0 ? timers : [make('li', { className: 'muted', text: 'none armed' })]));
  element('next-events').replaceChildren(...actor.nextEvents.map((type) => make('li', { text: type })));
  element('history').replaceChildren(...past.items.map(historyItem));
  if (past.truncated) element('history').append(make('li', { className: 'muted', text: 'What was before has been trimmed.' }));
}

function historyItem(transition) {
  const age = make('span');
  setAge(age, transition.at);
  return make(
    'li',
    {},
    make('div', {}, make('b', { text: changeText(transition) })),
    make('div', { text: statedReason(transition) ?? '' }),
    make('div', { className: 'muted' }, `${reasonOf(transition)} · revision ${transition.revision} · `, age, ' ago'),
  );
}

// The stream

function setConnection(text, kind) {
  element('connection').textContent = text;
  element('connection').dataset.kind = kind;
}

function follow() {
  const source = new EventSource(`/events/stream?types=node${cursor === null ? '' : `&cursor=${encodeURIComponent(cursor)}`}`);
  source.addEventListener('open', () => setConnection('live', 'up'));
  source.addEventListener('transition', (message) => {
    cursor = message.lastEventId;
    const transition = JSON.parse(message.data);
    reasons.delete(transition.id);
    void refresh();
    if (transition.id === selected) void loadActor();
  });
  source.addEventListener('error', () => {
    setConnection('reconnecting…', 'down');
    if (signedOut) return source.close();
    if (source.readyState !== EventSource.CLOSED) return;
    // Refused: a gone cursor or an ended session. Both begin anew from a listing.
    cursor = null;
    setTimeout(() => void refresh().then(() => signedOut || follow()), RETRY_MS);
  });
}

element('close').addEventListener('click', closeDetail);
document.addEventListener('keydown', (event) => event.key === 'Escape' && selected !== null && closeDetail());
setInterval(tick, TICK_MS);
setInterval(() => signedOut || void refresh().then(loadActor), REFRESH_MS);
await openSession().catch(notify);
if (!signedOut) await refresh();
if (!signedOut) follow();
