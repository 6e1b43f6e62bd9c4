// "My devices" and "My account".

import * as api from './api.js';
import { $, ago, confirm, h, moment, onSubmit, time, toast } from './dom.js';
import { readable } from './useragent.js';

/** @param {{leave: (everywhere: boolean) => Promise<void>, failed: (error: unknown) => void}} hooks */
export function startAccount({ leave, failed }) {
  $('sign-out-all').addEventListener('click', async () => {
    const sure = await confirm({
      title: 'Sign out everywhere?',
      text: 'Every device is signed out at once, this one too.',
      yes: 'Sign out everywhere',
    });
    if (sure) await leave(true);
  });
  onSubmit($('password-form'), async ({ current, new: next }) => {
    await api.changePassword(current, next);
    $('password-form').reset();
    toast('Your password has been changed. Your other devices are signed out.');
  });
  $('devices').addEventListener('click', async (/** @type {MouseEvent} */ event) => {
    const button = /** @type {HTMLButtonElement | null} */ (/** @type {Element} */ (event.target).closest('button'));
    if (!button) return;
    if (button.dataset.current) return leave(false);
    button.disabled = true;
    try {
      await api.signOutDevice(button.dataset.session ?? '');
      toast(`${button.dataset.device} has been signed out.`);
    } catch (error) {
      if (!(error instanceof api.Problem && error.status === 404)) failed(error); // 404: it had already ended
    }
    await showDevices(failed);
  });
}

/** @param {(error: unknown) => void} failed */
export async function showDevices(failed) {
  const list = $('devices');
  list.setAttribute('aria-busy', 'true');
  try {
    const sessions = await api.devices();
    sessions.sort((a, b) => Number(b.current) - Number(a.current) || b.last_seen_at.localeCompare(a.last_seen_at));
    list.replaceChildren(...sessions.map(device));
  } catch (error) {
    failed(error);
  }
  list.setAttribute('aria-busy', 'false');
}

/** @param {any} session */
function device({ id, current, created_at, last_seen_at, user_agent, ip, kind }) {
  const name = readable(user_agent);
  const phone = /iPhone|Android/.test(name);
  const seen = new Date(last_seen_at);
  return h(
    'li',
    { class: current ? 'device current' : 'device', 'data-session': id },
    h('span', { class: `device-icon ${kind === 'token' ? 'token' : phone ? 'phone' : 'desktop'}`, 'aria-hidden': 'true' }),
    h(
      'div',
      { class: 'device-text' },
      h('h2', { title: user_agent }, name, current ? h('span', { class: 'badge' }, 'This device') : null, kind === 'token' ? h('span', { class: 'badge plain' }, 'App') : null),
      h(
        'p',
        { class: 'muted' },
        h('span', {}, ...(current ? ['Active now'] : ['Last seen ', time(seen, ago(seen))])),
        ip ? h('span', { class: 'ip' }, ip) : null,
        h('span', {}, `Signed in ${moment(new Date(created_at))}`),
      ),
    ),
    h('button', {
      class: 'button small', type: 'button', 'data-session': id, 'data-device': name, 'data-current': current,
      'aria-label': current ? 'Sign out this device' : `Sign out ${name}`,
    }, 'Sign out'),
  );
}

/** @param {any} user */
export function showProfile(user) {
  const rows = [
    ['Name', user.name || 'Not given'],
    ['Email', user.email ? `${user.email}${user.email_verified ? ' (verified)' : ''}` : 'None'],
    ['Member since', user.created_at ? moment(new Date(user.created_at)) : ''],
  ];
  $('profile').replaceChildren(...rows.filter(([, value]) => value).flatMap(([term, value]) => [h('dt', {}, term), h('dd', {}, value)]));
  $('password-user').value = user.email ?? '';
}

/** The provider to sign out at, too. @param {api.Provider | null} provider */
export function showProvider(provider) {
  const form = $('provider-out');
  form.hidden = !provider;
  form.action = provider ? `/auth/${encodeURIComponent(provider.name)}/logout` : '';
  $('provider-name').textContent = provider?.label ?? '';
}
