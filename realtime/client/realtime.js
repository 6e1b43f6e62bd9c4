// @ts-check
/**
 * The browser's side of gatewire's realtime hub: authenticated channels over one WebSocket.
 *
 *     import { Client } from '/client/realtime.js';
 *     const client = new Client('/realtime');
 *     client.on('closed', ({ code, reason }) => showSignIn(reason));
 *     const room = client.subscribe('room:lobby');
 *     room.on('publication', ({ data, info }) => show(info, data));
 *     client.connect();
 *     await room.publish({ text: 'hello' });
 *
 * A client is used once: new → connecting ⇄ connected → closed. While it is connecting or connected it reconnects by
 * itself, with exponential backoff and full jitter, and subscribes again from where each channel stopped. It ends
 * ('closed', with the code and the reason) when close() is called or when the server says that coming back is no use:
 * session ended, credential refused. Then sign in again and make a new Client.
 *
 * With a session cookie nothing else is needed. With access tokens pass getToken.
 *
 * Options, events and all other types: realtime.d.ts, beside this file. How to use them: README.md.
 *
 * The protocol is the JSON client protocol of Centrifuge: one JSON object a line, several lines a frame.
 *
 * @import { HistoryOptions, History, Info, Options, Position, Publication, State, SubscribeOptions } from './realtime.d.ts'
 */

/** Codes of events and errors that begin here. Others are the server's close codes (1000 and up) and error codes (100 to 999). */
export const Code = Object.freeze(/** @type {const} */ ({
  CLOSED: 0,        // close() or unsubscribe() was called
  UNAUTHORIZED: 1,  // getToken had none to give
  NO_TOKEN: 2,      // getToken failed or took too long
  TIMEOUT: 3,       // no answer in time
  NO_PING: 4,       // the server fell silent
  PROTOCOL: 5,      // the server sent something that isn't the protocol
  OFFLINE: 6,       // the browser went offline
  HIDDEN: 7,        // the page went into the back/forward cache
  MOVING: 3001,
  EXPIRED: 3005,
  INVALID_CREDENTIAL: 3500,
  SESSION_ENDED: 4501,
}));

const TOKEN_EXPIRED = 109;
const TEMPORARY = 100;
const ABNORMAL = 1006; // what browsers call a socket that broke, or never opened
const RESUBSCRIBE = 2500; // unsubscribe codes from here on mean "come back"
const FRAME = 16 * 1024; // characters of commands joined into one frame
const UNUSED_TOKEN = 60 * 1000; // ms a token may wait for the connection that tells how long it lives
const MIN_REFRESH = 500; // ms between two refreshes, whatever the server says
const HURRY = 500; // ms between two attempts that were brought forward
const FRESH = 1000; // ms since the server was heard in which nobody doubts it
const MAX_TIMER = 2 ** 31 - 1; // setTimeout fires at once beyond it

const DEFAULTS = { timeout: 10000, minDelay: 500, maxDelay: 20000, moveWindow: 2000, maxPingDelay: 10000 };

/** A failure of a command: the server's error, or a code of {@link Code}. */
export class RealtimeError extends Error {
  /** @param {number} code @param {string} message @param {boolean} [temporary] */
  constructor(code, message, temporary = false) {
    super(message || `error ${code}`);
    this.name = 'RealtimeError';
    this.code = code;
    this.temporary = temporary || (code > Code.UNAUTHORIZED && code <= TEMPORARY) || (code >= 1000 && !isTerminal(code));
  }
}

/** Whether a close code ends the client: 1009 (what was sent is too big), 3500–3999 and 4500–4999. @param {number} code */
export function isTerminal(code) {
  return code === 1009 || (code >= 3500 && code < 4000) || (code >= 4500 && code < 5000);
}

// What the server says is checked where it comes in: whatever is not of its type ends the connection (PROTOCOL), and no listener of the page sees it.

/** @returns {never} */
function foreign() {
  throw new RealtimeError(Code.PROTOCOL, 'not the protocol');
}

/** @param {any} value @returns {any} */
function object(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : foreign();
}

/** @param {any} value @returns {any[]} */
function list(value = []) {
  return Array.isArray(value) ? value : foreign();
}

/** @param {any} value @returns {number} */
function whole(value = 0) {
  return Number.isSafeInteger(value) && value >= 0 ? value : foreign();
}

/** @param {any} value @returns {string} */
function text(value = '') {
  return typeof value === 'string' ? value : foreign();
}

/** @param {any} value @returns {Info} */
function person(value) {
  return { ...object(value), user: text(value.user), client: text(value.client) };
}

/** @param {any} value @returns {Publication} */
function publication(value) {
  const { data, info, offset } = object(value);
  return { data, ...(info !== undefined && { info: person(info) }), ...(offset !== undefined && { offset: whole(offset) }) };
}

/** @param {any} value @returns {{code: number, reason: string}} */
function why(value) {
  return { code: whole(object(value).code), reason: text(value.reason) };
}

/** What a server says of a subscription that has begun. @param {any} value @param {boolean} asked whether for what was missed */
function entered(value, asked) {
  const { recoverable, recovered, was_recovering, offset, epoch, publications } = object(value);
  return {
    position: recoverable ? { offset: whole(offset), epoch: text(epoch) } : null,
    event: { recovered: recovered === true, wasRecovering: asked || was_recovering === true },
    missed: list(publications).map(publication),
  };
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
  #maxSilence;
  #heard = Date.now();
  #up = false;
  #asking = false;
  #pong = false;

  /**
   * @param {WebSocket} socket @param {number} timeout
   * @param {{open: () => void, push: (push: any) => void, end: (code: number, reason: string, final: boolean) => void}} hooks
   */
  constructor(socket, timeout, hooks) {
    this.#socket = socket;
    this.#timeout = this.#maxSilence = timeout;
    this.#hooks = hooks;
    socket.onopen = () => hooks.open();
    socket.onmessage = ({ data }) => this.#receive(data);
    socket.onclose = ({ code, reason }) => this.end(code, reason);
    socket.onerror = () => {}; // says nothing, and a close always follows
  }

  /** Sends a command; done is called with its reply, a time-out or the end of the link. @param {string} method @param {object} params @param {Done} done @param {number} [timeout] */
  call(method, params, done, timeout = this.#timeout) {
    const id = this.#lastID + 1;
    this.write({ id, [method]: params }); // throws for what isn't JSON
    this.#lastID = id;
    const timer = setTimeout(() => {
      this.#pending.delete(id);
      done(new RealtimeError(Code.TIMEOUT, `no answer to ${method}`), null);
    }, timeout);
    this.#pending.set(id, { method, done, timer });
  }

  /** Queues one line; the lines of one turn of the event loop share a frame. @param {object} command */
  write(command) {
    if (this.#queue.push(JSON.stringify(command)) === 1) queueMicrotask(() => this.#flush());
  }

  /** The connection stands; expects a ping at least every so many seconds (0: none come). @param {number} seconds @param {boolean} pong @param {number} grace ms */
  stands(seconds, pong, grace) {
    this.#up = true;
    this.#pong = pong;
    this.#maxSilence = seconds ? Math.min(seconds * 1000 + grace, MAX_TIMER) : 0;
    this.#watch(this.#maxSilence);
  }

  /**
   * Whether the server is still there. Timers stand still while a machine sleeps, and a network that has changed says nothing:
   * silence that was too long ends the link, and after any other the server is asked.
   */
  check() {
    const silence = Math.abs(Date.now() - this.#heard); // a clock that was set back tells nothing either
    if (this.#maxSilence && silence > this.#maxSilence) return this.end(this.#up ? Code.NO_PING : Code.TIMEOUT, 'the server is silent');
    if (!this.#up || this.#asking || silence < FRESH) return;
    this.#asking = true;
    const heard = this.#heard;
    // A method that nobody has: the error is an answer, too.
    this.call('rpc', { method: '' }, (error) => {
      this.#asking = false;
      if (error?.code === Code.TIMEOUT && this.#heard === heard) this.end(Code.NO_PING, 'the server is silent');
    }, this.#timeout / 2);
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

  /** One timer, set again when it fires and not with every message. @param {number} wait */
  #watch(wait) {
    clearTimeout(this.#silence);
    if (!this.#maxSilence) return;
    this.#silence = setTimeout(() => {
      const left = this.#maxSilence - (Date.now() - this.#heard);
      if (left <= 0) this.end(Code.NO_PING, 'no ping from the server');
      else this.#watch(Math.min(left, this.#maxSilence));
    }, wait);
  }

  /** @param {unknown} data */
  #receive(data) {
    this.#heard = Date.now();
    try {
      for (const line of text(data).split('\n')) {
        if (line) this.#take(object(JSON.parse(line)));
        if (this.ended) return;
      }
    } catch { // listeners don't throw to here: it is what the server sent
      this.end(Code.PROTOCOL, 'not the protocol');
    }
  }

  /** @param {any} reply */
  #take(reply) {
    const command = this.#pending.get(reply.id);
    if (command) {
      const { error } = reply;
      const failure = error === undefined ? null : new RealtimeError(whole(object(error).code) || foreign(), text(error.message), error.temporary === true);
      const result = failure ? null : object(reply[command.method] ?? {});
      this.#pending.delete(reply.id);
      clearTimeout(command.timer);
      command.done(failure, result);
    } else if (reply.push) {
      this.#hooks.push(object(reply.push));
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
  /** Why it is closed. */
  #end = { code: 0, reason: '' };
  /** @type {Link | null} */
  #link = null;
  /** Attempts to connect, counted: whatever an older one still does is ignored. */
  #turn = 0;
  #failures = 0;
  #attemptedAt = 0;
  #connectedAt = 0;
  /** @type {any} the delay before an attempt, or an attempt's time-out */
  #timer;
  /** Whether the next attempt is still to begin, and whether it was brought forward. */
  #waiting = false;
  #hurried = false;
  /** @type {any} */
  #refresh;
  #token = '';
  #tokenEnds = Infinity;
  /** @type {{token: Promise<string>, abort: AbortController} | null} the question for a token that is under way */
  #asking = null;
  /** @type {Map<string, Subscription>} */
  #subscriptions = new Map();
  /** @type {Map<string, Position | null>} the channels of the server's choice */
  #served = new Map();
  /** @type {Set<{done: (error: RealtimeError | null) => void, timer: any}>} */
  #waiters = new Set();
  #listeners = new AbortController();

  /** @param {string | URL} url of the hub, may be relative to the page @param {Options} [options] */
  constructor(url, options = {}) {
    super();
    this.#url = new URL(url, globalThis.location?.href);
    this.#url.protocol = this.#url.protocol.replace(/^http/, 'ws');
    this.#url.hash = '';
    if (!/^wss?:$/.test(this.#url.protocol)) throw new TypeError(`not a WebSocket address: ${this.#url}`);
    const { getToken, WebSocket = globalThis.WebSocket } = options;
    if (getToken !== undefined && typeof getToken !== 'function') throw new TypeError('getToken is not a function');
    const times = { ...DEFAULTS };
    for (const name of /** @type {(keyof DEFAULTS)[]} */ (Object.keys(DEFAULTS))) {
      const { [name]: given = times[name] } = options;
      const least = name === 'moveWindow' || name === 'maxPingDelay' ? 0 : 1;
      if (typeof given !== 'number' || !(given >= least && given <= MAX_TIMER)) throw new TypeError(`${name} is not a time in milliseconds: ${given}`);
      times[name] = given;
    }
    this.#options = { getToken, WebSocket, ...times };
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
    if (this.#state === 'closed') return Promise.reject(new RealtimeError(this.#end.code, this.#end.reason));
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
   * @param {string} channel @param {SubscribeOptions} [options]
   * @returns {Subscription}
   */
  subscribe(channel, options = {}) {
    if (this.#state === 'closed') throw new RealtimeError(Code.CLOSED, 'this client has ended: make a new one');
    let subscription = this.#subscriptions.get(channel);
    if (!subscription) {
      subscription = new Subscription(this, channel, options, this.#options.maxDelay, (/** @type {number} */ n) => this.#backoff(n), () => {
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
  async presence(channel) {
    const { presence = {} } = await this.#request('presence', { channel });
    return Object.fromEntries(Object.entries(object(presence)).map(([client, info]) => [client, person(info)]));
  }

  /** @param {string} channel @returns {Promise<{clients: number, users: number}>} */
  async presenceStats(channel) {
    const { num_clients, num_users } = await this.#request('presence_stats', { channel });
    return { clients: whole(num_clients), users: whole(num_users) };
  }

  /**
   * Past publications, oldest first unless reverse. Without a limit only the channel's position.
   * @param {string} channel @param {HistoryOptions} [options]
   * @returns {Promise<History>}
   */
  async history(channel, { limit, since, reverse } = {}) {
    const { publications, offset, epoch } = await this.#request('history', { channel, limit, reverse, since: since && positionOf(since) });
    return { publications: list(publications).map(publication), offset: whole(offset), epoch: text(epoch) };
  }

  /** @param {string} method @param {unknown} [data] @returns {Promise<any>} the method's answer */
  async rpc(method, data) { return (await this.#request('rpc', { method, data })).data; }

  /** A message without an answer. @param {unknown} data @returns {Promise<void>} resolves when handed to the socket */
  async send(data) { (await this.#ready()).write({ send: { data } }); }

  /** @returns {Promise<Link>} */
  async #ready() {
    await this.ready();
    if (this.#state !== 'connected' || !this.#link) throw new RealtimeError(ABNORMAL, 'connection lost');
    return this.#link;
  }

  /** @param {string} method @param {object} params @returns {Promise<any>} */
  async #request(method, params) {
    const link = await this.#ready();
    return new Promise((resolve, reject) => {
      link.call(method, params, (error, result) => (error ? reject(error) : resolve(result)));
    });
  }

  /** One attempt: a token where tokens are used and none is at hand, the socket, the connect command. */
  async #attempt() {
    const { timeout, getToken, WebSocket } = this.#options;
    const turn = ++this.#turn;
    this.#waiting = false;
    this.#attemptedAt = Date.now();
    clearTimeout(this.#timer);
    if (getToken && (!this.#token || Date.now() >= this.#tokenEnds)) {
      this.#token = '';
      try {
        const token = await this.#askToken();
        if (turn !== this.#turn) return;
        if (!token) return this.#finish(Code.UNAUTHORIZED, 'no token: signed out');
        this.#token = token;
        this.#tokenEnds = Date.now() + UNUSED_TOKEN; // the connect reply tells better
      } catch (error) {
        if (turn !== this.#turn) return;
        this._emit('error', { error });
        if (turn === this.#turn) this.#retry(Code.NO_TOKEN, 'no token'); // unless a listener closed the client
        return;
      }
    }
    let socket;
    try {
      socket = new WebSocket(this.#url);
    } catch (error) { // such as ws: from an https: page
      this._emit('error', { error });
      if (turn === this.#turn) this.#retry(ABNORMAL, 'no socket');
      return;
    }
    const link = new Link(socket, timeout, {
      open: () => this.#greet(link),
      push: (push) => this.#push(link, push),
      end: (code, reason, final) => this.#lost(code, reason, final),
    });
    this.#link = link;
    this.#timer = setTimeout(() => link.end(Code.TIMEOUT, 'the server did not answer'), timeout);
  }

  /**
   * Asks for a token, one question at a time: where a refresh token stands behind it, that one may be used once.
   * @returns {Promise<string>} '' where there is none to have
   */
  #askToken() {
    if (this.#asking) return this.#asking.token;
    const abort = new AbortController();
    const { getToken, timeout } = this.#options;
    const ask = async () => {
      /** @type {any} */
      let timer;
      const late = new Promise((_, reject) => {
        const give = (/** @type {string} */ reason) => reject(new RealtimeError(Code.NO_TOKEN, reason));
        timer = setTimeout(() => give('no token in time'), timeout);
        abort.signal.addEventListener('abort', () => give('no longer wanted'));
      });
      late.catch(() => {}); // a getToken that throws is not raced with
      try {
        const token = await Promise.race([getToken?.({ signal: abort.signal }), late]) ?? '';
        if (typeof token !== 'string') throw new TypeError('getToken gave something that is no string');
        return token;
      } finally {
        clearTimeout(timer);
      }
    };
    const asking = { abort, token: ask().finally(() => {
      if (this.#asking === asking) this.#asking = null;
      abort.abort(); // one that was too late need not go on
    }) };
    this.#asking = asking;
    return asking.token;
  }

  /** @param {Link} link */
  #greet(link) {
    /** @type {any} */
    const params = { token: this.#token || undefined };
    const subs = [...this.#served].flatMap(([channel, position]) => (position ? [[channel, { recover: true, ...position }]] : []));
    if (subs.length) params.subs = Object.fromEntries(subs);
    link.call('connect', params, (error, reply) => {
      if (link.ended) return;
      if (error) {
        if (!error.temporary) this.#token = '';
        const again = error.temporary || (error.code === TOKEN_EXPIRED && this.#options.getToken);
        return link.end(error.code, error.message, !again);
      }
      const served = Object.entries(object(reply.subs ?? {})).map(([channel, sub]) => ({ channel, ...entered(sub, !!this.#served.get(channel)) }));
      const client = text(reply.client);
      link.stands(whole(reply.ping), reply.pong === true, this.#options.maxPingDelay);
      clearTimeout(this.#timer);
      this.#connectedAt = Date.now();
      this.#state = 'connected';
      this.#tokenEnds = Infinity;
      if (reply.expires) this.#refreshBefore(reply.ttl);
      const subscriptions = [...this.#subscriptions.values()]; // those a listener adds begin by themselves
      this._emit('connected', { client, data: reply.data });
      this.#serve(link, served);
      for (const subscription of subscriptions) {
        if (!link.ended) subscription._begin(link); // a listener may have closed the client
      }
      if (!link.ended) for (const waiter of [...this.#waiters]) waiter.done(null);
    });
  }

  /** The channels the server put this connection into. @param {Link} link @param {({channel: string} & ReturnType<typeof entered>)[]} served */
  #serve(link, served) {
    const gone = new Set(this.#served.keys());
    for (const { channel } of served) gone.delete(channel);
    for (const channel of gone) this.#served.delete(channel);
    for (const { channel, position } of served) this.#served.set(channel, position);
    for (const channel of gone) this._emit('unsubscribed', { channel, code: Code.CLOSED, reason: 'no longer subscribed by the server' });
    for (const { channel, event, missed } of served) {
      if (!link.ended) this._emit('subscribed', { channel, ...event });
      for (const pub of missed) if (!link.ended) this.#published(channel, pub);
    }
  }

  /** @param {string} channel @param {Publication} pub */
  #published(channel, pub) {
    const position = this.#served.get(channel);
    if (position && pub.offset) position.offset = pub.offset;
    this._emit('publication', { ...pub, channel });
  }

  /** @param {Link} link @param {any} push */
  #push(link, push) {
    const { pub, join, leave, message, subscribe, unsubscribe, disconnect, refresh } = push;
    const channel = text(push.channel);
    const subscription = this.#subscriptions.get(channel);
    if (message) this._emit('message', { data: object(message).data });
    else if (disconnect) {
      const { code, reason } = why(disconnect);
      link.end(code, reason);
    } else if (refresh) { if (object(refresh).expires) this.#refreshBefore(refresh.ttl); }
    else if (subscription && !this.#served.has(channel)) subscription._take(push, link);
    else if (subscribe) this.#enlist(link, channel, subscribe);
    else if (!this.#served.has(channel)) return; // left over from a subscription that was given up
    else if (pub) this.#published(channel, publication(pub));
    else if (join) this._emit('join', { channel, info: person(object(join).info) });
    else if (leave) this._emit('leave', { channel, info: person(object(leave).info) });
    else if (unsubscribe) {
      const { code, reason } = why(unsubscribe);
      this.#served.delete(channel);
      this._emit('unsubscribed', { channel, code, reason });
    }
  }

  /** @param {Link} link @param {string} channel @param {any} subscribe */
  #enlist(link, channel, subscribe) {
    const { position, event, missed } = entered(subscribe, false);
    this.#served.set(channel, position);
    this._emit('subscribed', { channel, ...event });
    for (const pub of missed) if (!link.ended) this.#published(channel, pub);
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
    this.#state = 'connecting';
    const { moveWindow } = this.#options;
    const failures = this.#failures++;
    const bound = code !== Code.MOVING ? this.#bound(failures) : failures ? Math.max(moveWindow, this.#bound(failures)) : moveWindow;
    const delay = Math.random() * bound;
    this.#plan(delay);
    this.#hurried = false;
    for (const subscription of [...this.#subscriptions.values()]) subscription._suspend(code, reason);
    if (this.#waiting) this._emit('connecting', { code, reason, delay }); // unless a listener closed the client
  }

  /** @param {number} delay until the next attempt */
  #plan(delay) {
    this.#turn++;
    this.#waiting = true;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#attempt(), delay);
  }

  /** @param {number} failures */
  #bound(failures) {
    return Math.min(this.#options.maxDelay, this.#options.minDelay * 2 ** failures);
  }

  /** Full jitter: anything from nothing to a doubling, capped bound, so that clients cut off together do not return together. @param {number} failures */
  #backoff(failures) {
    return Math.random() * this.#bound(failures);
  }

  /** @param {number} code @param {string} reason */
  #finish(code, reason) {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#end = { code, reason };
    this.#turn++;
    this.#waiting = false;
    this.#token = '';
    clearTimeout(this.#timer);
    clearTimeout(this.#refresh);
    this.#listeners.abort();
    this.#asking?.abort.abort();
    this.#link?.end(code, reason, true);
    this.#link = null;
    for (const waiter of [...this.#waiters]) waiter.done(new RealtimeError(code, reason));
    for (const subscription of [...this.#subscriptions.values()]) subscription._finish(code, reason);
    this.#subscriptions.clear();
    this.#served.clear();
    this._emit('closed', { code, reason });
  }

  /** Arms the refresh with a margin of a fifth of the token's time to live, at most half a minute. @param {unknown} seconds */
  #refreshBefore(seconds) {
    const ttl = whole(seconds) * 1000;
    this.#tokenEnds = Date.now() + ttl;
    this.#refreshIn(Math.max(MIN_REFRESH, ttl - Math.min(30000, ttl / 5)), 0);
  }

  /** @param {number} delay @param {number} failures */
  #refreshIn(delay, failures) {
    clearTimeout(this.#refresh);
    if (this.#options.getToken) this.#refresh = setTimeout(() => this.#renew(failures), Math.min(delay, MAX_TIMER));
  }

  /** @param {number} failures */
  async #renew(failures) {
    const link = this.#link;
    if (!link) return;
    const later = (/** @type {unknown} */ error) => {
      if (link.ended) return;
      this._emit('error', { error });
      if (!link.ended) this.#refreshIn(this.#backoff(failures), failures + 1);
    };
    let token = '';
    try {
      token = await this.#askToken();
    } catch (error) {
      return later(error);
    }
    if (link.ended) return;
    if (!token) return link.end(Code.UNAUTHORIZED, 'no token: signed out', true);
    link.call('refresh', { token }, (error, reply) => {
      if (link.ended) return;
      if (error && (error.temporary || error.code === TOKEN_EXPIRED)) return later(error);
      if (error) return link.end(error.code, error.message, true);
      this.#token = token;
      this.#tokenEnds = Infinity;
      if (reply.expires) this.#refreshBefore(reply.ttl);
    });
  }

  /** Looks after the connection when the network or the person comes back, instead of waiting for a ping or out a backoff. */
  #watchBrowser() {
    const { signal } = this.#listeners;
    const { document } = globalThis;
    /** @type {(target: EventTarget | undefined, type: string, listener: (event: any) => void) => void} */
    const on = (target, type, listener) => target?.addEventListener?.(type, listener, { signal });
    on(globalThis, 'online', () => this.#wake(Math.random() * HURRY)); // the whole office is, at this moment
    on(globalThis, 'offline', () => this.#link?.end(Code.OFFLINE, 'the browser is offline'));
    on(globalThis, 'pagehide', ({ persisted }) => { if (persisted) this.#putAway(); });
    on(globalThis, 'pageshow', ({ persisted }) => { if (persisted) this.#wake(0); });
    on(document, 'resume', () => this.#wake(0));
    on(document, 'visibilitychange', () => { if (document.visibilityState === 'visible') this.#wake(0); });
  }

  /** Checks the connection at once; where there is none, an attempt follows soon, though never two within HURRY. @param {number} delay */
  #wake(delay) {
    this.#link?.check();
    if (!this.#waiting || this.#hurried) return;
    this.#failures = 0;
    this.#plan(Math.max(delay, Math.min(HURRY, this.#attemptedAt + HURRY - Date.now())));
    this.#hurried = true;
  }

  /** Gives up the socket until pageshow: browsers cut those of pages in the back/forward cache, or don't keep the page. */
  #putAway() {
    this.#link?.end(Code.HIDDEN, 'the page was put away');
    if (this.#state !== 'connecting') return;
    this.#plan(this.#options.maxDelay); // a page that was not put away after all
    this.#hurried = false;
  }
}

/** @param {Position} position that may be part of something larger @returns {Position} */
function positionOf({ offset, epoch }) {
  return { offset, epoch };
}

/** One channel. Made by {@link Client.subscribe}. */
export class Subscription extends Emitter {
  /** @type {'subscribing' | 'subscribed' | 'unsubscribed'} */
  #state = 'subscribing';
  #client;
  #recover;
  #steady;
  #backoff;
  #leave;
  /** @type {Position | null} the last publication seen, where the channel recovers */
  #position;
  #failures = 0;
  #since = 0;
  /** @type {any} */
  #timer;

  /**
   * @internal
   * @param {Client} client @param {string} channel @param {SubscribeOptions} options @param {number} steady ms after which a subscription has not failed
   * @param {(failures: number) => number} backoff @param {() => Link | null} leave takes it off the client's list
   */
  constructor(client, channel, { recover = true, since }, steady, backoff, leave) {
    super();
    this.channel = channel;
    this.#client = client;
    this.#recover = recover;
    this.#steady = steady;
    this.#backoff = backoff;
    this.#leave = leave;
    this.#position = since ? positionOf(since) : null;
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
  /** @param {HistoryOptions} [options] */
  history(options) { return this.#client.history(this.channel, options); }

  /** @internal @param {Link} link */
  _begin(link) {
    clearTimeout(this.#timer);
    if (this.#state === 'unsubscribed') return;
    const position = this.#recover ? this.#position : null;
    link.call('subscribe', { channel: this.channel, ...(position && { recover: true, ...position }) }, (error, reply) => {
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
      const { position: from, event, missed } = entered(reply, !!position);
      this.#position = from;
      this.#state = 'subscribed';
      this.#since = Date.now();
      this._emit('subscribed', event);
      for (const pub of missed) {
        if (link.ended || this.state !== 'subscribed') return; // a listener has seen to that
        this.#published(pub);
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
    if (pub) this.#published(publication(pub));
    else if (join) this._emit('join', { info: person(object(join).info) });
    else if (leave) this._emit('leave', { info: person(object(leave).info) });
    else if (unsubscribe) {
      const { code, reason } = why(unsubscribe);
      if (code >= RESUBSCRIBE) {
        if (Date.now() - this.#since > this.#steady) this.#failures = 0;
        this._suspend(code, reason);
        return this.#beginLater(link);
      }
      this.#leave();
      this._finish(code, reason);
    }
  }

  /** @param {Publication} pub */
  #published(pub) {
    if (this.#position && pub.offset) this.#position.offset = pub.offset;
    this._emit('publication', pub);
  }

  /** @param {Link} link */
  #beginLater(link) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => { if (!link.ended) this._begin(link); }, this.#backoff(this.#failures++));
  }
}
