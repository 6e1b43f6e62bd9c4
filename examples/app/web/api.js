// The HTTP API, with errors a person can read.

/** What the server refused, or why it could not be asked. */
export class Problem extends Error {
  /** @param {number} status 0: the server was not reached @param {{title?: string, detail?: string, type?: string}} [body] @param {string | null} [retryAfter] */
  constructor(status, body = {}, retryAfter = null) {
    super(sentence(status, body, retryAfter));
    this.name = 'Problem';
    this.status = status;
    this.type = body.type ?? '';
  }
}

/** @param {number} status @param {{title?: string, detail?: string}} body @param {string | null} retryAfter */
function sentence(status, { title, detail }, retryAfter) {
  if (status === 0) return 'The server can’t be reached. Check your connection and try again.';
  if (status === 429) {
    const seconds = Number(retryAfter);
    return seconds > 0 ? `Too many attempts. Try again in ${wait(seconds)}.` : 'Too many attempts. Try again in a moment.';
  }
  if (status === 503) return 'The service is busy or restarting. Try again in a moment.';
  const text = (detail || title || 'Something went wrong').trim();
  const capital = text[0].toUpperCase() + text.slice(1);
  return /[.!?]$/.test(capital) ? capital : `${capital}.`;
}

/** @param {number} seconds */
function wait(seconds) {
  if (seconds < 60) return seconds === 1 ? 'a second' : `${Math.ceil(seconds)} seconds`;
  const minutes = Math.ceil(seconds / 60);
  return minutes === 1 ? 'a minute' : `${minutes} minutes`;
}

/**
 * @param {string} method @param {string} path @param {object} [body]
 * @returns {Promise<{status: number, body: any}>} body is null for an empty answer
 */
async function ask(method, path, body) {
  /** @type {RequestInit} */
  const init = { method, headers: { accept: 'application/json' } };
  if (body) {
    init.headers = { ...init.headers, 'content-type': 'application/json' };
    init.body = JSON.stringify(body);
  }
  let response;
  let text;
  try {
    response = await fetch(path, init);
    text = await response.text();
  } catch {
    throw new Problem(0);
  }
  let answer = null;
  try {
    if (text) answer = JSON.parse(text);
  } catch { /* a proxy's page: the status says enough */ }
  if (!response.ok) throw new Problem(response.status, answer ?? {}, response.headers.get('retry-after'));
  return { status: response.status, body: answer };
}

/** @typedef {{name: string, label: string}} Provider */

/** Providers to sign in with, who is signed in (null: nobody), whether they have a password, and the provider they can sign out at too.
 * @returns {Promise<{providers: Provider[], user: any, hasPassword: boolean, provider: Provider | null}>} */
export async function config() {
  const { body: { providers, signed_in: signedIn, has_password: hasPassword, provider_sign_out: provider } } = await ask('GET', '/app/config.json');
  return { providers: providers ?? [], user: signedIn ? await me() : null, hasPassword, provider };
}

/** @returns {Promise<any>} the user; null when the session ended a moment ago */
async function me() {
  try {
    return (await ask('GET', '/auth/me')).body.user;
  } catch (error) {
    if (error instanceof Problem && error.status === 401) return null;
    throw error;
  }
}

/** @param {{name: string, email: string, password: string}} account @returns {Promise<any>} the user, or null when a mail must be answered first */
export async function register(account) {
  const { status, body } = await ask('POST', '/auth/register', account);
  return status === 201 ? body.user : null;
}

/** @param {{email: string, password: string}} credentials */
export async function login(credentials) {
  return (await ask('POST', '/auth/login', credentials)).body.user;
}

export const logout = () => ask('POST', '/auth/logout');
export const logoutEverywhere = () => ask('POST', '/auth/logout/all');

/** @returns {Promise<any[]>} */
export const devices = async () => (await ask('GET', '/auth/sessions')).body.sessions ?? [];

/** @param {string} id */
export const signOutDevice = (id) => ask('DELETE', `/auth/sessions/${encodeURIComponent(id)}`);

/** @param {string} current @param {string} next */
export const changePassword = (current, next) => ask('POST', '/auth/password', { current, new: next });
