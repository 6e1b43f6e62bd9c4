// The signed-out page: signing in, creating an account, and why one is here.

import * as api from './api.js';
import { $, h, onSubmit } from './dom.js';

/** @param {{onUser: (user: any) => void}} hooks */
export function startGate({ onUser }) {
  const tabs = [$('tab-in'), $('tab-up')];
  for (const [index, tab] of tabs.entries()) {
    tab.addEventListener('click', () => {
      select(index);
      showNotice(null);
    });
    tab.addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => {
      if (event.key !== 'ArrowLeft' && event.key !== 'ArrowRight') return;
      select(1 - index);
      tabs[1 - index].focus();
    });
  }
  onSubmit($('sign-in'), async ({ email, password }) => {
    onUser(await api.login({ email, password }));
  });
  onSubmit($('sign-up'), async ({ name, email, password }) => {
    const user = await api.register({ name: name.trim(), email, password });
    if (user) return onUser(user);
    $('sign-up').reset();
    select(0);
    showNotice({ title: 'Check your mail', text: `We have sent a message to ${email}. Open the link in it to go on.` });
  });
}

/** @param {number} index */
function select(index) {
  for (const [i, id] of ['in', 'up'].entries()) {
    const tab = $(`tab-${id}`);
    tab.setAttribute('aria-selected', String(i === index));
    tab.tabIndex = i === index ? 0 : -1;
    $(`sign-${id}`).hidden = i !== index;
  }
}

/** @param {{name: string, label: string}[]} providers */
export function showProviders(providers) {
  $('providers').hidden = providers.length === 0;
  $('provider-list').replaceChildren(...providers.map(({ name, label }) => h(
    'a',
    { class: 'button wide provider', href: `/auth/${encodeURIComponent(name)}/login?return_to=/`, 'data-provider': name },
    `Continue with ${label}`,
  )));
}

/**
 * @typedef {object} Notice
 * @property {string} title
 * @property {string} text
 * @property {'info' | 'warning'} [kind]
 * @property {string} [action] label of a button, with onAction
 * @property {() => void} [onAction]
 */

/** @param {Notice | null} notice */
export function showGate(notice) {
  select(0);
  for (const id of ['sign-in', 'sign-up']) {
    $(id).reset();
    $(id).querySelector('.form-error').hidden = true;
  }
  showNotice(notice);
}

/** @param {Notice | null} notice */
export function showNotice(notice) {
  const box = $('notice');
  box.hidden = !notice;
  if (!notice) return;
  box.dataset.kind = notice.kind ?? 'info';
  $('notice-title').textContent = notice.title;
  $('notice-text').textContent = notice.text;
  const button = $('notice-continue');
  button.hidden = !notice.action;
  button.textContent = notice.action ?? '';
  button.onclick = notice.onAction ?? null;
  box.focus();
}
