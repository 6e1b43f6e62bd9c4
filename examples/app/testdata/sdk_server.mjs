// Centrifuge's official JavaScript SDK and what the server does of its own accord: node sdk_server.mjs http://HOST:PORT
// POST /say, /tell, /down, /bar and /drain make it do so.

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { Centrifuge } from 'centrifuge';
import WebSocket from 'ws';

const base = process.argv[2];
const getToken = async () => (await fetch(`${base}/token`)).text();
const post = (path, form = {}) => fetch(`${base}/${path}`, { method: 'POST', body: new URLSearchParams(form) });
const done = (what) => console.log(`ok ${what}`);

const sockets = [];
class Socket extends WebSocket {
  constructor(url, protocols) {
    super(url, protocols);
    sockets.push(this);
  }
}

function event(emitter, name, fits = () => true) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no ${name} event`)), 20000);
    const listener = (context) => {
      if (!fits(context)) return;
      clearTimeout(timer);
      emitter.removeListener(name, listener);
      resolve(context);
    };
    emitter.on(name, listener);
  });
}

const client = new Centrifuge(`${base.replace(/^http/, 'ws')}/realtime`, { websocket: Socket, getToken, minReconnectDelay: 500 });
const own = [];
client.on('publication', ({ channel, data }) => own.push([channel, data]));
let subscribed = event(client, 'subscribed');
client.connect();
assert.equal((await subscribed).channel, 'user:ada');
let published = event(client, 'publication');
await post('say', { channel: 'user:ada', data: '1' });
await published;
done('is in the channels of the server\'s choice');

const message = event(client, 'message');
await post('tell', { data: '{"to":"ada"}' });
assert.deepEqual((await message).data, { to: 'ada' });
client.send({ nothing: 'answers' });
done('is sent messages');

const lost = event(client, 'connecting');
subscribed = event(client, 'subscribed');
sockets.at(-1).terminate();
await lost;
for (const data of ['2', '3']) await post('say', { channel: 'user:ada', data });
const { wasRecovering, recovered } = await subscribed;
assert.deepEqual([wasRecovering, recovered], [true, true]);
published = event(client, 'publication', ({ data }) => data === 4);
await post('say', { channel: 'user:ada', data: '4' });
await published;
assert.deepEqual(own, [1, 2, 3, 4].map((n) => ['user:ada', n]));
done('what was missed in them is recovered, in order, once');

await post('down', { is: 'true' });
const room = client.newSubscription('room:a', { minResubscribeDelay: 100 });
const failed = event(room, 'error');
const entered = event(room, 'subscribed');
room.subscribe();
assert.equal((await failed).error.code, 100);
await post('down', { is: 'false' });
await entered;
done('a refusal for now is tried again');

const barred = event(room, 'unsubscribed');
await post('bar');
assert.equal((await barred).code, 2000);
assert.equal(client.state, 'connected');
done('a right that is gone ends the subscription alone');

const made = sockets.length;
const moving = event(client, 'connecting', ({ code }) => code === 3001);
const drained = post('drain');
await moving;
await drained;
await sleep(1500);
assert.ok(sockets.length > made && client.state === 'connecting', 'it looks for another node');
done('comes back after 3001');

client.disconnect();
assert.equal(client.state, 'disconnected');
await sleep(1000);
const last = sockets.length;
await sleep(1000);
assert.equal(sockets.length, last);
done('and is still when told');
process.exit(0);
