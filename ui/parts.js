// Pieces that every part of the page is made of.

import {h} from 'preact';
import {useEffect, useRef, useState} from 'preact/hooks';
import htm from 'htm';

export const html = htm.bind(h);

/** Rows shown before one has to ask for more. */
const ROWS_FIRST = 100;

/** Copies a text; pages that were not loaded from localhost may not use the clipboard the modern way. */
/** @param {string} text */
async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement('textarea');
  area.value = text;
  area.className = 'offscreen';
  document.body.append(area);
  area.select();
  const copied = document.execCommand('copy');
  area.remove();
  if (!copied) throw new Error('not copied');
}

/** @param {{text: string, label?: string}} props */
export function Copy({text, label}) {
  const [state, setState] = useState('');
  const timer = useRef(0);
  useEffect(() => () => clearTimeout(timer.current), []);
  const click = async () => {
    setState(await copy(text).then(() => 'copied', () => 'select and copy by hand'));
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setState(''), 1500);
  };
  return html`<button type="button" class=${`copy ${state && 'done'}`} onClick=${click} aria-label=${`Copy ${text}`}>
    <code>${text}</code><span class="copy-word" aria-live="polite">${state || (label ?? 'copy')}</span>
  </button>`;
}

/** @param {{values: number[], tone: string}} props */
export function Spark({values, tone}) {
  const top = Math.max(1, ...values);
  // A young line comes in from the right.
  const places = Math.max(values.length, 20);
  const x = (/** @type {number} */ at) => ((places - values.length + at) * 100) / (places - 1);
  const points = values.map((value, at) => `${x(at).toFixed(1)},${(27 - (value / top) * 25).toFixed(1)}`);
  if (values.length < 2) return html`<svg class="spark" aria-hidden="true"></svg>`;
  const area = `M${x(0).toFixed(1)},28 L${points.join(' L')} L100,28 Z`;
  return html`<svg class=${`spark ${tone}`} viewBox="0 0 100 28" preserveAspectRatio="none" aria-hidden="true">
    <path class="area" d=${area} /><polyline class="line" points=${points.join(' ')} />
  </svg>`;
}

/** @param {{label: string, value: string, note?: string, tone?: string, children?: any}} props */
export const Tile = ({label, value, note, tone = '', children}) => html`<div class=${`tile ${tone}`}>
  <div class="tile-label">${label}</div>
  <div class="tile-value">${value}</div>
  <div class="tile-note">${note}</div>
  ${children}
</div>`;

/** Says by colour, and by name to who cannot see it, whether a group is online. @param {{online: boolean}} props */
export const Online = ({online}) => {
  const word = online ? 'online' : 'offline';
  return html`<span class=${`dot ${online ? 'good' : ''}`} role="img" aria-label=${word} title=${word}></span>`;
};

/** @param {{tone?: string, title?: string, small?: boolean, children?: any}} props `small` is for narrow screens only */
export const Badge = ({tone = '', title, small, children}) =>
  html`<span class=${`badge ${tone} ${small ? 'small' : ''}`} title=${title}>${children}</span>`;

/**
 * @template R
 * @typedef {{label: string, of: (row: R) => string | number, cell?: (row: R) => any, number?: boolean,
 *   wide?: boolean, title?: string}} Column
 */

/**
 * A table that can be sorted, with rows that open.
 * @template R
 * @param {{rows: R[], id: (row: R) => string, columns: Column<R>[], sort: [number, boolean], caption: string,
 *   detail?: (row: R) => any}} props `sort` is the column and whether it goes down
 */
export function Table({rows, id, columns, sort, caption, detail}) {
  const [[by, down], setSort] = useState(sort);
  const [open, setOpen] = useState(/** @type {Set<string>} */ (new Set()));
  const [all, setAll] = useState(false);
  const {of} = columns[by];
  const compare = (/** @type {R} */ one, /** @type {R} */ other) => {
    const [a, b] = [of(one), of(other)];
    const order = typeof a === 'number' && typeof b === 'number' ? a - b : String(a).localeCompare(String(b));
    return (down ? -order : order) || id(one).localeCompare(id(other));
  };
  const sorted = [...rows].sort(compare);
  const shown = all ? sorted : sorted.slice(0, ROWS_FIRST);
  const toggle = (/** @type {string} */ name) => {
    const next = new Set(open);
    if (!next.delete(name)) next.add(name);
    setOpen(next);
  };
  const classes = (/** @type {Column<R>} */ column) =>
    `${column.number ? 'number' : ''} ${column.wide ? 'wide' : ''}`;
  const head = columns.map((column, at) => {
    const state = at === by ? (down ? 'descending' : 'ascending') : undefined;
    const click = () => setSort([at, at === by ? !down : !!column.number]);
    return html`<th scope="col" class=${classes(column)} aria-sort=${state} title=${column.title}>
      <button type="button" class="sort" onClick=${click}>${column.label}</button></th>`;
  });
  const body = shown.map((row) => {
    const name = id(row);
    const isOpen = open.has(name);
    const cells = columns.map((column, at) => {
      const content = column.cell ? column.cell(row) : column.of(row);
      if (at > 0) return html`<td class=${classes(column)}>${content}</td>`;
      if (!detail) return html`<th scope="row">${content}</th>`;
      return html`<th scope="row"><button type="button" class="open" aria-expanded=${isOpen}
        onClick=${() => toggle(name)}>${content}</button></th>`;
    });
    const below = isOpen && detail
      ? html`<tr class="detail" key=${`${name} detail`}><td colspan=${columns.length}>${detail(row)}</td></tr>` : null;
    return [html`<tr key=${name} class=${isOpen ? 'is-open' : ''}>${cells}</tr>`, below];
  });
  return html`<table class="main"><caption class="offscreen">${caption}</caption>
      <thead><tr>${head}</tr></thead><tbody>${body}</tbody></table>
    ${shown.length < sorted.length && html`<button type="button" class="more" onClick=${() => setAll(true)}>
      Show ${sorted.length - shown.length} more</button>`}`;
}

/** @param {{title: string, count: number, of: number, children?: any, id: string}} props */
export const Panel = ({title, count, of, children, id}) => html`<section class="panel" aria-labelledby=${id}>
  <h2 id=${id}>${title} <span class="tally">${count === of ? count : `${count} of ${of}`}</span></h2>
  ${children}
</section>`;
