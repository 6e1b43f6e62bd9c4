// The page of the chat: one room at a time. Whatever others send is shown as text, or not at all.
import { $, element, me, newClient } from '/site/site.js';

const TYPING = 3000; // ms that a notice holds; one is sent every half of that

const client = newClient();
const rooms = new Set(['lobby', 'kitchen', 'workshop']);
let room = null; // { name, messages, typing } of the room we are in
let people = new Map(); // by connection: what presence, join and leave tell
let typists = new Map(); // by connection: who, and until when
let toldAt = 0;

const nameOf = (info) => String(info?.conn_info?.name ?? 'Somebody');

/** Enters a room, and leaves the one before. */
function enter(name) {
  room?.messages.unsubscribe();
  room?.typing.unsubscribe();
  people = new Map();
  typists = new Map();
  rooms.add(name);
  $('#title').textContent = `# ${name}`;
  $('#messages').replaceChildren();
  showRooms(name);
  showPeople();
  showTypists();

  let read = false; // whether the history is shown: a connection may break before
  const messages = client.subscribe(`room:${name}`);
  const typing = client.subscribe(`typing:${name}`);
  room = { name, messages, typing };
  messages.on('subscribed', async ({ wasRecovering, recovered }) => {
    if (wasRecovering && !recovered) { // at once: what is said from here on must not be cleared away with the rest
      read = false;
      $('#messages').replaceChildren(element('li', 'note', 'You were away for long: the room begins anew.'));
    }
    try {
      const here = await messages.presence();
      if (room.messages !== messages) return;
      people = new Map(Object.entries(here));
      showPeople();
      if (read) return; // what was missed since has come as if it had just been said
      const { publications } = await messages.history({ limit: -1 });
      if (room.messages !== messages) return;
      publications.forEach(showMessage);
      read = true;
    } catch (error) {
      console.info('not now:', error.message); // the connection broke: the next 'subscribed' asks again
    }
  });
  messages.on('publication', showMessage);
  messages.on('join', ({ info }) => {
    const known = people.has(info.client);
    people.set(info.client, info);
    showPeople();
    if (!known && info.user !== me.id) note(`${nameOf(info)} came in`);
  });
  messages.on('leave', ({ info }) => {
    people.delete(info.client);
    typists.delete(info.client);
    showPeople();
    showTypists();
    if (![...people.values()].some(({ user }) => user === info.user)) note(`${nameOf(info)} left`);
  });
  typing.on('publication', ({ info }) => {
    if (!info || info.user === me.id) return;
    typists.set(info.client, { name: nameOf(info), until: Date.now() + TYPING });
    showTypists();
    setTimeout(showTypists, TYPING + 50);
  });
}

/** Puts a message where its number says: history may arrive after what is said meanwhile, and either only once. */
function showMessage({ data, info, offset }) {
  if (typeof data?.text !== 'string' || !info) return;
  typists.delete(info.client);
  showTypists();
  const list = $('#messages');
  const numbered = [...list.children].filter((li) => li.dataset.offset);
  if (numbered.some((li) => Number(li.dataset.offset) === offset)) return;
  const item = element('li', info.user === me.id ? 'message mine' : 'message',
    element('header', '', element('b', '', info.user === me.id ? 'You' : nameOf(info))), element('p', '', data.text));
  item.dataset.offset = offset;
  keepingToTheEnd(() => list.insertBefore(item, numbered.find((li) => Number(li.dataset.offset) > offset) ?? null));
}

function note(text) {
  keepingToTheEnd(() => $('#messages').append(element('li', 'note', text)));
}

/** Who reads older messages isn't torn away from them. */
function keepingToTheEnd(add) {
  const list = $('#messages');
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  add();
  if (atEnd) list.scrollTop = list.scrollHeight;
}

function showRooms(current) {
  $('#rooms').replaceChildren(...[...rooms].map((name) => {
    const link = element('a', '', `# ${name}`);
    link.href = `#${name}`;
    if (name === current) link.ariaCurrent = 'page';
    return element('li', '', link);
  }));
}

/** Each guest once, however many windows they have. */
function showPeople() {
  const guests = new Map([...people.values()].map((info) => [info.user, info.user === me.id ? `${nameOf(info)} (you)` : nameOf(info)]));
  $('#here').replaceChildren(...[...guests.values()].sort().map((name) => element('li', '', name)));
}

function showTypists() {
  const names = [...new Set([...typists.values()].filter(({ until }) => until > Date.now()).map(({ name }) => name))];
  $('#typing').textContent = names.length ? `${names.join(', ')} ${names.length > 1 ? 'are' : 'is'} typing…` : '';
}

$('#text').addEventListener('input', () => {
  if (client.state !== 'connected' || Date.now() - toldAt < TYPING / 2) return;
  toldAt = Date.now();
  room.typing.publish({}).catch(() => {}); // a notice that is lost is no loss
});

$('#say').addEventListener('submit', async (event) => {
  event.preventDefault();
  const text = $('#text').value.trim();
  if (!text) return;
  $('#text').value = '';
  toldAt = 0;
  try {
    await room.messages.publish({ text }); // while disconnected, it waits for the connection
  } catch (error) {
    note(`Not sent (${error.message}): ${text}`);
  }
});

$('#enter').addEventListener('submit', (event) => {
  event.preventDefault();
  location.hash = $('#room').value.toLowerCase();
  $('#room').value = '';
});

const wanted = () => (/^#[a-z0-9-]{1,24}$/.test(location.hash) ? location.hash.slice(1) : 'lobby');
addEventListener('hashchange', () => { if (client.state !== 'closed' && wanted() !== room.name) enter(wanted()); });
enter(wanted());
client.connect();
