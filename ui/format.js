// Numbers, sizes and times as people read them.

const whole = new Intl.NumberFormat('en');
const tenths = new Intl.NumberFormat('en', {maximumFractionDigits: 1});
const short = new Intl.NumberFormat('en', {notation: 'compact', maximumSignificantDigits: 3});

/** @param {number} number */
export const count = (number) => whole.format(number);

/** Short beyond a million; for places without room. @param {number} number */
export const brief = (number) => (Math.abs(number) < 1e6 ? whole.format(number) : short.format(number));

/** @param {number} perSecond */
export const rate = (perSecond) => (perSecond < 10 ? tenths.format(perSecond) : brief(Math.round(perSecond)));

/** @param {number} number */
export function bytes(number) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let at = 0;
  while (number >= 1024 && at < units.length - 1) {
    number /= 1024;
    at += 1;
  }
  return `${number < 10 && at > 0 ? tenths.format(number) : whole.format(Math.round(number))} ${units[at]}`;
}

/** @param {number} ms a length of time */
export function span(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} days`;
}

/** @param {number | null} at @param {number} now both in milliseconds since 1970 */
export const ago = (at, now) => (at === null ? '–' : now - at < 1500 ? 'just now' : `${span(now - at)} ago`);

const time = new Intl.DateTimeFormat('en', {hourCycle: 'h23', hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3});
const day = new Intl.DateTimeFormat('en', {month: 'short', day: 'numeric'});

/** The time of day to the millisecond, with the day if it is another one. @param {number} at @param {number} now both in milliseconds since 1970 */
export const clock = (at, now) => (day.format(at) === day.format(now) ? time.format(at) : `${day.format(at)}, ${time.format(at)}`);
