// The rooms: messages as they come, the last ones on load, and who is here.

import { $, avatar, h, hour, time, toast } from './dom.js';

const SHOWN = 100; // messages read on load
const KEPT = 500; // messages on the page
const TOGETHER = 5 * 60 * 1000; // messages of one person within this many ms share a head
const GRACE = 3000; // ms until somebody whose last connection fell has left: reconnections are no news

export class Chat {
  room = '';
  #client;
  #user;
  /** @type {import('/client/realtime.js').Subscription | null} */
  #subscription = null;
  #epoch = ''; // of the history that is shown; none while none is
  /** @type {any} messages that stood there when some had gone missing, until the history is read; null: none have */
  #before = null;
  /** @type {Set<number>} offsets on the page */
  #seen = new Set();
  /** @type {Map<string, {user: string, name: string}>} connections in the room */
  #connections = new Map();
  /** @type {Map<string, any>} timers of users about to have left */
  #leaving = new Map();
  #listeners = new AbortController();

  /** @param {import('/client/realtime.js').Client} client @param {any} user */
  constructor(client, user) {
    this.#client = client;
    this.#user = user;
    const { signal } = this.#listeners;
    const message = $('message');
    message.addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => {
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#send();
    }, { signal });
    message.addEventListener('input', fitComposer, { signal });
    $('composer').addEventListener('submit', (/** @type {Event} */ event) => {
      event.preventDefault();
      this.#send();
    }, { signal });
    $('room-form').addEventListener('submit', (/** @type {Event} */ event) => {
      event.preventDefault();
      const name = $('room-name').value.trim().toLowerCase().replace(/[^\p{L}\p{N}]+/gu, '-').replace(/^-|-$/g, '');
      if (!name) return;
      $('room-name').value = '';
      location.hash = `#/rooms/${encodeURIComponent(name)}`;
    }, { signal });
  }

  /** Goes to a room. @param {string} name as in the address */
  open(name) {
    let room = name;
    try {
      room = decodeURIComponent(name);
    } catch { /* typed by hand: taken as it is */ }
    room = room.slice(0, 32);
    if (room === this.room) return;
    this.#reset();
    this.room = room;
    $('room-title').textContent = `#${room}`;
    $('messages').setAttribute('aria-label', `Messages in ${room}`);
    listRooms(this.#user.id, room);

    const subscription = this.#client.subscribe(`room:${room}`);
    this.#subscription = subscription;
    subscription.on('subscribed', (event) => this.#arrived(subscription, event));
    subscription.on('publication', (publication) => this.#add(publication, true));
    subscription.on('join', ({ info }) => this.#join(info));
    subscription.on('leave', ({ info }) => this.#leave(info));
    subscription.on('unsubscribed', ({ reason }) => {
      if (this.#subscription !== subscription) return;
      $('room-note').textContent = `This room is closed to you (${reason}).`;
    });
  }

  /** The room has come into view: a list that was hidden has forgotten where it stood. */
  shown() {
    $('messages').scrollTop = $('messages').scrollHeight;
  }

  /** Takes everything off the page. */
  clear() {
    this.#listeners.abort();
    this.#reset();
    this.room = '';
    $('room-list').replaceChildren();
    $('message').value = '';
    fitComposer();
  }

  #reset() {
    this.#subscription?.unsubscribe();
    this.#subscription = null;
    for (const timer of this.#leaving.values()) clearTimeout(timer);
    this.#leaving.clear();
    this.#connections.clear();
    this.#epoch = '';
    this.#before = null;
    this.#seen.clear();
    $('messages').replaceChildren();
    $('messages').setAttribute('aria-busy', 'true');
    $('room-note').textContent = '';
    this.#showPeople();
  }

  /** @param {import('/client/realtime.js').Subscription} subscription @param {{recovered: boolean, wasRecovering: boolean}} event */
  async #arrived(subscription, { recovered, wasRecovering }) {
    const stale = () => this.#subscription !== subscription;
    if (wasRecovering && !recovered) this.#before = $('messages').querySelectorAll('.message'); // what comes from here on is of the history that is read now
    try {
      const [clients, past] = await Promise.all([
        subscription.presence(),
        recovered && this.#epoch && !this.#before ? null : subscription.history({ limit: SHOWN, reverse: true }),
      ]);
      if (stale()) return;
      this.#connections.clear();
      for (const info of Object.values(clients)) this.#connections.set(info.client, { user: info.user, name: nameOf(info) });
      this.#showPeople();
      if (!past) return;
      if (this.#before && past.epoch !== this.#epoch) { // another history: the numbers begin again
        for (const item of this.#before) {
          if (this.#epoch) item.dataset.offset = '0';
          else item.remove(); // of which history it was, nobody knows
        }
        const since = [...$('messages').querySelectorAll('.message')].filter((item) => item.dataset.offset !== '0');
        $('messages').append(...since); // their numbers are lower than those of what stands there
        this.#seen = new Set(since.map((item) => Number(item.dataset.offset)));
      }
      this.#epoch = past.epoch;
      const missing = past.publications.reverse().filter(({ offset }) => !offset || !this.#seen.has(offset));
      if (this.#before) this.#say('You were disconnected for a while. Messages may be missing here.');
      this.#before = null;
      for (const publication of missing) this.#add(publication);
      if ($('messages').childElementCount === 0) $('messages').append(h('li', { class: 'said empty' }, 'No messages yet. Say hello!'));
    } catch (error) {
      if (!stale() && this.#client.state === 'connected') toast(`The room could not be read: ${error instanceof Error ? error.message : error}`, 'error');
    } finally {
      if (!stale()) $('messages').setAttribute('aria-busy', 'false');
    }
  }

  /** @param {import('/client/realtime.js').Publication} publication @param {boolean} [live] */
  #add({ data, info, offset = 0 }, live = false) {
    if (typeof data?.text !== 'string' || (offset && this.#seen.has(offset))) return; // anything can be published in a room
    if (offset) this.#seen.add(offset);
    const list = $('messages');
    const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 80;
    const user = info?.user ?? '';
    const mine = user === this.#user.id;
    const date = sentAt(data.at);

    // Live messages are the newest; one from history that came late goes where its number says.
    const after = offset ? [...list.querySelectorAll('.message')].find((item) => Number(item.dataset.offset) > offset) : undefined;
    const previous = after ? after.previousElementSibling : list.lastElementChild;
    const follows = previous?.dataset.user === user && date.getTime() - Number(previous?.dataset.at) < TOGETHER;
    const name = info ? nameOf(info) : 'Server';
    const item = h(
      'li',
      { class: `message${mine ? ' mine' : ''}${follows ? ' follows' : ''}`, 'data-user': user, 'data-at': date.getTime(), 'data-offset': offset },
      avatar(user, name),
      h(
        'div',
        { class: 'message-body' },
        h('p', { class: follows ? 'message-head visually-hidden' : 'message-head' }, h('strong', {}, mine ? 'You' : name), ' ', time(date, hour(date))),
        h('p', { class: 'bubble' }, data.text.slice(0, 4000)),
      ),
    );
    if (live) {
      item.classList.add('live');
      item.addEventListener('animationend', () => item.classList.remove('live'), { once: true });
    }
    list.insertBefore(item, after ?? null);
    list.querySelector('.said.empty')?.remove();
    while (list.childElementCount > KEPT) list.firstElementChild.remove();
    if (atEnd || mine) list.scrollTop = list.scrollHeight;
  }

  /** A line of the page itself. @param {string} text */
  #say(text) {
    const list = $('messages');
    const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 80;
    list.append(h('li', { class: 'said' }, text));
    if (atEnd) list.scrollTop = list.scrollHeight;
  }

  /** @param {import('/client/realtime.js').Info} info */
  #join(info) {
    const { user, client } = info;
    const here = this.#isHere(user);
    this.#connections.set(client, { user, name: nameOf(info) });
    clearTimeout(this.#leaving.get(user));
    const returns = this.#leaving.delete(user);
    this.#showPeople();
    if (!here && !returns && user !== this.#user.id) this.#say(`${nameOf(info)} joined`);
  }

  /** @param {import('/client/realtime.js').Info} info */
  #leave(info) {
    const { user, client } = info;
    if (!this.#connections.delete(client)) return;
    this.#showPeople();
    if (this.#isHere(user) || user === this.#user.id) return;
    this.#leaving.set(user, setTimeout(() => {
      this.#leaving.delete(user);
      this.#say(`${nameOf(info)} left`);
    }, GRACE));
  }

  /** @param {string} user */
  #isHere(user) {
    for (const connection of this.#connections.values()) if (connection.user === user) return true;
    return false;
  }

  #showPeople() {
    /** @type {Map<string, {name: string, windows: number}>} */
    const people = new Map();
    for (const { user, name } of this.#connections.values()) {
      const person = people.get(user) ?? { name, windows: 0 };
      person.windows++;
      people.set(user, person);
    }
    const me = this.#user.id;
    const sorted = [...people].sort(([a, x], [b, y]) => Number(b === me) - Number(a === me) || x.name.localeCompare(y.name));
    $('people-count').textContent = String(people.size);
    $('people').replaceChildren(...sorted.map(([user, { name, windows }]) => h(
      'li',
      { 'data-user': user },
      avatar(user, name),
      h('span', { class: 'person' }, name, user === me ? h('span', { class: 'muted' }, ' (you)') : null),
      windows > 1 ? h('span', { class: 'count', title: `${windows} windows` }, `×${windows}`) : null,
    )));
  }

  async #send() {
    const message = $('message');
    const text = message.value.trim();
    const subscription = this.#subscription;
    if (!text || !subscription) return;
    message.value = '';
    fitComposer();
    message.focus();
    try {
      await subscription.publish({ text, at: Date.now() });
    } catch (error) {
      if (this.#client.state === 'closed') return;
      if (!message.value) message.value = text; // nothing typed is lost
      fitComposer();
      toast(`Not sent: ${error instanceof Error ? error.message : error}`, 'error');
    }
  }
}

/** When a message says it was sent, where that can be. @param {unknown} at */
function sentAt(at) {
  const now = Date.now();
  return new Date(typeof at === 'number' && at > now - 86400000 && at < now ? at : now);
}

/** @param {import('/client/realtime.js').Info} info */
function nameOf(info) {
  const name = info.conn_info?.name;
  return typeof name === 'string' && name.trim() ? name.trim().slice(0, 60) : 'Somebody';
}

/** The composer grows with its text; field-sizing does it where browsers know it. */
function fitComposer() {
  const message = $('message');
  message.rows = Math.min(6, message.value.split('\n').length);
}

/** Shows the rooms this user has been to, and remembers this one. @param {string} user @param {string} room */
function listRooms(user, room) {
  const key = `rooms:${user}`;
  let rooms = ['lobby'];
  try {
    const stored = JSON.parse(localStorage.getItem(key) ?? '[]');
    const others = [...stored, room].filter((/** @type {unknown} */ name) => typeof name === 'string' && name !== 'lobby');
    rooms = ['lobby', ...new Set(others)].slice(0, 12);
    if (!rooms.includes(room)) rooms[11] = room;
    localStorage.setItem(key, JSON.stringify(rooms.slice(1)));
  } catch { // storage may be blocked: this room is still listed
    rooms = [...new Set([...rooms, room])];
  }
  $('room-list').replaceChildren(...rooms.map((name) => h(
    'li',
    {},
    h('a', { href: `#/rooms/${encodeURIComponent(name)}`, 'aria-current': name === room ? 'page' : null }, h('span', { 'aria-hidden': 'true' }, '#'), ' ', name),
  )));
}
