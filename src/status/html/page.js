'use strict';
// Keeps the page live: fetches it again and takes over what differs, so that what is open, typed or focused stays.

// Milliseconds between two looks, or for each character of a large page (240 KB: 6 s), and until nginx does not answer.
const EVERY = 1500, PER_CHARACTER = 1 / 40, PATIENCE = 8000;
const live = document.getElementById('live');
let seen = Date.now(), size = 0, timer, isAsking = false;

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const day = new Intl.DateTimeFormat(undefined, { month: 'short', day: 'numeric' });

// Times in the reader's zone; the exact one stays in title and datetime.
function localise(root) {
  for (const time of root.querySelectorAll('time')) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    const isToday = at.toDateString() === new Date().toDateString();
    time.textContent = isToday ? clock.format(at) : `${day.format(at)}, ${clock.format(at)}`;
  }
}

function take(old, now) {
  if (old.nodeName !== now.nodeName || (old.id ?? '') !== (now.id ?? '')) return old.replaceWith(now);
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== now.data) old.data = now.data;
    return;
  }
  // What is being typed stays. What its reader opened or closed stays, until there is news.
  if (old.nodeName === 'FORM') return;
  if (old.nodeName === 'DETAILS' && old.dataset.level !== now.dataset.level) old.open = now.open;
  for (const { name } of [...old.attributes]) {
    if (name !== 'open' && !now.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of now.attributes) {
    if (name !== 'open' && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  takeChildren(old, now);
}

// Elements with an id are found wherever they moved to; others by their place.
function takeChildren(old, now) {
  const known = new Map();
  for (const child of [...old.children].filter(child => child.id)) {
    if ([...now.children].some(({ id }) => id === child.id)) known.set(child.id, child);
    else child.remove();
  }
  let place = old.firstChild;
  for (const child of [...now.childNodes]) {
    const same = child.id ? known.get(child.id) : place && !place.id ? place : null;
    if (same === place && place) place = place.nextSibling;
    else old.insertBefore(same ?? child, place);
    if (same) take(same, child);
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

function show(text) {
  const now = new DOMParser().parseFromString(text, 'text/html');
  // A newer module has another script: begin anew with it.
  if (now.scripts[0]?.text !== document.scripts[0].text) return location.reload();
  localise(now);
  document.title = now.title;
  take(document.getElementById('icon'), now.getElementById('icon'));
  for (const part of ['main', 'footer']) take(document.querySelector(part), now.querySelector(part));
  seen = Date.now();
  say('on', now.getElementById('live'));
}

function say(state, from) {
  live.className = state;
  document.documentElement.classList.toggle('stale', state === 'off');
  if (from) takeChildren(live, from);
}

async function ask() {
  clearTimeout(timer);
  if (isAsking || document.hidden) return;
  isAsking = true;
  try {
    const answer = await fetch(location.href, { cache: 'no-store', signal: AbortSignal.timeout(PATIENCE) });
    if (!answer.ok) throw new Error(`nginx answers ${answer.status}`);
    const text = await answer.text();
    size = text.length;
    show(text);
  } catch (error) {
    stale(error.message.startsWith('nginx') ? error.message : 'nginx does not answer');
  }
  isAsking = false;
  timer = setTimeout(ask, Math.max(EVERY, size * PER_CHARACTER));
}

function stale(why) {
  const age = Math.round((Date.now() - seen) / 1000);
  live.textContent = `${why}: what you see is ${age} s old`;
  say('off');
}

// Writes. The header is what other sites cannot send.
document.addEventListener('submit', async event => {
  event.preventDefault();
  const form = event.target, output = form.querySelector('output'), button = form.querySelector('button');
  const { minutes, ...body } = Object.fromEntries(new FormData(form));
  if (minutes) body.duration = `${minutes}m`;
  const hasBody = form.dataset.method === 'POST';
  button.disabled = true;
  output.textContent = '';
  try {
    const answer = await fetch(form.dataset.path, {
      method: form.dataset.method,
      headers: hasBody ? { 'X-Poolwatch': '1', 'Content-Type': 'application/json' } : { 'X-Poolwatch': '1' },
      body: hasBody ? JSON.stringify(body) : undefined,
      signal: AbortSignal.timeout(PATIENCE),
    });
    if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).error ?? `nginx answers ${answer.status}`);
    output.textContent = 'Done.';
    output.className = '';
    form.reset();
  } catch (error) {
    output.textContent = error.message;
    output.className = 'bad';
  }
  button.disabled = false;
  ask();
});

document.addEventListener('visibilitychange', ask);
localise(document);
live.className = 'on';
timer = setTimeout(ask, EVERY);
