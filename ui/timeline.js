// What happened to one message: asked for by its id or a key of it, its steps in order, kept fresh while they are looked at.

import {useState} from 'preact/hooks';
import * as api from './api.js';
import {clock, count, span} from './format.js';
import {useFresh} from './live.js';
import {Badge, html} from './parts.js';

/** @typedef {import('./api.js').Timeline} Timeline */
/** @typedef {import('./api.js').Step} Step */

/** How a step is coloured; the others are neither good nor bad. @type {Record<string, string>} */
const TONES = {
  stored: 'info', delivered: 'info', consumed: 'good', committed: 'good', delayed: 'warn', failed: 'warn', retry: 'warn',
  'rolled back': 'warn', 'given up': 'bad', dead: 'bad',
};

/** @param {{onFind: (key: string) => void}} props */
export function Find({onFind}) {
  const [text, setText] = useState('');
  const submit = (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    if (text.trim()) onFind(text.trim());
  };
  return html`<form class="search find" role="search" onSubmit=${submit}>
    <label><span class="offscreen">Find a message by id or key</span>
      <input type="search" value=${text} placeholder="Message id or key" spellcheck=${false} autocomplete="off"
        onInput=${(/** @type {InputEvent} */ event) => setText(/** @type {HTMLInputElement} */ (event.target).value)} /></label>
    <button type="submit" class="plain">Find</button>
  </form>`;
}

/** @param {{wanted: string, now: number, onClose: () => void}} props */
export function Timelines({wanted, now, onClose}) {
  const {value, error} = useFresh(() => api.timeline(wanted), now);
  return html`<section class="panel found" aria-labelledby="message">
    <h2 id="message">Message <code>${wanted}</code>
      <button type="button" class="plain" onClick=${onClose}>Close</button></h2>
    ${error && !value ? html`<p class="nothing">${error}</p>` : !value ? html`<p class="nothing">…</p>`
      : value.length === 0 ? html`<p class="nothing">No message that can still be read has this id or key.</p>`
      : value.map((timeline) => html`<${Steps} key=${timeline.id} timeline=${timeline} now=${now} />`)}
  </section>`;
}

/** @param {{timeline: Timeline, now: number}} props */
function Steps({timeline: {id, topic, steps}, now}) {
  return html`<table><caption>${topic} <code>${id}</code></caption>
    <thead class="offscreen"><tr><th scope="col">Time</th><th scope="col">What</th><th scope="col">Who and when</th>
      <th scope="col" class="wide">Where</th></tr></thead>
    <tbody>${steps.map((step, at) => html`<tr key=${at}>
      <td class="number">${clock(step.at_ms, now)}</td>
      <td class="what"><${Badge} tone=${TONES[step.what] ?? ''}>${step.what}<//></td>
      <td>${about(step, now)}</td>
      <td class="wide quiet">${step.what === 'sent' ? '' : `${step.topic}, queue ${step.queue_id} at ${step.queue_offset}`}</td>
    </tr>`)}</tbody>
  </table>`;
}

/** @param {Step} step @param {number} now */
function about({what, group, client, due_ms, times}, now) {
  const tries = what === 'checked' ? 'asked' : 'consumed in vain';
  return [
    group && html`<b>${group}</b>`,
    client && html`<span class="quiet">${what === 'sent' ? 'by ' : ''}${client}</span>`,
    times !== null && times > 0 && `${tries} ${times === 1 ? 'once' : `${count(times)} times`}`,
    due_ms !== null && `due ${clock(due_ms, now)}${due_ms > now ? `, in ${span(due_ms - now)}` : ''}`,
  ].filter(Boolean).map((part, at) => [at > 0 && ' · ', part]);
}
