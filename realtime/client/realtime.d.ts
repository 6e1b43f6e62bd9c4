/**
 * The types of realtime.js, the browser's side of gatewire's realtime hub. Times are in milliseconds where nothing else is said.
 */

/** Values of {@link RealtimeError.code} and of events that begin here; all others are the server's. */
export declare const Code: Readonly<{
  /** close() or unsubscribe() was called. */
  CLOSED: 0;
  /** getToken had none to give: signed out. */
  UNAUTHORIZED: 1;
  /** getToken failed or took too long. */
  NO_TOKEN: 2;
  /** No answer in time. */
  TIMEOUT: 3;
  /** The server fell silent. */
  NO_PING: 4;
  /** The server sent something that isn't the protocol. */
  PROTOCOL: 5;
  /** The browser went offline. */
  OFFLINE: 6;
  /** The page went into the back/forward cache. */
  HIDDEN: 7;
  /** The server is shutting down. */
  MOVING: 3001;
  /** The access token ended before another one came. */
  EXPIRED: 3005;
  /** Not signed in, or no longer. Final. */
  INVALID_CREDENTIAL: 3500;
  /** The session has ended; the reason says why. Final. */
  SESSION_ENDED: 4501;
}>;

/** Whether a close code ends a client: 1009 (what was sent is too big), 3500–3999 and 4500–4999. */
export declare function isTerminal(code: number): boolean;

/** A failure of a command: the server's error (100 and up), a close code (1000 and up), or one of {@link Code}. */
export declare class RealtimeError extends Error {
  constructor(code: number, message: string, temporary?: boolean);
  readonly code: number;
  /** Whether the same may work later. */
  readonly temporary: boolean;
}

export interface Options {
  /**
   * An access token; null or '' when there is none to have (signed out), which ends the client. Without this option the
   * page's cookies say who connects. It is asked before the first connection, before the token expires, whenever it may be stale, and
   * after the server called one expired (error 109); never twice at a time. One that throws or takes longer than `timeout`, when `signal` aborts, is asked again.
   */
  getToken?: (how: { signal: AbortSignal }) => Promise<string | null | undefined> | string | null | undefined;
  /** For an answer, for a token, and for an attempt to connect. Defaults to 10000. */
  timeout?: number;
  /** Upper end of the first reconnection delay; doubles with each failure. Defaults to 500. */
  minDelay?: number;
  /** Upper end of every reconnection delay. Defaults to 20000. */
  maxDelay?: number;
  /** Reconnections after 3001 spread over this much. Defaults to 2000. */
  moveWindow?: number;
  /** How late a ping may be before the connection counts as dead. Defaults to 10000. */
  maxPingDelay?: number;
  /** For environments without a global one. */
  WebSocket?: typeof WebSocket;
}

/** Who published, joined or is present. */
export interface Info {
  user: string;
  /** The connection's id. */
  client: string;
  /** What the host shows of this user to others. Data from the server, to be shown as text. */
  conn_info?: any;
}

export interface Publication {
  /** What was published: another user's data. */
  data: any;
  /** Who published; absent for the server. */
  info?: Info;
  /** Its number, where the channel keeps a history. */
  offset?: number;
}

/** A place in a channel's history. */
export interface Position { offset: number; epoch: string }

export interface History extends Position { publications: Publication[] }

export interface HistoryOptions {
  /** How many at most; -1: as many as the server allows. Defaults to 0, which asks for the position alone. */
  limit?: number;
  /** Only what came after, or with `reverse` before, this position. */
  since?: Position;
  /** Newest first. */
  reverse?: boolean;
}

export interface SubscribeOptions {
  /** Ask for what was missed while disconnected. Defaults to true. */
  recover?: boolean;
  /** Begin after this position, as history() told it. */
  since?: Position;
}

/** Why something ended or paused. */
export interface Why { code: number; reason: string }

export interface Subscribed {
  /** Whether something was to be made up for. When it was and `recovered` is false, messages are missing: read history(). */
  wasRecovering: boolean;
  /** Whether all of it was. */
  recovered: boolean;
}

export interface ClientEvents {
  /** Not connected; the next attempt is in `delay`. */
  connecting: Why & { delay: number };
  /** Connected; `client` is the connection's id, `data` what the host says to it, if anything. */
  connected: { client: string; data?: any };
  /** Over, once. */
  closed: Why;
  /** Sent by the server to this user or connection. */
  message: { data: any };
  /** Something failed and will be tried again. */
  error: { error: unknown };
  /** The server put this connection into a channel, or it is in there again. */
  subscribed: Subscribed & { channel: string };
  /** The server took it out of one. */
  unsubscribed: Why & { channel: string };
  /** Of such a channel. */
  publication: Publication & { channel: string };
  /** Of such a channel. */
  join: { channel: string; info: Info };
  /** Of such a channel. */
  leave: { channel: string; info: Info };
}

export interface SubscriptionEvents {
  /** In the channel: from here on publications come. */
  subscribed: Subscribed;
  publication: Publication;
  /** Somebody came, where the server grants that. */
  join: { info: Info };
  /** Somebody left, likewise. */
  leave: { info: Info };
  /** Lost; will come back. */
  subscribing: Why;
  /** Over, once. */
  unsubscribed: Why;
}

declare class Emitter<Events> extends EventTarget {
  /** Calls listener with each event's detail; what is returned takes it off again. A listener that throws is reported and stops nobody else. */
  on<K extends keyof Events>(type: K, listener: (detail: Events[K]) => void): () => void;
}

export type State = 'new' | 'connecting' | 'connected' | 'closed';

/** A connection that is kept up until it is closed, or the server says that coming back is no use. */
export declare class Client extends Emitter<ClientEvents> {
  /** Throws a TypeError for what can't be a hub's address or an option. The url may be relative to the page. */
  constructor(url: string | URL, options?: Options);
  readonly state: State;
  /** Begins. Safe to call again; throws once the client has ended. */
  connect(): void;
  /** Ends the client and everything it holds: the socket, the timers, the subscriptions, commands under way. */
  close(): void;
  /** Resolves when connected; rejects when the client ends or `timeout` passes first. */
  ready(): Promise<void>;
  /**
   * Subscribes to a channel, now or once connected, and again after every reconnection. The same Subscription is
   * returned for a channel that has one.
   */
  subscribe(channel: string, options?: SubscribeOptions): Subscription;
  /** Resolves when the server has taken it. Waits for the connection, as all commands do. */
  publish(channel: string, data: unknown): Promise<void>;
  /** Who is in the channel, by connection id. */
  presence(channel: string): Promise<Record<string, Info>>;
  presenceStats(channel: string): Promise<{ clients: number; users: number }>;
  /** Past publications, oldest first unless `reverse`. */
  history(channel: string, options?: HistoryOptions): Promise<History>;
  /** Calls a method of the server and resolves with its answer. */
  rpc(method: string, data?: unknown): Promise<any>;
  /** Sends a message without an answer; resolves when it is handed to the socket. */
  send(data: unknown): Promise<void>;
}

/** One channel. Made by {@link Client.subscribe}. */
export declare class Subscription extends Emitter<SubscriptionEvents> {
  private constructor();
  readonly channel: string;
  readonly state: 'subscribing' | 'subscribed' | 'unsubscribed';
  /** Leaves the channel, for good. */
  unsubscribe(): void;
  publish(data: unknown): Promise<void>;
  presence(): Promise<Record<string, Info>>;
  presenceStats(): Promise<{ clients: number; users: number }>;
  history(options?: HistoryOptions): Promise<History>;
}

export {}; // or all of the above would be exported
