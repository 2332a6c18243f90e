// The console in a real browser, against a real server: what a person would see and do.

import assert from 'node:assert/strict';
import {execFile, spawn} from 'node:child_process';
import {copyFile, mkdtemp, mkdir, readFile, rm} from 'node:fs/promises';
import {createServer} from 'node:http';
import {connect} from 'node:net';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {after, before, test} from 'node:test';
import {promisify} from 'node:util';
import {chromium} from 'playwright-core';

const BIN = process.env.RMQ_LITE_BIN;
const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync'];
/** Reached only when something is broken. */
const LIMIT_MS = 15_000;

const run = promisify(execFile);
let place;
let server;
let ports;
let context;
const complaints = [];

/** Starts the executable and waits for its ports file's JSON on stdout. */
async function start() {
  const file = join(place, 'ports.json');
  server = spawn(BIN, ['start', '--ephemeral', '--namesrv-port', '0', '--broker-port', '0', '--web-port', '0',
    '--ports-file', file, '--json'], {stdio: ['ignore', 'pipe', 'inherit'], env: {...process.env, TMPDIR: place}});
  await new Promise((resolve, reject) => {
    server.stdout.once('data', resolve);
    server.once('exit', (code) => reject(new Error(`the server ended with ${code}`)));
  });
  server.removeAllListeners('exit');
  ports = JSON.parse(await readFile(file, 'utf8'));
}

async function stop() {
  if (server.exitCode !== null) return server.exitCode;
  const ended = new Promise((resolve) => server.once('exit', resolve));
  server.kill('SIGTERM');
  return ended;
}

const send = (topic, messages) => run(BIN, ['bench', 'producer', '-n', ports.namesrv, '--topic', topic,
  '--messages', String(messages), '--connections', '1', '--json']);

/** Opens a connection to the broker and returns how to send requests on it; answers are only waited for. */
async function client() {
  const [host, port] = ports.broker.split(':');
  const socket = connect(Number(port), host);
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
  const call = (code, extFields, body = '') => {
    const header = Buffer.from(JSON.stringify({code, language: 'JAVA', version: 479, opaque: 1, flag: 0, extFields}));
    const lengths = Buffer.alloc(8);
    lengths.writeUInt32BE(4 + header.length + Buffer.byteLength(body));
    lengths.writeUInt32BE(header.length, 4);
    socket.write(Buffer.concat([lengths, header, Buffer.from(body)]));
    return new Promise((resolve) => socket.once('data', resolve));
  };
  const group = ([groupName, topic]) => ({
    groupName, consumeType: 'CONSUME_PASSIVELY', messageModel: 'CLUSTERING', consumeFromWhere: 'CONSUME_FROM_FIRST_OFFSET',
    unitMode: false, subscriptionDataSet: [{topic, subString: '*', subVersion: 1, expressionType: 'TAG', tagsSet: [], codeSet: []}],
  });
  /** Says who it is: a member of these groups, each with its topic. */
  const subscribe = (groups) => call(34, {}, JSON.stringify({
    clientID: 'desk@1', producerDataSet: [], consumerDataSet: Object.entries(groups).map(group),
  }));
  return {call, subscribe, close: () => socket.destroy()};
}

async function open(options = {}) {
  const page = await context.newPage();
  if (options.width) await page.setViewportSize({width: options.width, height: 800});
  if (options.scheme) await page.emulateMedia({colorScheme: options.scheme});
  page.setDefaultTimeout(LIMIT_MS);
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('console', (line) => { if (line.type() === 'error') complaints.push(line.text()); });
  await page.goto(ports.web);
  await page.locator('.tools').waitFor();
  return page;
}

async function shoot(page, name) {
  const file = join(place, `${name}.png`);
  await page.screenshot({path: file, fullPage: true});
  if (process.env.KEEP_SHOTS) {
    await mkdir(process.env.KEEP_SHOTS, {recursive: true});
    await copyFile(file, join(process.env.KEEP_SHOTS, `${name}.png`));
  }
}

const row = (page, panel, name) =>
  page.locator(`section[aria-labelledby="${panel}"] .main > tbody > tr`, {has: page.getByRole('button', {name})});

before(async () => {
  place = await mkdtemp(join(tmpdir(), 'rmq-lite-ui-'));
  await start();
  context = await chromium.launchPersistentContext(join(place, 'profile'), {
    executablePath: process.env.CHROMIUM, headless: true, args: FLAGS, viewport: {width: 1280, height: 800},
  });
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
});

after(async () => {
  await context?.close();
  if (server) await stop();
  await rm(place, {recursive: true, force: true});
});

test('an empty server shows how to connect', async () => {
  const page = await open();
  await page.getByRole('heading', {name: 'Ready. Nothing has been sent yet.'}).waitFor();
  await page.getByRole('button', {name: `Copy NAMESRV_ADDR=${ports.namesrv}`}).click();
  await page.getByText('copied').waitFor();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), `NAMESRV_ADDR=${ports.namesrv}`);
  await page.getByRole('tab', {name: 'Java'}).focus();
  await page.keyboard.press('ArrowRight');
  await page.getByRole('tabpanel', {name: 'Spring'}).getByText(`rocketmq.name-server=${ports.namesrv}`).waitFor();
  assert.equal(await page.getByText('SCHEDULE_TOPIC_XXXX').count(), 0, 'system topics are hidden');
  await page.getByLabel('Show system').check();
  await page.getByRole('button', {name: 'SCHEDULE_TOPIC_XXXX'}).waitFor();
  await shoot(page, 'empty');
  await page.close();
});

test('every text stands out from its ground, by day and by night', async () => {
  const css = await readFile(new URL('../../ui/style.css', import.meta.url), 'utf8');
  const colours = Object.fromEntries([...css.matchAll(/--([a-z-]+): light-dark\((#\w{6}), (#\w{6})\)/g)]
    .map(([, name, ...both]) => [name, both]));
  const luminance = (colour) => [0.2126, 0.7152, 0.0722].reduce((sum, weight, at) => {
    const part = parseInt(colour.slice(1 + 2 * at, 3 + 2 * at), 16) / 255;
    return sum + weight * (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  }, 0);
  const plain = ['text', 'soft', 'faint', 'link'].flatMap((name) => ['ground', 'sheet', 'raised'].map((ground) => [name, ground]));
  const badges = ['good', 'warn', 'bad', 'info'].map((name) => [name, `${name}-ground`]);
  for (const [name, ground] of [...plain, ...badges]) {
    for (const at of [0, 1]) {
      const [low, high] = [luminance(colours[name][at]), luminance(colours[ground][at])].sort((a, b) => a - b);
      const contrast = (high + 0.05) / (low + 0.05);
      assert.ok(contrast >= 4.5, `${name} on ${ground} has a contrast of ${contrast.toFixed(2)} ${at ? 'by night' : 'by day'}`);
    }
  }
});

test('messages appear without a reload, can be filtered, and open with the keyboard', async () => {
  const page = await open({scheme: 'dark'});
  await send('orders', 1200);
  await send('invoices', 300);
  const orders = row(page, 'topics', 'orders');
  await orders.getByText('1,200', {exact: true}).waitFor();
  await row(page, 'topics', 'invoices').getByText('300', {exact: true}).waitFor();
  assert.equal(await page.getByText('Nothing has been sent yet').count(), 0);

  await page.keyboard.press('/');
  await page.keyboard.type('ord');
  await row(page, 'topics', 'invoices').waitFor({state: 'detached'});
  await page.getByText('1 of 2').waitFor();
  await page.keyboard.press('Escape');
  await row(page, 'topics', 'invoices').waitFor();

  const button = orders.getByRole('button', {name: 'orders'});
  await button.focus();
  await page.keyboard.press('Enter');
  assert.equal(await button.getAttribute('aria-expanded'), 'true');
  const queues = page.locator('tr.detail table').first().locator('tbody tr');
  await queues.first().waitFor();
  const counts = await queues.locator('td:nth-child(4)').allInnerTexts();
  assert.equal(counts.reduce((sum, text) => sum + Number(text.replaceAll(',', '')), 0), 1200);

  await page.locator('section[aria-labelledby="topics"]').getByRole('button', {name: 'Messages'}).click();
  const first = page.locator('section[aria-labelledby="topics"] .main > tbody > tr').first();
  assert.match(await first.innerText(), /orders/);
  await shoot(page, 'messages-dark');
  // What load generators send counts as what it is, in every figure.
  await send('BenchmarkTest', 20);
  await page.locator('.tile', {hasText: 'In'}).getByText('1,520 since start').waitFor();
  await page.locator('.tile', {hasText: 'Messages'}).getByText('1,520', {exact: true}).waitFor();
  await page.close();
});

test('groups show their lag, those who are behind first, and dead letters stand out', async () => {
  const page = await open({scheme: 'light'});
  const broker = await client();
  await broker.subscribe({billing: 'orders', archive: 'invoices'});
  for (const queueId of ['0', '1', '2', '3']) {
    await broker.call(15, {consumerGroup: 'billing', topic: 'orders', queueId, commitOffset: '290'});
    await broker.call(15, {consumerGroup: 'archive', topic: 'invoices', queueId, commitOffset: '75'});
  }
  await send('%DLQ%billing', 7);
  const billing = row(page, 'groups', 'billing');
  await billing.getByText('40', {exact: true}).waitFor();
  await billing.getByText('7 dead').waitFor();
  assert.match(await page.locator('section[aria-labelledby="groups"] .main > tbody > tr').first().innerText(), /billing/);
  await page.locator('section[aria-labelledby="dead"] .main > tbody > tr', {hasText: 'billing'}).locator('.lag').getByText('7', {exact: true}).waitFor();
  await page.locator('.tile', {hasText: 'Lag'}).getByText('1 group is behind').waitFor();
  await billing.getByRole('button').click();
  await page.locator('tr.detail').getByText('desk@1').waitFor();
  await row(page, 'topics', 'orders').getByRole('button').click();
  await page.locator('section[aria-labelledby="topics"] tr.detail').getByText('billing').waitFor();
  await shoot(page, 'groups');

  await billing.getByRole('img', {name: 'online', exact: true}).waitFor();
  broker.close();
  await billing.getByRole('img', {name: 'offline', exact: true}).waitFor();
  await billing.getByText('offline', {exact: true}).filter({visible: true}).waitFor();
  await page.setViewportSize({width: 420, height: 800});
  await billing.getByText('offline', {exact: true}).filter({visible: true}).waitFor();
  await shoot(page, 'offline-narrow');
  await page.setViewportSize({width: 1280, height: 800});
  await billing.getByText('40', {exact: true}).waitFor();

  // The first message of the log is given up; the seven above came from nowhere.
  const desk = await client();
  await desk.call(36, {offset: '0', group: 'archive', delayLevel: '-1'});
  const dead = (name) => page.locator('section[aria-labelledby="dead"] .main > tbody > tr', {hasText: name});
  await row(page, 'groups', 'archive').getByText('1 dead').waitFor();
  // It asks before it sends; who says no has sent nothing.
  const asked = [];
  page.once('dialog', (dialog) => { asked.push(dialog.message()); return dialog.dismiss(); });
  await dead('archive').getByRole('button', {name: 'Send the open letter of archive again'}).click();
  assert.deepEqual(asked, ['Send the open letter of archive again, to where it came from?']);
  assert.equal(await dead('archive').getByRole('button').isEnabled(), true);
  page.on('dialog', (dialog) => dialog.accept());
  await dead('archive').getByRole('button', {name: 'Send the open letter of archive again'}).click();
  await dead('archive').getByRole('button').waitFor({state: 'detached'});
  await row(page, 'groups', 'archive').getByText('1 dead').waitFor({state: 'detached'});
  await dead('billing').getByRole('button', {name: 'Send the 7 open letters of billing again'}).click();
  await dead('billing').getByText('letter 0 of %DLQ%billing does not say where it came from').waitFor();
  await shoot(page, 'letters');
  desk.close();
  await page.close();
});

test('a message is found by its key, and its steps come as they happen', async () => {
  const page = await open({scheme: 'light'});
  const broker = await client();
  const sent = (queueId, properties) => broker.call(10, {
    producerGroup: 'desk', topic: 'parcels', defaultTopic: 'TBW102', defaultTopicQueueNums: '4', queueId, sysFlag: '0',
    bornTimestamp: String(Date.now()), flag: '0', properties, reconsumeTimes: '0', unitMode: 'false', batch: 'false',
  }, 'hello');
  await page.getByLabel('Find a message').fill('parcel-7');
  await page.keyboard.press('Enter');
  await page.getByText('No message that can still be read has this id or key.').waitFor();
  await sent('2', 'KEYS\u0001parcel-7\u0002');
  const steps = page.locator('section[aria-labelledby="message"] tbody tr');
  await steps.nth(1).getByText('parcels, queue 2 at 0').waitFor();
  await broker.subscribe({shipping: 'parcels'});
  await broker.call(15, {consumerGroup: 'shipping', topic: 'parcels', queueId: '2', commitOffset: '1'});
  await steps.nth(2).getByText('shipping').waitFor();
  assert.deepEqual(await steps.locator('.badge').allInnerTexts(), ['sent', 'stored', 'consumed']);

  await sent('1', 'KEYS\u0001parcel-8\u0002DELAY\u000118\u0002');
  await page.getByLabel('Find a message').fill('parcel-8');
  await page.getByRole('button', {name: 'Find', exact: true}).click();
  await steps.nth(1).getByText(/due .*, in 1 h 59 min|due .*, in 2 h 0 min/).waitFor();
  await shoot(page, 'timeline');
  await page.setViewportSize({width: 400, height: 800});
  const [content, window] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(content <= window, `${content} px of content in ${window} px`);
  await shoot(page, 'timeline-narrow');
  await page.getByRole('button', {name: 'Close', exact: true}).click();
  await steps.first().waitFor({state: 'detached'});
  broker.close();
  await page.close();
});

test('a narrow window needs no sideways scrolling', async () => {
  const page = await open({width: 400, scheme: 'light'});
  await row(page, 'topics', 'orders').getByRole('button', {name: 'orders'}).click();
  await page.locator('tr.detail table').first().waitFor();
  await page.getByRole('button', {name: 'Connect', exact: true}).click();
  const [content, window] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(content <= window, `${content} px of content in ${window} px`);
  await shoot(page, 'narrow');
  await page.close();
});

test('a page of another origin gets nothing', async () => {
  const foreign = createServer((_, answer) => {
    answer.setHeader('Content-Type', 'text/html');
    answer.end('<!doctype html><title>foreign</title>');
  });
  await new Promise((resolve) => foreign.listen(0, '127.0.0.1', resolve));
  const page = await context.newPage();
  await page.goto(`http://127.0.0.1:${foreign.address().port}/`);
  const attempt = (options) => page.evaluate(async ([url, init]) => {
    try {
      const answer = await fetch(url, init);
      return answer.type === 'opaque' ? 'opaque' : answer.status;
    } catch {
      return 'blocked';
    }
  }, [`${ports.web}/api/v1/topics`, options]);
  assert.equal(await attempt({}), 'blocked');
  assert.equal(await attempt({mode: 'no-cors'}), 'blocked');
  assert.equal(await attempt({method: 'POST', headers: {'Content-Type': 'application/json'}, body: '{}'}), 'blocked');
  await page.close();
  foreign.closeAllConnections();
  await new Promise((resolve) => foreign.close(resolve));
});

test('nothing went wrong in the page, and a stopped server is said to be stopped', async () => {
  const page = await open();
  assert.deepEqual(complaints, []);
  assert.equal(await stop(), 0, 'the server stops clean while pages poll');
  await page.getByRole('alert').getByText('The server does not answer').waitFor();
  await shoot(page, 'stopped');
  await page.close();
});
