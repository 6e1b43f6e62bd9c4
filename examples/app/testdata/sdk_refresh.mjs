// Centrifuge's official JavaScript SDK with access tokens of a few seconds: node sdk_refresh.mjs http://HOST:PORT
// GET /token answers a new one.

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { Centrifuge, UnauthorizedError } from 'centrifuge';
import WebSocket from 'ws';

const base = process.argv[2];
const token = async () => (await fetch(`${base}/token`)).text();
const done = (what) => console.log(`ok ${what}`);

const expired = await token();
await sleep(4000); // past its life

let asked = 0;
let signedOut = false;
let closes = 0;
class Socket extends WebSocket {
  constructor(url, protocols) {
    super(url, protocols);
    this.on('close', () => closes++);
  }
}
const client = new Centrifuge(`${base.replace(/^http/, 'ws')}/realtime`, {
  websocket: Socket,
  token: expired,
  async getToken() {
    asked++;
    if (signedOut) throw new UnauthorizedError('signed out');
    return token();
  },
});
const events = [];
for (const name of ['connecting', 'connected', 'disconnected', 'error']) {
  client.on(name, ({ code, error }) => events.push(`${name} ${code ?? error?.code ?? ''}`.trim()));
}
client.connect();
await client.ready(5000);
assert.equal(asked, 1);
done('an expired token is answered with 109, and a new one is fetched');

const before = closes;
const told = events.length;
await sleep(6500);
assert.ok(asked >= 3, `refreshed ${asked - 1} times`);
assert.equal(client.state, 'connected');
assert.equal(closes, before, 'the socket stayed');
assert.deepEqual(events.slice(told), []);
assert.deepEqual((await client.rpc('echo', 1)).data, 1);
done('the token is refreshed in band, again and again');

signedOut = true;
await new Promise((resolve) => client.on('disconnected', resolve));
done('without another token it ends');
process.exit(0);
