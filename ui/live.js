// Keeps the page fresh: asks while it is visible, and turns counters into rates.

import {useEffect, useRef, useState} from 'preact/hooks';
import * as api from './api.js';

/** @typedef {import('./api.js').Overview} Overview */
/** @typedef {{in: number, out: number}} Rates messages per second */
/** @typedef {{overview: Overview | null, error: string | null, rates: Rates, history: Rates[],
 *   topicRates: Map<string, number>}} Live */

const INTERVAL_MS = 1000;
const HISTORY = 60;
/** Rates are averages over this many intervals, so that they do not flicker. */
const WINDOW = 3;

/** @returns {Live} */
export function useLive() {
  const [live, setLive] = useState(/** @type {Live} */ ({
    overview: null, error: null, rates: {in: 0, out: 0}, history: [], topicRates: new Map(),
  }));
  useEffect(() => {
    /** @type {{at: number, overview: Overview}[]} */
    let samples = [];
    /** @type {number | undefined} */
    let timer;
    let asking = false;
    let ended = false;

    const ask = async () => {
      if (asking || ended || document.visibilityState === 'hidden') return;
      asking = true;
      try {
        const overview = await api.overview();
        const at = performance.now();
        const last = samples[samples.length - 1];
        // After a pause or a restart of the server the older counters say nothing about now.
        const paused = last && at - last.at > 5 * INTERVAL_MS;
        if (paused || last?.overview.broker?.started_ms !== overview.broker?.started_ms) samples = [];
        samples = [...samples, {at, overview}].slice(-WINDOW - 1);
        const {rates, topicRates} = measure(samples);
        setLive((before) => ({
          overview, error: null, rates, topicRates, history: samples.length > 1 ? [...before.history, rates].slice(-HISTORY) : before.history,
        }));
      } catch (cause) {
        const silent = cause instanceof TypeError || cause instanceof DOMException;
        const error = silent ? 'The server does not answer' : `The server has a problem (${/** @type {Error} */ (cause).message})`;
        setLive((before) => ({...before, error}));
      }
      asking = false;
      clearTimeout(timer);
      timer = setTimeout(ask, INTERVAL_MS);
    };

    document.addEventListener('visibilitychange', ask);
    ask();
    return () => {
      ended = true;
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', ask);
    };
  }, []);
  return live;
}

/** @param {{at: number, overview: Overview}[]} samples oldest first */
function measure(samples) {
  const first = samples[0];
  const last = samples[samples.length - 1];
  const seconds = (last.at - first.at) / 1000;
  /** @param {number} now @param {number} before */
  const per = (now, before) => (seconds > 0 ? Math.max(0, now - before) / seconds : 0);
  const rates = {
    in: per(last.overview.broker?.messages_in ?? 0, first.overview.broker?.messages_in ?? 0),
    out: per(last.overview.broker?.messages_out ?? 0, first.overview.broker?.messages_out ?? 0),
  };
  const before = new Map(first.overview.topics.map((topic) => [topic.name, topic.messages_in]));
  const topicRates = new Map(last.overview.topics.map(
    (topic) => [topic.name, per(topic.messages_in, before.get(topic.name) ?? topic.messages_in)],
  ));
  return {rates, topicRates};
}

/**
 * Reads something again whenever `tick` changes; keeps the last answer while the next is on its way.
 * @template T
 * @param {() => Promise<T>} load
 * @param {unknown} tick
 * @returns {{value: T | null, error: string | null}}
 */
export function useFresh(load, tick) {
  const [state, setState] = useState(/** @type {{value: T | null, error: string | null}} */ ({
    value: null, error: null,
  }));
  const asking = useRef(false);
  const gone = useRef(false);
  useEffect(() => () => { gone.current = true; }, []);
  useEffect(() => {
    if (asking.current) return;
    asking.current = true;
    load().then(
      (value) => { if (!gone.current) setState({value, error: null}); },
      (cause) => { if (!gone.current) setState((before) => ({...before, error: cause.message})); },
    ).finally(() => { asking.current = false; });
  }, [tick]);
  return state;
}
