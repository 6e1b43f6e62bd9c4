// A program against the types of realtime.js, which must compile; and mistakes that must not.

import { Client, Code, isTerminal, RealtimeError } from './realtime.js';
import type { ClientEvents, History, Info, Options, Position, Publication, State, Subscription } from './realtime.js';
import * as generated from './generated/module.js';

const options: Options = {
  getToken: async ({ signal }) => (await fetch('/token', { signal })).text(),
  timeout: 1000, minDelay: 1, maxDelay: 2, moveWindow: 0, maxPingDelay: 5, WebSocket,
};
const client = new Client(new URL('wss://app.example/realtime'), options);
new Client('/realtime');
new Client('/realtime', { getToken: () => null });
const state: State = client.state;
const off: () => void = client.on('connecting', ({ code, reason, delay }) => console.log(code + delay, reason.length));
off();
client.on('closed', ({ code }) => { if (code === Code.SESSION_ENDED || isTerminal(code)) client.close(); });
client.on('error', ({ error }) => { if (error instanceof RealtimeError && error.temporary) console.log(error.code, error.message); });
client.on('publication', ({ channel, data, offset }) => console.log(channel.length, data.anything, offset ?? 0));
client.addEventListener('connected', (event) => console.log((event as CustomEvent<ClientEvents['connected']>).detail.client.length));
const room: Subscription = client.subscribe('room:lobby', { recover: true, since: { offset: 1, epoch: 'e' } });
room.on('subscribed', ({ recovered, wasRecovering }) => console.log(recovered && wasRecovering));
room.on('publication', ({ info }: Publication) => console.log(info?.user.length, info?.conn_info.name));
room.on('unsubscribed', ({ code, reason }) => console.log(code, reason));
async function use(): Promise<void> {
  await client.ready();
  const past: History = await room.history({ limit: 10, reverse: true });
  client.subscribe('room:b', { since: past });
  const position: Position = past;
  const people: Record<string, Info> = await room.presence();
  const { clients, users } = await client.presenceStats('room:lobby');
  await room.publish({ text: 'hi' });
  await client.send(1);
  const answer = await client.rpc('echo');
  console.log(position.offset, people.x?.client, clients + users, answer, state);
}
use().catch(console.error);

// @ts-expect-error not an option
new Client('/realtime', { token: 'x' });
// @ts-expect-error a token is a string
new Client('/realtime', { getToken: async () => 5 });
// @ts-expect-error no such event
client.on('publications', () => {});
// @ts-expect-error made by subscribe alone
new Subscription();
// @ts-expect-error read-only
client.state = 'closed';
// @ts-expect-error not an option
client.subscribe('a', { joinLeave: true });
// @ts-expect-error internal
client._emit('x', {});

// The module as it is (types generated from its comments) has all that is declared.
const made: Client = new generated.Client('/realtime');
const sub: Subscription = new generated.Client('/realtime').subscribe('x');
const err: RealtimeError = new generated.RealtimeError(1, 'x', true);
const codes: typeof Code = generated.Code;
const terminal: typeof isTerminal = generated.isTerminal;
// And nothing more: names that are exported here and not declared, or the other way round, are an error.
const names: { [K in keyof typeof generated]: true } = { Client: true, Code: true, RealtimeError: true, Subscription: true, isTerminal: true };
const declared: { [K in keyof typeof import('./realtime.js')]: true } = names;
const back: typeof names = declared;
console.log(made, sub, err, codes, terminal, back);
