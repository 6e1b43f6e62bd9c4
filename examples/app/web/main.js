// The page's frame: who is signed in, which view is shown, and what happens when the session ends.

import { Client, Code } from '/client/realtime.js';
import * as api from './api.js';
import { showDevices, showProfile, showProvider, startAccount } from './account.js';
import { Chat } from './chat.js';
import { $, paintAvatar, toast } from './dom.js';
import { showGate, showNotice, showProviders, startGate } from './gate.js';

/** @type {{client: Client, chat: Chat, leaving: boolean} | null} what lives as long as the session */
let session = null;

startGate({ onUser: enter });
startAccount({ leave: signOut, failed });
$('sign-out').addEventListener('click', () => signOut(false));
$('provider-out').addEventListener('submit', () => { if (session) session.leaving = true; }); // the page goes to the provider
addEventListener('hashchange', route);
addEventListener('pageshow', (event) => { if (event.persisted) location.reload(); }); // a page kept for "back" may be another user's
boot();

async function boot() {
  try {
    const { providers, user, hasPassword, provider } = await api.config();
    showProviders(providers);
    if (user) enter(user, hasPassword, provider);
    else gate(null);
  } catch (error) {
    gate({
      title: 'Nothing works yet', text: error instanceof Error ? error.message : String(error), kind: 'warning',
      action: 'Try again', onAction: () => location.reload(),
    });
  }
}

/** Shows the signed-out page. @param {import('./gate.js').Notice | null} notice */
function gate(notice) {
  document.title = 'gatewire';
  $('app').hidden = true;
  $('gate').hidden = false;
  showGate(notice);
}

/** Begins a session: the socket, the rooms, the views. @param {any} user @param {boolean} [hasPassword] @param {api.Provider | null} [provider] */
function enter(user, hasPassword = true, provider = null) {
  $('password-form').hidden = !hasPassword;
  $('no-password').hidden = hasPassword;
  const client = new Client('/realtime');
  const chat = new Chat(client, user);
  const mine = { client, chat, leaving: false };
  session = mine;
  client.on('connecting', ({ code, delay }) => showConnection('connecting', code === Code.CLOSED ? 'Connecting…' : delay > 1000 ? `Reconnecting in ${Math.round(delay / 1000)} s…` : 'Reconnecting…'));
  client.on('connected', () => showConnection('connected', 'Connected'));
  client.on('closed', ({ code, reason }) => {
    if (session !== mine || mine.leaving) return;
    if (code === Code.SESSION_ENDED || code === Code.INVALID_CREDENTIAL) return ended(reason);
    showConnection('closed', 'Disconnected');
    toast(`The server closed the connection: ${reason}. Reload the page to try again.`, 'error');
  });

  const name = user.name || user.email || 'You';
  paintAvatar($('my-avatar'), user.id, name);
  $('my-name').textContent = name;
  $('my-name').title = user.email ?? '';
  showProfile(user);
  showProvider(provider);
  $('gate').hidden = true;
  $('app').hidden = false;
  route();
  client.connect();
}

/** Forgets everything the session had on the page. */
function forget() {
  if (!session) return;
  session.leaving = true;
  session.client.close();
  session.chat.clear();
  session = null;
  $('devices').replaceChildren();
  $('profile').replaceChildren();
  $('password-form').reset();
  $('toasts').replaceChildren();
  if ($('confirm').open) $('confirm').close('no');
}

/** The server ended the session, or refuses it: say so at once, and why. @param {string} reason */
async function ended(reason) {
  forget();
  /** @type {import('./gate.js').Notice} */
  const notice = { title: 'You have been signed out', text: explain(reason), kind: 'warning' };
  gate(notice);
  // Somebody may be signed in here all the same: by another window, as another user.
  const { user, hasPassword, provider } = await api.config().catch(() => ({ user: null, hasPassword: false, provider: null }));
  if (!user || session) return;
  showNotice({ ...notice, action: `Continue as ${user.name || user.email}`, onAction: () => enter(user, hasPassword, provider) });
}

/** @param {string} reason */
function explain(reason) {
  for (const [part, text] of [
    ['password changed', 'Your password was changed on another device.'],
    ['another user', 'Another account signed in with this browser.'],
    ['at the provider', 'You were signed out at the provider you signed in with.'],
    ['signed out', 'You signed out in another window.'],
    ['revoked', 'This device was signed out from another one of your devices.'],
    ['disabled', 'This account has been disabled.'],
    ['reused', 'A copy of this device’s credentials was used elsewhere, so we ended its session.'],
    ['expired', 'Your session has expired.'],
  ]) {
    if (reason.includes(part)) return `${text} Sign in again to go on.`;
  }
  return `The session on this device has ended (${reason || 'no reason given'}). Sign in again to go on.`;
}

/** @param {boolean} everywhere */
async function signOut(everywhere) {
  if (!session || session.leaving) return;
  const mine = session;
  mine.leaving = true;
  try {
    await (everywhere ? api.logoutEverywhere() : api.logout());
  } catch (error) {
    if (!(error instanceof api.Problem && error.status === 401)) { // 401: it had already ended
      mine.leaving = false;
      return failed(error);
    }
  }
  forget();
  gate({ title: 'Signed out', text: everywhere ? 'All your devices have been signed out.' : 'See you soon.' });
}

/** A request of the signed-in page failed. @param {unknown} error */
function failed(error) {
  if (error instanceof api.Problem && error.status === 401) ended('expired');
  else toast(error instanceof Error ? error.message : String(error), 'error');
}

/** @param {'connecting' | 'connected' | 'closed'} state @param {string} text */
function showConnection(state, text) {
  $('connection').dataset.state = state;
  $('connection-text').textContent = text;
}

/** Shows the view of the address: #/rooms/NAME, #/devices, #/account. */
function route() {
  if (!session) return;
  const [, view, room] = location.hash.split('/');
  const shown = view === 'devices' || view === 'account' ? view : 'rooms';
  const changed = $(`view-${shown}`).hidden;
  for (const name of ['rooms', 'devices', 'account']) $(`view-${name}`).hidden = name !== shown;
  for (const link of /** @type {NodeListOf<HTMLAnchorElement>} */ (document.querySelectorAll('.nav a'))) {
    if (link.dataset.view === shown) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  if (shown === 'rooms') {
    session.chat.open(room || 'lobby');
    if (changed) session.chat.shown();
  }
  if (shown === 'devices') showDevices(failed);
  document.title = { rooms: `#${session.chat.room} · gatewire`, devices: 'Devices · gatewire', account: 'Account · gatewire' }[shown];
  if (changed) $(`view-${shown}`).querySelector('h1').focus({ preventScroll: true });
}
