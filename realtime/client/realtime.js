// @ts-check
/**
 * The browser's side of gatewire's realtime hub: authenticated channels over one WebSocket.
 *
 *     import { Client } from '/client/realtime.js';
 *     const client = new Client('/realtime');
 *     client.on('closed', ({ code, reason }) => showSignIn(reason));
 *     const room = client.subscribe('room:lobby', { joinLeave: true });
 *     room.on('publication', ({ data, info }) => show(info, data));
 *     client.connect();
 *     await room.publish({ text: 'hello' });
 *
 * A client is used once: new → connecting ⇄ connected → closed. While it is connecting or connected it reconnects by
 * itself, with exponential backoff and full jitter, and subscribes again from where each channel stopped. It ends
 * ('closed', with the code and the reason) when close() is called or when the server says that coming back is no use:
 * session ended, credential refused. Then sign in again and make a new Client.
 *
 * With a session cookie nothing else is needed. With access tokens pass getToken: it is asked before the first
 * connection, before the token expires, and after the server calls one expired (error 109).
 *
 * Events of Client:
 *   connecting  {code, reason, delay}   not connected, next attempt in `delay` ms
 *   connected   {client, data}          the connection's id and what the server sent along
 *   closed      {code, reason}          over, once
 *   message     {data}                  sent by the server to this user or connection
 *   publication {channel, data, …}      of a channel the server subscribed this connection to; not recovered
 *   error       {error}                 something failed and will be tried again
 * Events of Subscription:
 *   subscribed   {recovered, wasRecovering, data}   wasRecovering && !recovered: messages are missing, read history()
 *   publication  {data, info, offset, tags}
 *   join, leave  {info}
 *   subscribing  {code, reason}         lost, will come back
 *   unsubscribed {code, reason}         over, once
 *
 * The protocol is the JSON client protocol of Centrifuge: one JSON object a line, several lines a frame.
 *
 * @typedef {object} Options
 * @property {() => Promise<string | null | undefined>} [getToken] An access token; nothing when there is none to have (signed out): the client ends.
 * @property {unknown} [data]          Sent along with connect.
 * @property {string} [name]           Name of this application, for the server's logs. Defaults to "gatewire".
 * @property {number} [timeout]        For an answer, and for a whole attempt to connect, in ms. Defaults to 10000.
 * @property {number} [minDelay]       Upper end of the first reconnection delay, in ms; doubles with each failure. Defaults to 500.
 * @property {number} [maxDelay]       Upper end of every reconnection delay, in ms. Defaults to 20000.
 * @property {number} [moveWindow]     Reconnections after "moving" (3001) spread over this many ms. Defaults to 2000.
 * @property {number} [maxPingDelay]   How late a ping may be before the connection counts as dead, in ms. Defaults to 10000.
 * @property {typeof WebSocket} [WebSocket] For environments without a global one.
 *
 * @typedef {{user: string, client: string, conn_info?: any, chan_info?: any}} Info  Who published, joined or is present.
 * @typedef {{data: any, info?: Info, offset?: number, tags?: Record<string, string>}} Publication
 * @typedef {{offset: number, epoch: string}} Position
 * @typedef {'new' | 'connecting' | 'connected' | 'closed'} State
 */

/** Codes of events and errors that begin here. Others are the server's close codes (1000 and up) and error codes (100 to 999). */
export const Code = Object.freeze({
  CLOSED: 0,        // close() or unsubscribe() was called
  UNAUTHORIZED: 1,  // getToken had none to give
  NO_TOKEN: 2,      // getToken failed or took too long
  TIMEOUT: 3,       // no answer in time
  NO_PING: 4,       // the server fell silent
  PROTOCOL: 5,      // the server sent something that isn't the protocol
  OFFLINE: 6,       // the browser went offline
  MOVING: 3001,
  EXPIRED: 3005,
  INVALID_CREDENTIAL: 3500,
  SESSION_ENDED: 4501,
});

const TOKEN_EXPIRED = 109;
const TEMPORARY = 100;
const RESUBSCRIBE = 2500; // unsubscribe codes from here on mean "come back"
const FRAME = 16 * 1024; // characters of commands joined into one frame
const MAX_TIMER = 2 ** 31 - 1; // setTimeout fires at once beyond it

/** A failure of a command: the server's error, or a code of {@link Code}. */
export class RealtimeError extends Error {
  /** @param {number} code @param {string} message @param {boolean} [temporary] */
  constructor(code, message, temporary = false) {
    super(message || `error ${code}`);
    this.name = 'RealtimeError';
    this.code = code;
    this.temporary = temporary || code < 100 || code === TEMPORARY;
  }
}

/** Whether a close code ends the client: 1009 (what was sent is too big), 3500–3999 and 4500–4999. @param {number} code */
export function isTerminal(code) {
  return code === 1009 || (code >= 3500 && code < 4000) || (code >= 4500 && code < 5000);
}

/** EventTarget with listeners that take the detail itself. An error one throws is reported and stops nobody else. */
class Emitter extends EventTarget {
  /**
   * @param {string} type @param {(detail: any) => void} listener
   * @returns {() => void} takes the listener off again
   */
  on(type, listener) {
    const handle = (/** @type {Event} */ event) => listener(/** @type {CustomEvent} */ (event).detail);
    this.addEventListener(type, handle);
    return () => this.removeEventListener(type, handle);
  }

  /** @internal @param {string} type @param {object} detail */
  _emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** @typedef {(error: RealtimeError | null, result: any) => void} Done Called in the order of the server's lines: promises would let a later push overtake a reply. */

/** One WebSocket: frames, commands with their replies and time-outs, pings. It ends once and never comes back. */
class Link {
  ended = false;
  #socket;
  #timeout;
  #hooks;
  #lastID = 0;
  /** @type {Map<number, {method: string, done: Done, timer: any}>} */
  #pending = new Map();
  /** @type {string[]} */
  #queue = [];
  /** @type {any} */
  #silence;
  #maxSilence = 0;
  #heard = 0;
  #pong = false;

  /**
   * @param {WebSocket} socket @param {number} timeout
   * @param {{open: () => void, push: (push: any) => void, end: (code: number, reason: string, final: boolean) => void}} hooks
   */
  constructor(socket, timeout, hooks) {
    this.#socket = socket;
    this.#timeout = timeout;
    this.#hooks = hooks;
    socket.onopen = () => hooks.open();
    socket.onmessage = ({ data }) => this.#receive(data);
    socket.onclose = ({ code, reason }) => this.end(code, reason);
    socket.onerror = () => {}; // says nothing, and a close always follows
  }

  /** Sends a command; done is called with its reply, a time-out or the end of the link. @param {string} method @param {object} params @param {Done} done */
  call(method, params, done) {
    const id = ++this.#lastID;
    const timer = setTimeout(() => {
      this.#pending.delete(id);
      done(new RealtimeError(Code.TIMEOUT, `no answer to ${method}`), null);
    }, this.#timeout);
    this.#pending.set(id, { method, done, timer });
    this.write({ id, [method]: params });
  }

  /** Queues one line; the lines of one turn of the event loop share a frame. @param {object} command */
  write(command) {
    if (this.#queue.push(JSON.stringify(command)) === 1) queueMicrotask(() => this.#flush());
  }

  /** Expects a ping at least every so many seconds. @param {number} seconds @param {boolean} pong @param {number} grace ms */
  expectPings(seconds, pong, grace) {
    this.#pong = pong;
    this.#maxSilence = seconds ? seconds * 1000 + grace : 0;
    this.#listen();
  }

  /** Ends the link if the server has been silent for too long: timers stand still while a machine sleeps. */
  check() {
    if (this.#maxSilence && Date.now() - this.#heard > this.#maxSilence) this.end(Code.NO_PING, 'no ping from the server');
  }

  /** @param {number} code @param {string} reason @param {boolean} [final] whether the client may not come back */
  end(code, reason, final = isTerminal(code)) {
    if (this.ended) return;
    this.ended = true;
    clearTimeout(this.#silence);
    this.#flush(); // what was said before close() is still sent
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const { done, timer } of pending) {
      clearTimeout(timer);
      done(new RealtimeError(code, reason || 'connection lost'), null);
    }
    this.#hooks.end(code, reason, final);
  }

  #flush() {
    const lines = this.#queue;
    this.#queue = [];
    if (this.#socket.readyState !== 1) return;
    for (let i = 0; i < lines.length;) {
      let frame = lines[i++];
      while (i < lines.length && frame.length + lines[i].length < FRAME) frame += '\n' + lines[i++];
      this.#socket.send(frame);
    }
  }

  #listen() {
    clearTimeout(this.#silence);
    this.#heard = Date.now();
    if (this.#maxSilence) this.#silence = setTimeout(() => this.end(Code.NO_PING, 'no ping from the server'), this.#maxSilence);
  }

  /** @param {unknown} data */
  #receive(data) {
    this.#listen();
    for (const line of typeof data === 'string' ? data.split('\n') : ['']) {
      let reply = null;
      try {
        reply = JSON.parse(line);
      } catch { /* told below */ }
      if (reply === null || typeof reply !== 'object') return this.end(Code.PROTOCOL, 'not the protocol');
      this.#take(reply);
      if (this.ended) return;
    }
  }

  /** @param {any} reply */
  #take(reply) {
    const command = this.#pending.get(reply.id);
    if (command) {
      this.#pending.delete(reply.id);
      clearTimeout(command.timer);
      const { error } = reply;
      if (error) command.done(new RealtimeError(error.code, error.message, error.temporary), null);
      else command.done(null, reply[command.method] ?? {});
    } else if (reply.push) {
      this.#hooks.push(reply.push);
    } else if (reply.id === undefined && this.#pong) {
      this.write({}); // {} is a ping, and its answer
    }
  }
}

/** A connection that is kept up. See the top of this file. */
export class Client extends Emitter {
  #url;
  #options;
  /** @type {State} */
  #state = 'new';
  /** @type {Link | null} */
  #link = null;
  /** Attempts to connect, counted: whatever an older one still does is ignored. */
  #turn = 0;
  #failures = 0;
  #connectedAt = 0;
  /** @type {any} the delay before an attempt, or an attempt's time-out */
  #timer;
  #waiting = false;
  /** @type {any} */
  #refresh;
  #token = '';
  #tokenEnds = Infinity;
  /** @type {Map<string, Subscription>} */
  #subscriptions = new Map();
  /** @type {Set<{done: (error: RealtimeError | null) => void, timer: any}>} */
  #waiters = new Set();
  #listeners = new AbortController();

  /** @param {string | URL} url of the hub, may be relative to the page @param {Options} [options] */
  constructor(url, options = {}) {
    super();
    this.#url = new URL(url, globalThis.location?.href);
    this.#url.protocol = this.#url.protocol.replace(/^http/, 'ws');
    if (!/^wss?:$/.test(this.#url.protocol)) throw new TypeError(`not a WebSocket address: ${this.#url}`);
    this.#options = {
      name: 'gatewire', timeout: 10000, minDelay: 500, maxDelay: 20000, moveWindow: 2000, maxPingDelay: 10000,
      WebSocket: globalThis.WebSocket, ...options,
    };
  }

  /** @returns {State} */
  get state() { return this.#state; }

  /** Begins. Safe to call again; throws once the client has ended. */
  connect() {
    if (this.#state === 'closed') throw new RealtimeError(Code.CLOSED, 'this client has ended: make a new one');
    if (this.#state !== 'new') return;
    this.#watchBrowser();
    this.#state = 'connecting';
    this._emit('connecting', { code: Code.CLOSED, reason: 'connect', delay: 0 });
    if (this.#state === 'connecting') this.#attempt();
  }

  /** Ends the client and everything it holds: the socket, the timers, the subscriptions, commands under way. */
  close() {
    this.#finish(Code.CLOSED, 'closed');
  }

  /** Resolves when connected; rejects when the client ends or the time-out passes first. @returns {Promise<void>} */
  ready() {
    if (this.#state === 'connected') return Promise.resolve();
    if (this.#state === 'closed') return Promise.reject(new RealtimeError(Code.CLOSED, 'closed'));
    return new Promise((resolve, reject) => {
      const waiter = {
        done: (/** @type {RealtimeError | null} */ error) => {
          clearTimeout(waiter.timer);
          this.#waiters.delete(waiter);
          if (error) reject(error);
          else resolve();
        },
        timer: setTimeout(() => waiter.done(new RealtimeError(Code.TIMEOUT, 'not connected')), this.#options.timeout),
      };
      this.#waiters.add(waiter);
    });
  }

  /**
   * Subscribes to a channel, now or once connected, and again after every reconnection. The same Subscription is
   * returned for a channel that has one.
   * @param {string} channel
   * @param {{recover?: boolean, joinLeave?: boolean, data?: unknown, since?: Position}} [options] recover (default true): ask for what was
   *   missed while disconnected; joinLeave: tell who comes and goes; since: begin after this position.
   * @returns {Subscription}
   */
  subscribe(channel, options = {}) {
    if (this.#state === 'closed') throw new RealtimeError(Code.CLOSED, 'this client has ended: make a new one');
    let subscription = this.#subscriptions.get(channel);
    if (!subscription) {
      subscription = new Subscription(this, channel, options, (/** @type {number} */ n) => this.#backoff(n), () => {
        this.#subscriptions.delete(channel);
        return this.#state === 'connected' ? this.#link : null;
      });
      this.#subscriptions.set(channel, subscription);
      if (this.#state === 'connected' && this.#link) subscription._begin(this.#link);
    }
    return subscription;
  }

  /** @param {string} channel @param {unknown} data @returns {Promise<void>} */
  async publish(channel, data) { await this.#request('publish', { channel, data }); }

  /** Who is in the channel, by connection id. @param {string} channel @returns {Promise<Record<string, Info>>} */
  async presence(channel) { return (await this.#request('presence', { channel })).presence ?? {}; }

  /** @param {string} channel @returns {Promise<{clients: number, users: number}>} */
  async presenceStats(channel) {
    const { num_clients = 0, num_users = 0 } = await this.#request('presence_stats', { channel });
    return { clients: num_clients, users: num_users };
  }

  /**
   * Past publications, oldest first unless reverse. Without a limit only the channel's position.
   * @param {string} channel @param {{limit?: number, since?: Position, reverse?: boolean}} [options]
   * @returns {Promise<{publications: Publication[], offset: number, epoch: string}>}
   */
  async history(channel, options = {}) {
    const { publications = [], offset = 0, epoch = '' } = await this.#request('history', { ...options, channel });
    return { publications, offset, epoch };
  }

  /** @param {string} method @param {unknown} [data] @returns {Promise<any>} the method's answer */
  async rpc(method, data) { return (await this.#request('rpc', { method, data })).data; }

  /** A message without an answer. @param {unknown} data @returns {Promise<void>} resolves when handed to the socket */
  async send(data) {
    await this.ready();
    this.#link?.write({ send: { data } });
  }

  /** @param {string} method @param {object} params @returns {Promise<any>} */
  async #request(method, params) {
    await this.ready();
    return new Promise((resolve, reject) => {
      if (!this.#link) return reject(new RealtimeError(Code.CLOSED, 'connection lost'));
      this.#link.call(method, params, (error, result) => (error ? reject(error) : resolve(result)));
    });
  }

  /** One attempt: a token where tokens are used, the socket, the connect command; all within one time-out. */
  async #attempt() {
    const { timeout, getToken, WebSocket } = this.#options;
    const turn = ++this.#turn;
    this.#waiting = false;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      if (this.#link) this.#link.end(Code.TIMEOUT, 'the server did not answer');
      else this.#retry(Code.NO_TOKEN, 'no token in time');
    }, timeout);
    if (getToken && (!this.#token || Date.now() >= this.#tokenEnds)) {
      try {
        const token = await getToken();
        if (turn !== this.#turn) return;
        if (!token) return this.#finish(Code.UNAUTHORIZED, 'no token: signed out');
        this.#token = token;
        this.#tokenEnds = Infinity; // the connect reply tells
      } catch (error) {
        if (turn !== this.#turn) return;
        this._emit('error', { error });
        return this.#retry(Code.NO_TOKEN, 'no token');
      }
    }
    const link = new Link(new WebSocket(this.#url), timeout, {
      open: () => this.#greet(link),
      push: (push) => this.#push(link, push),
      end: (code, reason, final) => this.#lost(code, reason, final),
    });
    this.#link = link;
  }

  /** @param {Link} link */
  #greet(link) {
    const { name, data, maxPingDelay } = this.#options;
    link.call('connect', { name, data, token: this.#token || undefined }, (error, reply) => {
      if (link.ended) return;
      if (error) {
        this.#token = '';
        const again = error.temporary || (error.code === TOKEN_EXPIRED && this.#options.getToken);
        return link.end(error.code, error.message, !again);
      }
      clearTimeout(this.#timer);
      this.#connectedAt = Date.now();
      this.#state = 'connected';
      link.expectPings(reply.ping ?? 0, reply.pong ?? false, maxPingDelay);
      if (reply.expires) this.#refreshBefore(reply.ttl);
      const subscriptions = [...this.#subscriptions.values()]; // those a listener adds begin by themselves
      this._emit('connected', { client: reply.client, data: reply.data });
      for (const subscription of subscriptions) {
        if (!link.ended) subscription._begin(link); // a listener may have closed the client
      }
      if (!link.ended) for (const waiter of [...this.#waiters]) waiter.done(null);
    });
  }

  /** @param {Link} link @param {any} push */
  #push(link, push) {
    const { channel, pub, message, disconnect, refresh } = push;
    const subscription = this.#subscriptions.get(channel);
    if (message) this._emit('message', { data: message.data });
    else if (disconnect) link.end(disconnect.code, disconnect.reason);
    else if (refresh) { if (refresh.expires) this.#refreshBefore(refresh.ttl); }
    else if (subscription) subscription._take(push, link);
    else if (pub) this._emit('publication', { channel, ...pub });
  }

  /** @param {number} code @param {string} reason @param {boolean} final */
  #lost(code, reason, final) {
    this.#link = null;
    clearTimeout(this.#refresh);
    if (code === Code.EXPIRED) this.#token = '';
    if (final) return this.#finish(code, reason);
    // A connection that fell soon after it stood counts as one more failure: servers that accept and drop are spared too.
    if (this.#state === 'connected' && Date.now() - this.#connectedAt > this.#options.maxDelay) this.#failures = 0;
    this.#retry(code, reason);
  }

  /** @param {number} code @param {string} reason */
  #retry(code, reason) {
    this.#turn++;
    this.#state = 'connecting';
    this.#waiting = true;
    const delay = code === Code.MOVING ? Math.random() * this.#options.moveWindow : this.#backoff(this.#failures++);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#attempt(), delay);
    for (const subscription of this.#subscriptions.values()) subscription._suspend(code, reason);
    if (this.#waiting) this._emit('connecting', { code, reason, delay }); // unless a listener closed the client
  }

  /** Full jitter: anything from nothing to a doubling, capped bound, so that clients cut off together do not return together. @param {number} failures */
  #backoff(failures) {
    return Math.random() * Math.min(this.#options.maxDelay, this.#options.minDelay * 2 ** failures);
  }

  /** @param {number} code @param {string} reason */
  #finish(code, reason) {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#turn++;
    this.#waiting = false;
    this.#token = '';
    clearTimeout(this.#timer);
    clearTimeout(this.#refresh);
    this.#listeners.abort();
    this.#link?.end(code, reason, true);
    this.#link = null;
    for (const waiter of [...this.#waiters]) waiter.done(new RealtimeError(code, reason));
    for (const subscription of [...this.#subscriptions.values()]) subscription._finish(code, reason);
    this.#subscriptions.clear();
    this._emit('closed', { code, reason });
  }

  /** Arms the refresh with a margin of a fifth of the token's time to live, at most half a minute. @param {number} ttl seconds */
  #refreshBefore(ttl) {
    this.#tokenEnds = Date.now() + ttl * 1000;
    this.#refreshIn(1000 * (ttl - Math.min(30, ttl / 5)), 0);
  }

  /** @param {number} delay @param {number} failures */
  #refreshIn(delay, failures) {
    clearTimeout(this.#refresh);
    if (this.#options.getToken) this.#refresh = setTimeout(() => this.#renew(failures), Math.min(delay, MAX_TIMER));
  }

  /** @param {number} failures */
  async #renew(failures) {
    const link = this.#link;
    let token;
    try {
      token = await this.#options.getToken?.();
    } catch (error) {
      if (link !== this.#link) return;
      this._emit('error', { error });
      return this.#refreshIn(this.#backoff(failures), failures + 1);
    }
    if (!link || link !== this.#link) return;
    if (!token) return link.end(Code.UNAUTHORIZED, 'no token: signed out', true);
    link.call('refresh', { token }, (error, reply) => {
      if (link.ended) return;
      if (error && (error.temporary || error.code === TOKEN_EXPIRED)) {
        this._emit('error', { error });
        return this.#refreshIn(this.#backoff(failures), failures + 1);
      }
      if (error) return link.end(error.code, error.message, true);
      this.#token = /** @type {string} */ (token);
      if (reply.expires) this.#refreshBefore(reply.ttl);
    });
  }

  /** Comes back at once when the network or the person does, instead of waiting out a backoff. */
  #watchBrowser() {
    const { signal } = this.#listeners;
    const wake = () => {
      this.#link?.check();
      if (!this.#waiting) return;
      this.#failures = 0;
      this.#attempt();
    };
    const { document } = globalThis;
    globalThis.addEventListener?.('online', wake, { signal });
    globalThis.addEventListener?.('offline', () => this.#link?.end(Code.OFFLINE, 'the browser is offline'), { signal });
    globalThis.addEventListener?.('pageshow', wake, { signal });
    document?.addEventListener('resume', wake, { signal });
    document?.addEventListener('visibilitychange', () => { if (document.visibilityState === 'visible') wake(); }, { signal });
  }
}

/** One channel. Made by {@link Client.subscribe}. */
export class Subscription extends Emitter {
  /** @type {'subscribing' | 'subscribed' | 'unsubscribed'} */
  #state = 'subscribing';
  #client;
  #options;
  #backoff;
  #leave;
  /** @type {Position | null} the last publication seen, where the channel recovers */
  #position;
  #failures = 0;
  /** @type {any} */
  #timer;

  /**
   * @internal
   * @param {Client} client @param {string} channel @param {any} options
   * @param {(failures: number) => number} backoff @param {() => Link | null} leave takes it off the client's list
   */
  constructor(client, channel, options, backoff, leave) {
    super();
    this.channel = channel;
    this.#client = client;
    this.#options = options;
    this.#backoff = backoff;
    this.#leave = leave;
    this.#position = options.since ?? null;
  }

  get state() { return this.#state; }

  unsubscribe() {
    if (this.#state === 'unsubscribed') return;
    this.#leave()?.call('unsubscribe', { channel: this.channel }, () => {});
    this._finish(Code.CLOSED, 'unsubscribed');
  }

  /** @param {unknown} data */
  publish(data) { return this.#client.publish(this.channel, data); }
  presence() { return this.#client.presence(this.channel); }
  presenceStats() { return this.#client.presenceStats(this.channel); }
  /** @param {{limit?: number, since?: Position, reverse?: boolean}} [options] */
  history(options) { return this.#client.history(this.channel, options); }

  /** @internal @param {Link} link */
  _begin(link) {
    clearTimeout(this.#timer);
    if (this.#state === 'unsubscribed') return;
    const { data, recover = true, joinLeave } = this.#options;
    const position = recover ? this.#position : null;
    const request = {
      channel: this.channel, data,
      recoverable: recover || undefined, join_leave: joinLeave || undefined,
      ...(position && { recover: true, ...position }),
    };
    link.call('subscribe', request, (error, reply) => {
      if (link.ended || this.#state === 'unsubscribed') return;
      if (error?.code === Code.TIMEOUT) return link.end(error.code, error.message); // half of the state is unknown
      if (error && !error.temporary) {
        this.#leave();
        return this._finish(error.code, error.message);
      }
      if (error) {
        this.#client._emit('error', { error });
        return this.#beginLater(link);
      }
      this.#failures = 0;
      this.#state = 'subscribed';
      const { publications = [], recovered = false, was_recovering = false, recoverable = false } = reply;
      this.#position = recoverable ? { offset: reply.offset ?? 0, epoch: reply.epoch ?? '' } : null;
      this._emit('subscribed', { recovered, wasRecovering: was_recovering || !!position, data: reply.data });
      for (const pub of publications) {
        if (this.state === 'subscribed') this._emit('publication', pub); // a listener may have unsubscribed
      }
    });
  }

  /** @internal The connection is gone; the client begins again when it has another. @param {number} code @param {string} reason */
  _suspend(code, reason) {
    clearTimeout(this.#timer);
    if (this.#state !== 'subscribed') return;
    this.#state = 'subscribing';
    this._emit('subscribing', { code, reason });
  }

  /** @internal @param {number} code @param {string} reason */
  _finish(code, reason) {
    if (this.#state === 'unsubscribed') return;
    clearTimeout(this.#timer);
    this.#state = 'unsubscribed';
    this._emit('unsubscribed', { code, reason });
  }

  /** @internal @param {any} push @param {Link} link */
  _take(push, link) {
    if (this.#state !== 'subscribed') return; // left over from an earlier subscription to the channel
    const { pub, join, leave, unsubscribe } = push;
    if (pub) {
      if (this.#position && pub.offset) this.#position.offset = pub.offset;
      this._emit('publication', pub);
    }
    else if (join) this._emit('join', { info: join.info });
    else if (leave) this._emit('leave', { info: leave.info });
    else if (unsubscribe && unsubscribe.code >= RESUBSCRIBE) {
      this._suspend(unsubscribe.code, unsubscribe.reason);
      this.#beginLater(link);
    } else if (unsubscribe) {
      this.#leave();
      this._finish(unsubscribe.code, unsubscribe.reason);
    }
  }

  /** @param {Link} link */
  #beginLater(link) {
    this.#timer = setTimeout(() => { if (!link.ended) this._begin(link); }, this.#backoff(this.#failures++));
  }
}
