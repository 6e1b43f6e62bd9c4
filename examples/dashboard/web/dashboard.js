// The page of the dashboard: the same machines twice, and what each way to know of them costs.
import { $, element, newClient } from '/site/site.js';

const client = newClient();
let toServer = null; // add it to performance.now() for the plant's clock
let costs = null; // what the server has counted for this guest: { Live, Polling }

/** One way to show the machines, and its measurement. */
class View {
  #grid;
  #row;
  #tiles = new Map();
  #readings = {};
  #delays = []; // of the changes shown since `since`
  #since = 0;
  #before = null; // the costs then

  constructor(grid, row) {
    this.#grid = $(grid);
    this.#row = $(row);
    for (const { textContent } of document.querySelectorAll('thead th:not(:empty)')) {
      const cell = element('td', '', '–');
      cell.dataset.label = textContent;
      this.#row.append(cell);
    }
  }

  /** Begins to measure, anew. */
  begin(cost) {
    [this.#delays, this.#since, this.#before] = [[], performance.now(), cost];
  }

  /** Shows readings, by machine: its load, and when it changed. */
  show(readings) {
    const now = performance.now();
    for (const [name, reading] of Object.entries(readings)) {
      const known = this.#readings[name];
      if (known?.[1] === reading[1]) continue;
      // What changed before the measurement began could not be shown any sooner.
      if (toServer !== null && reading[1] >= this.#since + toServer) this.#delays.push(Math.max(0, now + toServer - reading[1]));
      this.#tile(name).textContent = reading[0];
      this.#tile(name).style.setProperty('--load', reading[0]);
    }
    this.#readings = readings;
  }

  #tile(name) {
    let tile = this.#tiles.get(name);
    if (!tile) {
      tile = element('li', '');
      tile.title = name;
      this.#tiles.set(name, tile);
      this.#grid.replaceChildren(...[...this.#tiles.keys()].sort().map((key) => this.#tiles.get(key)));
    }
    return tile;
  }

  /** What was measured so far. */
  figures(cost) {
    const delays = this.#delays.toSorted((a, b) => a - b);
    const seconds = (performance.now() - this.#since) / 1000;
    const bytes = cost.bytes - this.#before.bytes;
    return {
      seconds,
      requests: cost.requests - this.#before.requests,
      bytes: bytes / seconds,
      each: delays.length ? bytes / delays.length : NaN,
      changes: delays.length,
      mean: delays.length ? delays.reduce((sum, d) => sum + d, 0) / delays.length : NaN,
      most: delays[Math.floor(delays.length * 0.95)] ?? NaN,
    };
  }

  report(cost) {
    if (!this.#before) return;
    const { requests, bytes, each, changes, mean, most } = this.figures(cost);
    const texts = [[requests, ''], [bytes, ''], [each, ''], [changes, ''], [mean, ' ms'], [most, ' ms']]
      .map(([n, unit]) => (Number.isFinite(n) ? Math.round(n).toLocaleString('en') + unit : '–'));
    [...this.#row.querySelectorAll('td')].forEach((td, i) => { td.textContent = texts[i]; });
  }
}

const live = new View('#live', '#live-figures');
const polling = new View('#polling', '#polling-figures');

/** The figures of both, as the table has them. */
export async function measured() {
  await count();
  return { live: live.figures(costs.Live), polling: polling.figures(costs.Polling) };
}

/** Measures both anew, polling at the interval that is chosen. */
export async function restart() {
  await count();
  live.begin(costs.Live);
  polling.begin(costs.Polling);
}

async function read(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.json();
}

/** Asks what was counted; this request isn't. */
async function count() {
  costs = await read('/figures.json');
}

async function poll() {
  const begun = performance.now();
  if (client.state === 'closed') return;
  try {
    polling.show(await read('/machines.json'));
  } catch (error) {
    console.info('not now:', error.message);
  }
  setTimeout(poll, begun + Number($('#every').value) - performance.now());
}

let reports = 0;
async function report() {
  if (client.state === 'closed') return;
  try {
    await count();
    live.report(costs.Live);
    polling.report(costs.Polling);
    $('#seconds').textContent = Math.round(live.figures(costs.Live).seconds);
    $('#measured-title').dataset.reports = ++reports;
  } catch (error) {
    console.info('not now:', error.message);
  }
  setTimeout(report, 1000);
}

/** Compares clocks: of some answers the fastest tells best. */
async function compareClocks() {
  let best = Infinity;
  for (let i = 0; i < 5; i++) {
    const asked = performance.now();
    const clock = await client.rpc('clock');
    const took = performance.now() - asked;
    if (took < best) [best, toServer] = [took, clock - asked - took / 2];
  }
}

client.on('connected', () => compareClocks().catch((error) => console.info('not now:', error.message)));
client.subscribe('board:machines').on('publication', ({ data }) => live.show(data));
$('#every').addEventListener('change', restart);

await restart();
client.connect();
poll();
report();
