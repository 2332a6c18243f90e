// The list of consumer groups with their lag, what a group shows when opened, and the dead letters.

import {useState} from 'preact/hooks';
import * as api from './api.js';
import {ago, brief, count} from './format.js';
import {useFresh} from './live.js';
import {Badge, html, Online, Panel, Table} from './parts.js';

/** @typedef {import('./api.js').Group} Group */
/** @typedef {import('./api.js').DeadLetters} DeadLetters */

/** Lag from which it is shown in red, not just in amber. */
const MUCH_LAG = 1000;

/** @param {{lag: number | null}} props null is not known here: broadcasting clients keep their own offsets */
export function Lag({lag}) {
  if (lag === null) return html`<span class="quiet" title="Each client keeps its own offsets">–</span>`;
  const tone = lag === 0 ? 'quiet' : lag < MUCH_LAG ? 'lag some' : 'lag much';
  return html`<span class=${tone}>${count(lag)}</span>`;
}

/** @param {{groups: Group[], total: number, now: number}} props */
export function Groups({groups, total, now}) {
  /** @type {import('./parts.js').Column<Group>[]} */
  const columns = [
    {label: 'Group', of: (group) => group.name, cell: (group) => html`<${Online} online=${group.online} />${group.name}<${Marks} group=${group} />`},
    {label: 'Clients', of: (group) => group.members, number: true, wide: true,
      cell: (group) => (group.members ? count(group.members) : html`<span class="quiet">offline</span>`)},
    {label: 'Lag', of: (group) => group.lag ?? -1, number: true, title: 'Messages not consumed yet, retries included',
      cell: (group) => html`<${Lag} lag=${group.lag} />`},
  ];
  return html`<${Panel} id="groups" title="Consumer groups" count=${groups.length} of=${total}>
    ${groups.length === 0 ? html`<p class="nothing">${total === 0 ? 'No consumer has been here yet.' : 'No group matches.'}</p>`
      : html`<${Table} caption="Consumer groups" rows=${groups} id=${(/** @type {Group} */ group) => group.name}
        columns=${columns} sort=${[2, true]}
        detail=${(/** @type {Group} */ group) => html`<${Detail} group=${group} now=${now} />`} />`}
  <//>`;
}

/** @param {{group: Group}} props */
function Marks({group}) {
  const topics = group.topics.filter((topic) => topic.kind === 'normal').map((topic) => topic.topic);
  return html`${group.system && html`<${Badge}>system<//>`}
    ${group.message_model === 'BROADCASTING' && html`<${Badge} tone="info" title="Every client gets every message">broadcasting<//>`}
    ${!group.online && html`<${Badge} small>offline<//>`}
    ${group.dead_letters > 0 && html`<${Badge} tone="bad" title="Dead letters that were neither sent again nor set aside">${brief(group.dead_letters)} dead<//>`}
    ${topics.length > 0 && html`<span class="under">${topics.slice(0, 3).join(', ')}${topics.length > 3 ? ` and ${topics.length - 3} more` : ''}</span>`}`;
}

/** @param {{group: Group, now: number}} props */
function Detail({group, now}) {
  const {value, error} = useFresh(() => api.group(group.name), now);
  if (error && !value) return html`<p class="nothing">${error}</p>`;
  if (!value) return html`<p class="nothing">…</p>`;
  const isRetry = (/** @type {string} */ topic) => topic.startsWith('%RETRY%');
  return html`<div class="details">
    <div><h3>Progress</h3>${value.topics.length === 0 ? html`<p class="nothing">Subscribes to nothing.</p>` : html`<table>
      <thead><tr><th scope="col">Topic</th><th scope="col" class="number">Queue</th>
        <th scope="col" class="number">Committed</th><th scope="col" class="number wide">Next</th>
        <th scope="col" class="number">Lag</th></tr></thead>
      <tbody>${value.topics.map((topic) => html`<tr key=${topic.topic} class="sum">
        <td colspan="2">${isRetry(topic.topic) ? 'retries' : topic.topic}
          ${topic.subscription && topic.subscription !== '*' && html` <code>${topic.subscription}</code>`}</td>
        <td></td><td class="wide"></td><td class="number"><${Lag} lag=${topic.lag} /></td></tr>
        ${isRetry(topic.topic) ? null : value.queues.filter((queue) => queue.topic === topic.topic).map((queue) => html`<tr
          key=${`${topic.topic} ${queue.queue_id}`}><td></td><td class="number">${queue.queue_id}</td>
          <td class="number">${queue.committed === null ? '–' : brief(queue.committed)}</td>
          <td class="number wide">${brief(queue.max_offset)}</td>
          <td class="number"><${Lag} lag=${queue.lag} /></td></tr>`)}`)}</tbody>
    </table>`}</div>
    <div><h3>Clients</h3>${value.clients.length === 0 ? html`<p class="nothing">None is connected.</p>` : html`<table>
      <thead><tr><th scope="col">Client</th><th scope="col" class="number">Heard</th></tr></thead>
      <tbody>${value.clients.map((client) => html`<tr key=${client.client_id + client.address}>
        <td>${client.client_id}<span class="under">${client.language.toLowerCase()} ${client.version}, ${client.address}</span></td>
        <td class="number">${ago(client.last_heard_ms, now)}</td></tr>`)}</tbody>
    </table>`}</div>
  </div>`;
}

/** The letters of a group that are open, and the button that sends them to where they came from. @param {{queue: DeadLetters}} props */
function Open({queue}) {
  const [state, setState] = useState({busy: false, problem: ''});
  const letters = queue.open === 1 ? 'the open letter' : `the ${count(queue.open)} open letters`;
  const again = async () => {
    if (!confirm(`Send ${letters} of ${queue.group} again, to where ${queue.open === 1 ? 'it' : 'they'} came from?`)) return;
    setState({busy: true, problem: ''});
    const said = await api.resend(queue.group).catch((/** @type {Error} */ {message}) => ({problem: message}));
    setState({busy: false, problem: said.problem ?? ''});
  };
  return html`<span class=${queue.open ? 'lag much' : 'quiet'}>${count(queue.open)}</span>
    ${queue.open > 0 && html` <button type="button" class="plain" disabled=${state.busy} onClick=${again}
      aria-label=${`Send ${letters} of ${queue.group} again`}>Send again</button>`}
    ${queue.open > 0 && state.problem && html`<span class="under">${state.problem}</span>`}`;
}

/** @param {{queues: DeadLetters[], total: number, now: number}} props */
export function DeadLetterQueues({queues, total, now}) {
  /** @type {import('./parts.js').Column<DeadLetters>[]} */
  const columns = [
    {label: 'Group', of: (queue) => queue.group},
    {label: 'Latest', of: (queue) => queue.last_stored_ms ?? 0, number: true,
      cell: (queue) => ago(queue.last_stored_ms, now)},
    {label: 'Messages', of: (queue) => queue.messages, number: true,
      cell: (queue) => html`<span class="quiet">${count(queue.messages)}</span>`},
    {label: 'Open', of: (queue) => queue.open, number: true, title: 'Neither sent again nor set aside',
      cell: (queue) => html`<${Open} queue=${queue} />`},
  ];
  return html`<${Panel} id="dead" title="Dead letters" count=${queues.length} of=${total}>
    ${queues.length === 0 ? html`<p class="nothing">${total === 0 ? 'None. No group has given up on a message.' : 'None matches.'}</p>`
      : html`<${Table} caption="Dead letters" rows=${queues} id=${(/** @type {DeadLetters} */ queue) => queue.group}
        columns=${columns} sort=${[3, true]} />`}
  <//>`;
}
