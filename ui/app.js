// The console's first page: the server at a glance, topics, groups with their lag, dead letters, and a message's way.

import {render} from 'preact';
import {useEffect, useRef, useState} from 'preact/hooks';
import {Connect} from './connect.js';
import {brief, bytes, count, rate, span} from './format.js';
import {DeadLetterQueues, Groups} from './groups.js';
import {useLive} from './live.js';
import {Copy, html, Spark, Tile} from './parts.js';
import {Find, Timelines} from './timeline.js';
import {Topics} from './topics.js';

/** @typedef {import('./api.js').Overview} Overview */
/** @typedef {import('./live.js').Live} Live */

/** The topic that load generators use belongs to the system, but what is in it does not. */
const BENCHMARK = 'BenchmarkTest';

function App() {
  const live = useLive();
  const {overview, error} = live;
  const [filter, setFilter] = useState('');
  const [system, setSystem] = useState(false);
  const [connecting, setConnecting] = useState(false);
  const [wanted, setWanted] = useState('');
  const box = useRef(/** @type {HTMLInputElement | null} */ (null));

  useEffect(() => {
    const key = (/** @type {KeyboardEvent} */ event) => {
      const typing = event.target instanceof HTMLInputElement;
      if (event.key === '/' && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
        event.preventDefault();
        box.current?.focus();
      } else if (event.key === 'Escape' && event.target === box.current) {
        setFilter('');
      }
    };
    document.addEventListener('keydown', key);
    return () => document.removeEventListener('keydown', key);
  }, []);

  if (!overview) {
    return html`<main class="waiting"><p>${error ? `${error}. Trying again …` : '…'}</p></main>`;
  }
  const address = clientAddress(overview);
  const isOwn = (/** @type {import('./api.js').Topic} */ topic) => topic.kind === 'normal'
    || (topic.name === BENCHMARK && topic.messages > 0);
  const topics = overview.topics.filter((topic) => system || isOwn(topic));
  const groups = overview.groups.filter((group) => system || !group.system);
  const first = !overview.topics.some(isOwn) && !overview.groups.some((group) => !group.system);
  const part = filter.trim().toLowerCase();
  const has = (/** @type {string[]} */ ...texts) => texts.some((text) => text.toLowerCase().includes(part));
  const now = overview.server.now_ms;

  return html`
    <${Header} overview=${overview} error=${error} address=${address} connecting=${connecting || first}
      onConnect=${first ? undefined : () => setConnecting(!connecting)} />
    <main>
      ${error && html`<p class="banner bad" role="alert">${error}. The figures are old; trying again …</p>`}
      ${overview.broker?.refusal && html`<p class="banner bad" role="alert">Messages are refused: ${overview.broker.refusal}</p>`}
      ${overview.broker && html`<${Glance} live=${live} />`}
      ${address && (first || connecting) && html`<${Connect} address=${address} first=${first} />`}
      <div class="tools">
        <label class="search"><span class="offscreen">Filter by name</span>
          <input type="search" ref=${box} value=${filter} placeholder="Filter by name" spellcheck=${false} autocomplete="off"
            onInput=${(/** @type {InputEvent} */ event) => setFilter(/** @type {HTMLInputElement} */ (event.target).value)} />
          <kbd aria-hidden="true">/</kbd></label>
        <label class="toggle"><input type="checkbox" checked=${system} onChange=${() => setSystem(!system)} />
          <span>Show system, retry and dead letter topics</span></label>
        ${overview.broker && html`<${Find} onFind=${setWanted} />`}
      </div>
      ${wanted && html`<${Timelines} key=${wanted} wanted=${wanted} now=${now} onClose=${() => setWanted('')} />`}
      <div class=${`panels ${error ? 'stale' : ''}`}>
        <${Topics} topics=${topics.filter((topic) => has(topic.name))} total=${topics.length} rates=${live.topicRates} now=${now} />
        <div class="column">
          <${Groups} groups=${groups.filter((group) => has(group.name, ...group.topics.map((topic) => topic.topic)))}
            total=${groups.length} now=${now} />
          <${DeadLetterQueues} queues=${overview.dead_letters.filter((queue) => has(queue.group))}
            total=${overview.dead_letters.length} now=${now} />
        </div>
      </div>
    </main>
    <footer>rmq-lite ${overview.server.version} · <a href="/api/v1/openapi.json">API</a> · <a href="/metrics">Metrics</a>
      ${overview.broker && html` · <span title=${overview.broker.store.path}>${overview.broker.store.path}</span>`}</footer>`;
}

/** The NameServer's address as this browser's machine would dial it. */
/** @param {Overview} overview */
function clientAddress({server}) {
  const port = server.namesrv?.match(/:(\d+)$/)?.[1];
  if (!server.namesrv || !port) return null;
  const local = ['localhost', '127.0.0.1', '[::1]'].includes(location.hostname);
  return local ? server.namesrv : `${location.hostname}:${port}`;
}

/** @param {{overview: Overview, error: string | null, address: string | null, connecting: boolean,
 *   onConnect?: () => void}} props */
function Header({overview, error, address, connecting, onConnect}) {
  const {broker, brokers} = overview;
  const others = brokers.filter((other) => other.name !== broker?.name || other.id !== broker?.id).length;
  return html`<header>
    <a class="brand" href="/"><img src="/icon.svg" alt="" width="28" height="28" /><h1>rmq-lite</h1></a>
    <div class="who">
      <span class=${`dot ${error ? 'bad pulse' : 'good pulse'}`} role="img" aria-label=${error ? 'no answer' : 'live'}></span>
      ${broker ? html`<span>${broker.cluster} <span class="quiet">/</span> <b>${broker.name}</b></span>
        <span class="quiet up">up ${span(overview.server.now_ms - broker.started_ms)}</span>`
        : html`<span>${brokers.length === 0 ? 'NameServer without brokers' : `NameServer with ${brokers.length} brokers`}</span>`}
      ${broker && others > 0 && html`<span class="quiet">and ${others} more ${others === 1 ? 'broker' : 'brokers'}</span>`}
    </div>
    ${address && html`<div class="address">
      ${!connecting && html`<${Copy} text=${`NAMESRV_ADDR=${address}`} />`}
      ${onConnect && html`<button type="button" class="plain" aria-expanded=${connecting} onClick=${onConnect}>
        ${connecting ? 'Close' : 'Connect'}</button>`}
    </div>`}
  </header>`;
}

/** @param {{live: Live}} props */
function Glance({live: {overview, rates, history}}) {
  const {broker, topics, groups} = /** @type {Overview} */ (overview);
  if (!broker) return null;
  const {store} = broker;
  // What "In" and "Out" count, too.
  const counted = topics.filter((topic) => topic.kind !== 'system' || topic.name === BENCHMARK);
  const stored = counted.reduce((sum, topic) => sum + topic.messages, 0);
  const lag = groups.reduce((sum, group) => sum + (group.system ? 0 : group.lag ?? 0), 0);
  const late = groups.filter((group) => !group.system && (group.lag ?? 0) > 0).length;
  return html`<div class="tiles">
    <${Tile} label="In" value=${`${rate(rates.in)}/s`} note=${`${brief(broker.messages_in)} since start`}>
      <${Spark} values=${history.map((one) => one.in)} tone="in" /><//>
    <${Tile} label="Out" value=${`${rate(rates.out)}/s`} note=${`${brief(broker.messages_out)} since start`}>
      <${Spark} values=${history.map((one) => one.out)} tone="out" /><//>
    <${Tile} label="Messages" value=${brief(stored)} note=${`${bytes(store.log_bytes)} in the log`} />
    <${Tile} label="Lag" value=${brief(lag)} tone=${lag > 0 ? 'warn' : ''}
      note=${late === 0 ? 'nobody is behind' : late === 1 ? '1 group is behind' : `${late} groups are behind`} />
    <${Tile} label="Clients" value=${count(broker.producers + broker.consumers)}
      note=${`${count(broker.producers)} send, ${count(broker.consumers)} receive`} />
    <${Tile} label="Disk free" value=${bytes(store.disk_free_bytes)} note=${`of ${bytes(store.disk_total_bytes)}`} />
  </div>`;
}

const root = document.getElementById('app');
if (root) render(html`<${App} />`, root);
