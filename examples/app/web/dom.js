// Small helpers around the document. Text only ever reaches it as text nodes.

/** @param {string} id @returns {any} */
export const $ = (id) => document.getElementById(id);

/**
 * An element: h('li', { class: 'x', onclick }, 'text', child, …). Properties beginning with "on" are listeners.
 * @param {string} tag @param {Record<string, any>} [attributes] @param {...(Node | string | null | undefined)} children
 * @returns {any}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? '' : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** A round picture of somebody: initials on a colour of their id. @param {string} id @param {string} name */
export function avatar(id, name) {
  return paintAvatar(h('span', { class: 'avatar', 'aria-hidden': 'true' }), id, name);
}

/** @param {HTMLElement} element @param {string} id @param {string} name */
export function paintAvatar(element, id, name) {
  let hash = 0;
  for (const letter of id) hash = (hash * 31 + letter.charCodeAt(0)) >>> 0;
  element.dataset.hue = String(hash % 8);
  const words = name.trim().split(/\s+/u);
  const initials = words.length > 1 ? [words[0], words[words.length - 1]] : [words[0]];
  element.textContent = initials.map((word) => [...word][0] ?? '?').join('').toUpperCase();
  return element;
}

/** A message that goes away by itself. @param {string} text @param {'info' | 'error'} [kind] */
export function toast(text, kind = 'info') {
  const element = h('p', { class: `toast ${kind}` }, text);
  $('toasts').append(element);
  setTimeout(() => element.remove(), kind === 'error' ? 8000 : 4000);
}

/** @param {{title: string, text: string, yes: string}} question @returns {Promise<boolean>} */
export function confirm({ title, text, yes }) {
  const dialog = $('confirm');
  $('confirm-title').textContent = title;
  $('confirm-text').textContent = text;
  $('confirm-yes').textContent = yes;
  dialog.returnValue = 'no';
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true });
  });
}

/**
 * Runs a form's submission: one at a time, with its error shown in the form.
 * @param {HTMLFormElement} form @param {(fields: Record<string, string>) => Promise<void>} submit
 */
export function onSubmit(form, submit) {
  const error = /** @type {HTMLElement} */ (form.querySelector('.form-error'));
  const button = /** @type {HTMLButtonElement} */ (form.querySelector('[type=submit]'));
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    if (button.disabled) return;
    error.hidden = true;
    button.disabled = true;
    form.setAttribute('aria-busy', 'true');
    try {
      await submit(/** @type {any} */ (Object.fromEntries(new FormData(form))));
    } catch (failure) {
      error.textContent = failure instanceof Error ? failure.message : String(failure);
      error.hidden = false;
    } finally {
      button.disabled = false;
      form.removeAttribute('aria-busy');
    }
  });
}

const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });
const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' });

/** "3 minutes ago". @param {Date} date */
export function ago(date) {
  const seconds = Math.max(0, (Date.now() - date.getTime()) / 1000);
  if (seconds < 60) return 'just now';
  if (seconds < 3600) return relative.format(-Math.floor(seconds / 60), 'minute');
  if (seconds < 86400) return relative.format(-Math.floor(seconds / 3600), 'hour');
  return relative.format(-Math.floor(seconds / 86400), 'day');
}

/** A <time> element. @param {Date} date @param {string} text */
export function time(date, text) {
  return h('time', { datetime: date.toISOString(), title: full.format(date) }, text);
}

/** "14:05". @param {Date} date */
export const hour = (date) => clock.format(date);
/** "22 Nov 2026, 14:05". @param {Date} date */
export const moment = (date) => full.format(date);
