// The page of the game. One's own player is predicted: it moves at once, by the server's rules, and is put right by each
// snapshot. The others are shown as they were a moment ago, between two snapshots.
import { $, element, newClient } from '/site/site.js';

const TICK = 50; // ms between inputs, as between the server's ticks
const DELAY = 2 * TICK; // ms the others are shown late, so that the next snapshot is there

const client = newClient();
const canvas = $('canvas');
const pen = canvas.getContext('2d');

let rules = null; // the server's numbers
let mine = ''; // the id of our own player: the connection's
let me = null; // where we predict to be: { x, y }
let before = null; // and where we were a tick earlier, at `steppedAt`
let steppedAt = 0;
let seq = 0;
let pending = []; // inputs sent that no snapshot has told of yet
let frames = []; // the last snapshots: { at, players, gems }, `at` by our clock
let began = Infinity; // when tick 0 was, by our clock
let corrections = 0;
let received = 0;

client.on('connected', ({ client: id }) => { // every connection is a new player
  mine = id;
  [me, before, seq, pending, frames, began] = [null, null, 0, [], [], Infinity];
});
client.on('message', ({ data }) => {
  if (data.rules) rules = data.rules;
  else if (rules) take(data);
});

/** A snapshot: the whole world at a tick. */
function take({ tick, players, gems }) {
  // Of all snapshots the one that was fastest tells best when ticks are; the little that is added lets clocks drift.
  began = Math.min(began + 0.02, performance.now() - tick * TICK);
  frames.push({ at: began + tick * TICK, players: new Map(players.map((p) => [p.id, p])), gems });
  if (frames.length > 20) frames.shift();
  received++;
  const own = frames.at(-1).players.get(mine);
  if (own) reconcile(own);
  showPlayers(players);
}

/** The server has the last word about where we are; what it hasn't seen yet is played on from there. */
function reconcile(own) {
  pending = pending.filter((input) => input.seq > own.ack);
  const right = pending.reduce(step, { x: own.x, y: own.y });
  if (me && (right.x !== me.x || right.y !== me.y)) corrections++;
  me = right;
  before ??= me;
}

/** The same as move in world.go. */
function step({ x, y }, { dx, dy }) {
  const way = dx && dy ? rules.diagonal : rules.straight;
  const within = (v, size) => Math.min(Math.max(v, rules.radius), size - rules.radius);
  return { x: within(x + dx * way, rules.width), y: within(y + dy * way, rules.height) };
}

/** A tick of our own: one input, sent and predicted. */
function act() {
  before = me;
  steppedAt = performance.now();
  if (client.state !== 'connected' || !me) return;
  const { dx, dy } = direction();
  if (!dx && !dy) return;
  const input = { seq: ++seq, dx, dy };
  pending.push(input);
  me = step(me, input);
  client.send(input).catch(() => {}); // the connection is gone, and this player with it
}

const held = new Set();
let finger = null;

function direction() {
  const [right, left, down, up] = [['ArrowRight', 'KeyD'], ['ArrowLeft', 'KeyA'], ['ArrowDown', 'KeyS'], ['ArrowUp', 'KeyW']]
    .map((keys) => keys.some((key) => held.has(key)) ? 1 : 0);
  if (right || left || down || up) return { dx: right - left, dy: down - up };
  if (!finger) return { dx: 0, dy: 0 };
  const toward = (d) => (Math.abs(d) > rules.radius / 2 ? Math.sign(d) : 0);
  return { dx: toward(finger.x - me.x), dy: toward(finger.y - me.y) };
}

addEventListener('keydown', (event) => {
  held.add(event.code);
  if (event.code.startsWith('Arrow')) event.preventDefault();
});
addEventListener('keyup', (event) => held.delete(event.code));
addEventListener('blur', () => { held.clear(); finger = null; });
canvas.addEventListener('pointerdown', (event) => { canvas.setPointerCapture(event.pointerId); point(event); });
canvas.addEventListener('pointermove', (event) => { if (finger) point(event); });
for (const type of ['pointerup', 'pointercancel']) canvas.addEventListener(type, () => { finger = null; });

function point(event) {
  const scale = canvas.width / canvas.clientWidth;
  finger = { x: event.offsetX * scale, y: event.offsetY * scale };
}

/** Everybody as they are shown at this moment. */
export function scene() {
  const now = performance.now();
  const shownAt = now - DELAY;
  const next = frames.findIndex(({ at }) => at > shownAt);
  const b = frames.at(next); // -1, when no newer has come: the newest
  const a = next > 0 ? frames[next - 1] : b;
  if (!b) return { players: [], gems: [] };
  const part = b === a ? 1 : (shownAt - a.at) / (b.at - a.at);
  const players = [...b.players.values()].map((p) => {
    if (p.id === mine && me) return { ...p, ...between(before, me, Math.min((now - steppedAt) / TICK, 1)) };
    return { ...p, ...between(a.players.get(p.id) ?? p, p, part) };
  });
  return { players, gems: frames.at(-1).gems };
}

/** How well the prediction does. */
export const figures = () => ({ pending: pending.length, corrections });

const between = (from, to, part) => ({ x: from.x + (to.x - from.x) * part, y: from.y + (to.y - from.y) * part });

const colour = (hue) => `hsl(${hue} 65% 50%)`;

let ink = '';
const readInk = () => { ink = getComputedStyle(document.body).color; };
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', readInk);
readInk();

function draw() {
  requestAnimationFrame(draw);
  pen.clearRect(0, 0, canvas.width, canvas.height);
  const { players, gems } = scene();
  for (const { x, y } of gems) {
    pen.fillStyle = '#f2a900';
    pen.beginPath();
    for (const [dx, dy] of [[0, -1], [0.8, 0], [0, 1], [-0.8, 0]]) pen.lineTo(x + dx * rules.gem, y + dy * rules.gem);
    pen.fill();
  }
  pen.font = `600 ${Math.max(26, (12 * canvas.width) / canvas.clientWidth)}px system-ui, sans-serif`; // legible on a phone, too
  pen.textAlign = 'center';
  for (const { id, name, hue, x, y } of players) {
    disc(x, y, rules.radius, colour(hue));
    if (id === mine) {
      pen.strokeStyle = ink;
      pen.lineWidth = 5;
      pen.stroke();
    }
    pen.fillStyle = ink;
    pen.fillText(name, x, y < 100 ? y + rules.radius + 44 : y - rules.radius - 12);
  }
}

function disc(x, y, r, fill) {
  pen.beginPath();
  pen.arc(x, y, r, 0, 2 * Math.PI);
  pen.fillStyle = fill;
  pen.fill();
}

let shown = '';
function showPlayers(players) {
  const scores = JSON.stringify(players.map(({ id, score }) => [id, score]));
  if (scores === shown) return;
  shown = scores;
  $('#players').replaceChildren(...players.toSorted((a, b) => b.score - a.score).map(({ id, name, hue, score }) => {
    const dot = element('i', '');
    dot.style.backgroundColor = colour(hue);
    return element('li', id === mine ? 'mine' : '', dot, element('span', '', name), element('b', '', String(score)));
  }));
}

setInterval(() => {
  $('#figures').textContent = `Snapshots in the last second: ${received}. Times the server corrected where you are: ${corrections}.`;
  received = 0;
}, 1000);
setInterval(act, TICK);
draw();
client.connect();
