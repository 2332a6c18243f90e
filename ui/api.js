// The part of /api/v1 that this page reads. Shapes as in /api/v1/openapi.json.

/** @typedef {{version: string, now_ms: number, namesrv: string | null}} ServerState */
/** @typedef {{path: string, log_bytes: number, flush_behind_bytes: number, dispatch_behind_bytes: number,
 *   disk_total_bytes: number, disk_free_bytes: number, oldest_message_ms: number | null}} StoreState */
/** @typedef {{cluster: string, name: string, id: number, address: string, started_ms: number,
 *   accepts_messages: boolean, refusal: string | null, producers: number, consumers: number, held_pulls: number,
 *   messages_in: number, messages_out: number, bytes_in: number, bytes_out: number, store: StoreState}} BrokerState */
/** @typedef {{cluster: string, name: string, id: number | null, address: string, silent_ms: number}} RegisteredBroker */
/** @typedef {'normal' | 'retry' | 'dead_letter' | 'system'} TopicKind */
/** @typedef {{name: string, kind: TopicKind, message_type: string, order: boolean,
 *   readable: boolean, writable: boolean, read_queues: number, write_queues: number, messages: number,
 *   messages_in: number}} Topic */
/** @typedef {{queue_id: number, min_offset: number, max_offset: number, messages: number,
 *   last_stored_ms: number | null}} Queue */
/** @typedef {{group: string, online: boolean, lag: number | null}} Reader */
/** @typedef {Topic & {queues: Queue[], groups: Reader[]}} TopicDetail */
/** @typedef {{topic: string, kind: TopicKind, subscription: string | null, lag: number | null}} GroupTopic */
/** @typedef {{name: string, system: boolean, online: boolean, members: number, consume_type: string | null,
 *   message_model: string | null, lag: number | null, dead_letters: number, topics: GroupTopic[]}} Group */
/** @typedef {{client_id: string, address: string, language: string, version: string, last_heard_ms: number}} Member */
/** @typedef {{topic: string, queue_id: number, min_offset: number, max_offset: number, committed: number | null,
 *   lag: number | null}} GroupQueue */
/** @typedef {Group & {clients: Member[], queues: GroupQueue[]}} GroupDetail */
/** @typedef {{topic: string, group: string, messages: number, open: number, last_stored_ms: number | null}} DeadLetters */
/** @typedef {{group: string, resent: number, open: number, problem?: string}} Resent */
/** @typedef {{at_ms: number, what: string, topic: string, queue_id: number, queue_offset: number, group: string | null,
 *   client: string | null, due_ms: number | null, times: number | null}} Step */
/** @typedef {{id: string, topic: string, steps: Step[]}} Timeline */
/** @typedef {{server: ServerState, broker: BrokerState | null, brokers: RegisteredBroker[], topics: Topic[],
 *   groups: Group[], dead_letters: DeadLetters[]}} Overview */

/**
 * Asks for one resource, or for something to be done; throws an Error whose message is fit for a person.
 * @template T
 * @param {string} path below /api/v1/
 * @param {RequestInit} how
 * @returns {Promise<T>}
 */
async function ask(path, how) {
  const answer = await fetch(`/api/v1/${path}`, how);
  if (answer.ok) return answer.json();
  const problem = await answer.json().catch(() => ({}));
  throw new Error(problem.detail ?? `the server answers ${answer.status}`);
}

/** @template T @param {string} path @returns {Promise<T>} */
const read = (path) => ask(path, {signal: AbortSignal.timeout(5000), cache: 'no-store'});

/** @returns {Promise<Overview>} */
export const overview = () => read('overview');

/** @param {string} name @returns {Promise<TopicDetail>} */
export const topic = (name) => read(`topics/${encodeURIComponent(name)}`);

/** @param {string} name @returns {Promise<GroupDetail>} */
export const group = (name) => read(`groups/${encodeURIComponent(name)}`);

/** @param {string} key a key or an id @returns {Promise<Timeline[]>} */
export const timeline = (key) => read(`timeline?key=${encodeURIComponent(key)}`);

/** Sends the open dead letters of a group to where they came from. @param {string} group @returns {Promise<Resent>} */
export const resend = (group) => ask(`dead-letters/${encodeURIComponent(group)}/resend`,
  {method: 'POST', headers: {'Content-Type': 'application/json'}, body: '{}'});
