// The list of topics, and what a topic shows when opened: its queues and who reads it.

import * as api from './api.js';
import {ago, brief, count, rate} from './format.js';
import {useFresh} from './live.js';
import {Badge, html, Online, Panel, Table} from './parts.js';
import {Lag} from './groups.js';

/** @typedef {import('./api.js').Topic} Topic */

/** @param {{topics: Topic[], total: number, rates: Map<string, number>, now: number}} props */
export function Topics({topics, total, rates, now}) {
  /** @type {import('./parts.js').Column<Topic>[]} */
  const columns = [
    {label: 'Topic', of: (topic) => topic.name, cell: (topic) => html`${topic.name}<${Marks} topic=${topic} />`},
    {label: 'Queues', of: (topic) => topic.write_queues, cell: (topic) => count(topic.write_queues), number: true, wide: true,
      title: 'Queues that producers write to'},
    {label: 'In/s', of: (topic) => rates.get(topic.name) ?? 0, number: true, title: 'Messages arriving per second',
      cell: (topic) => html`<${Quiet} value=${rates.get(topic.name) ?? 0} text=${rate} />`},
    {label: 'Messages', of: (topic) => topic.messages, number: true, title: 'Messages that can still be read',
      cell: (topic) => html`<${Quiet} value=${topic.messages} text=${count} />`},
  ];
  return html`<${Panel} id="topics" title="Topics" count=${topics.length} of=${total}>
    ${topics.length === 0 ? html`<p class="nothing">${total === 0 ? 'No topics yet.' : 'No topic matches.'}</p>` : html`
    <${Table} caption="Topics" rows=${topics} id=${(/** @type {Topic} */ topic) => topic.name} columns=${columns}
      sort=${[0, false]} detail=${(/** @type {Topic} */ topic) => html`<${Detail} topic=${topic} now=${now} />`} />`}
  <//>`;
}

/** A number that steps back when it is zero. */
/** @param {{value: number, text: (value: number) => string}} props */
const Quiet = ({value, text}) => html`<span class=${value ? '' : 'quiet'}>${text(value)}</span>`;

/** @param {{topic: Topic}} props */
function Marks({topic}) {
  const permission = topic.readable ? (topic.writable ? '' : 'read only') : topic.writable ? 'write only' : 'closed';
  return [
    topic.kind === 'retry' && html`<${Badge} title="Messages on their way back to a group">retry<//>`,
    topic.kind === 'dead_letter' && html`<${Badge} tone="bad" title="Messages a group gave up on">dead letters<//>`,
    topic.kind === 'system' && html`<${Badge} title="Belongs to the broker">system<//>`,
    topic.message_type !== 'NORMAL' && html`<${Badge} tone="info">${topic.message_type.toLowerCase()}<//>`,
    topic.order && html`<${Badge} tone="info" title="Keeps its order across brokers">ordered<//>`,
    permission && html`<${Badge} tone="warn" title="Its permissions say so">${permission}<//>`,
  ];
}

/** @param {{topic: Topic, now: number}} props */
function Detail({topic, now}) {
  const {value, error} = useFresh(() => api.topic(topic.name), now);
  if (error && !value) return html`<p class="nothing">${error}</p>`;
  if (!value) return html`<p class="nothing">…</p>`;
  return html`<div class="details">
    <div><h3>Queues</h3><table>
      <thead><tr><th scope="col" class="number">Queue</th><th scope="col" class="number">First</th>
        <th scope="col" class="number">Next</th><th scope="col" class="number">Messages</th>
        <th scope="col" class="number wide">Latest</th></tr></thead>
      <tbody>${value.queues.map((queue) => html`<tr key=${queue.queue_id}>
        <td class="number">${queue.queue_id}</td><td class="number">${brief(queue.min_offset)}</td>
        <td class="number">${brief(queue.max_offset)}</td><td class="number">${count(queue.messages)}</td>
        <td class="number wide">${ago(queue.last_stored_ms, now)}</td></tr>`)}</tbody>
    </table></div>
    <div><h3>Groups</h3>${value.groups.length === 0 ? html`<p class="nothing">No group reads this topic.</p>` : html`<table>
      <thead><tr><th scope="col">Group</th><th scope="col" class="number">Lag</th></tr></thead>
      <tbody>${value.groups.map((group) => html`<tr key=${group.group}>
        <td><${Online} online=${group.online} />${group.group}</td>
        <td class="number"><${Lag} lag=${group.lag} /></td></tr>`)}</tbody>
    </table>`}</div>
  </div>`;
}
