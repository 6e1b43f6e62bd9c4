// What the examples' pages share: who is here, and a client whose state the bar shows.
import { Client, Code } from '/client/realtime.js';

/** The guest this page was made for. */
export const me = { id: document.body.dataset.id, name: document.body.dataset.name };

export const $ = (/** @type {string} */ selector) => document.querySelector(selector);

/** An element with text in it: text stays text, whoever wrote it. */
export function element(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

/** A client, not yet connected. When the server ends it for good, as after a sign-out in another window, a dialog says why. */
export function newClient() {
  const client = new Client('/realtime');
  const show = (state, text) => {
    const pill = $('#connection');
    pill.dataset.state = state;
    pill.textContent = text;
  };
  client.on('connecting', ({ code }) => show('connecting', code === Code.CLOSED ? 'Connecting…' : 'Reconnecting…'));
  client.on('connected', () => show('connected', 'Connected'));
  client.on('closed', ({ code, reason }) => {
    show('closed', 'Disconnected');
    const ended = code === Code.SESSION_ENDED || code === Code.INVALID_CREDENTIAL;
    $('#over-title').textContent = ended ? 'You are signed out' : 'The connection was ended';
    $('#over-reason').textContent = ended ? `Your session is over: ${reason}.` : `The server says: ${reason}.`;
    $('#over').showModal();
  });
  return client;
}
