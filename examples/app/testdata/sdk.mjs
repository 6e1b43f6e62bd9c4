// Centrifuge's official JavaScript SDK against the app: node sdk.mjs http://HOST:PORT
// Prints a line for each thing that works; the first that does not ends it with status 1.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { Centrifuge } from 'centrifuge';
import WebSocket from 'ws';

const base = process.argv[2];
const endpoint = `${base.replace(/^http/, 'ws')}/realtime`;
const password = 'violet harbour sings at noon';

/** @returns {Promise<Response>} */
function post(path, body, headers = {}) {
  const form = body instanceof URLSearchParams;
  return fetch(base + path, {
    method: 'POST', headers: form || !body ? headers : { 'content-type': 'application/json', ...headers },
    body: form || !body ? body : JSON.stringify(body),
  });
}

/** A WebSocket as a browser or a program would open it; the last one is kept, to be cut. */
function sockets(headers) {
  const made = [];
  class Socket extends WebSocket {
    constructor(url, protocols) {
      super(url, protocols, { headers });
      made.push(this);
    }
  }
  return { Socket, cut: () => made.at(-1).terminate(), get count() { return made.length; } };
}

/** Resolves with the first event that fits, within five seconds. */
function event(emitter, name, fits = () => true) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no ${name} event`)), 5000);
    emitter.on(name, (context) => {
      if (!fits(context)) return;
      clearTimeout(timer);
      resolve(context);
    });
  });
}

const done = (what) => console.log(`ok ${what}`);

// Ada: a native program with tokens. The SDK has none at first and asks getToken.
const registered = await post('/auth/register', { email: 'ada@example.org', password, name: 'Ada', mode: 'token' });
assert.equal(registered.status, 201);
const tokens = await registered.json();
let refreshToken = tokens.refresh_token;
let refreshes = 0;
async function getToken() {
  const answer = await post('/auth/token', new URLSearchParams({ grant_type: 'refresh_token', refresh_token: refreshToken }));
  assert.equal(answer.status, 200);
  const pair = await answer.json();
  refreshToken = pair.refresh_token;
  refreshes++;
  return pair.access_token;
}
const adaSockets = sockets({});
const ada = new Centrifuge([{ transport: 'websocket', endpoint }], { websocket: adaSockets.Socket, getToken, minReconnectDelay: 1000 });
const adaConnected = event(ada, 'connected');
ada.connect();
const { client } = await adaConnected;
assert.equal(refreshes, 1);
done('connects with a token of getToken');

const room = ada.newSubscription('room:sdk', { positioned: true, recoverable: true, joinLeave: true });
const received = [];
room.on('publication', ({ data }) => received.push(data));
const subscribed = event(room, 'subscribed');
room.subscribe();
assert.equal((await subscribed).recoverable, true);
const own = event(room, 'publication');
await room.publish({ n: 1 });
const { data, offset, info } = await own;
assert.deepEqual(data, { n: 1 });
assert.equal(offset, 1);
assert.equal(info.user, tokens.user.id);
assert.deepEqual(info.connInfo, { name: 'Ada' });
done('subscribes, publishes and gets its own publication');

const presence = await room.presence();
assert.deepEqual(Object.keys(presence.clients), [client]);
assert.equal(presence.clients[client].user, tokens.user.id);
assert.deepEqual(await room.presenceStats(), { numClients: 1, numUsers: 1 });
const history = await room.history({ limit: 10 });
assert.deepEqual(history.publications.map((p) => p.data), [{ n: 1 }]);
assert.equal(history.offset, 1);
assert.deepEqual((await ada.rpc('echo', { deep: [1, 2] })).data, { deep: [1, 2] });
await assert.rejects(ada.rpc('nothing', {}), { code: 104 });
done('presence, history, RPC');

const unknown = ada.newSubscription('nowhere:x');
const unsubscribed = event(unknown, 'unsubscribed');
unknown.subscribe();
assert.equal((await unsubscribed).code, 102);
done('is told of an unknown channel');

// Bob: as a browser, with the cookie.
const bobAnswer = await post('/auth/register', { email: 'bob@example.org', password, name: 'Bob' }, { origin: base });
assert.equal(bobAnswer.status, 201);
const cookie = bobAnswer.headers.getSetCookie().map((c) => c.split(';')[0]).join('; ');
const bobSockets = sockets({ cookie, origin: base });
const bob = new Centrifuge(endpoint, { websocket: bobSockets.Socket });
const joined = event(room, 'join', (c) => c.info.connInfo?.name === 'Bob');
const bobRoom = bob.newSubscription('room:sdk');
const bobSubscribed = event(bobRoom, 'subscribed');
bobRoom.subscribe();
bob.connect();
await bobSubscribed;
await joined;
done('connects with a cookie, and is announced');

// Ada's network fails; what Bob says meanwhile is not lost.
const resubscribed = event(room, 'subscribed');
const lost = event(ada, 'connecting');
adaSockets.cut();
await lost;
for (const n of [2, 3, 4]) await bobRoom.publish({ n });
const { wasRecovering, recovered } = await resubscribed;
assert.equal(wasRecovering, true);
assert.equal(recovered, true);
const live = event(room, 'publication', (p) => p.data.n === 5);
await bobRoom.publish({ n: 5 });
await live;
assert.deepEqual(received, [1, 2, 3, 4, 5].map((n) => ({ n })));
done('recovers what it missed, in order, once');

// A session that ends takes its sockets with it, and the SDK gives up.
async function ends(who, made, action, code) {
  const gone = event(who, 'disconnected');
  const before = made.count;
  await action();
  const { code: got, reason } = await gone;
  assert.equal(got, code);
  assert.notEqual(reason, '');
  await sleep(1500);
  assert.equal(who.state, 'disconnected');
  assert.equal(made.count, before, 'it tried again');
}
await ends(bob, bobSockets, async () => {
  const answer = await post('/auth/logout', undefined, { cookie, origin: base });
  assert.equal(answer.status, 204);
}, 4501);
done('stops on 4501 after sign-out');
await ends(ada, adaSockets, async () => {
  const answer = await post('/auth/revoke', new URLSearchParams({ token: refreshToken }));
  assert.equal(answer.status, 200);
}, 4501);
done('stops on 4501 after the refresh token is revoked');

const badSockets = sockets({});
const bad = new Centrifuge(endpoint, { websocket: badSockets.Socket, token: 'not a token' });
const refused = event(bad, 'disconnected');
bad.connect();
const { code, reason } = await refused;
assert.equal(code, 3500);
assert.notEqual(reason, '');
await sleep(1500);
assert.equal(bad.state, 'disconnected');
assert.equal(badSockets.count, 1, 'it tried again');
done('stops on 3500 with a bad token');

const oldCookie = sockets({ cookie, origin: base });
const gone = new Centrifuge(endpoint, { websocket: oldCookie.Socket });
const goneRefused = event(gone, 'disconnected');
gone.connect();
assert.equal((await goneRefused).code, 3500);
done('stops on 3500 with the cookie of an ended session');

// A page of another site has the cookie sent along, and gets nothing for it.
const foreign = new WebSocket(endpoint, { headers: { cookie, origin: 'https://evil.example' } });
const [, response] = await once(foreign, 'unexpected-response');
assert.equal(response.statusCode, 403);
done('another origin is refused');
process.exit(0);
