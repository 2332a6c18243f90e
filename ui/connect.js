// How to connect: shown in full while nobody has, and on demand later.

import {useState} from 'preact/hooks';
import {Copy, html} from './parts.js';

/** @type {[string, (address: string) => string][]} */
const CLIENTS = [
  ['Java', (address) => `DefaultMQProducer producer = new DefaultMQProducer("my-group");
producer.setNamesrvAddr("${address}");
producer.start();
producer.send(new Message("my-topic", "hello".getBytes()));`],
  ['Spring', (address) => `# application.properties
rocketmq.name-server=${address}
rocketmq.producer.group=my-group`],
  ['Go', (address) => `p, _ := rocketmq.NewProducer(producer.WithNameServer([]string{"${address}"}))
p.Start()
p.SendSync(context.Background(), primitive.NewMessage("my-topic", []byte("hello")))`],
  ['mqadmin', (address) => `mqadmin sendMessage -n ${address} -t my-topic -p hello
mqadmin topicList -n ${address}`],
];

/** @param {{address: string, first: boolean}} props */
export function Connect({address, first}) {
  const [chosen, setChosen] = useState(0);
  const move = (/** @type {KeyboardEvent} */ event) => {
    const step = event.key === 'ArrowRight' ? 1 : event.key === 'ArrowLeft' ? -1 : 0;
    if (!step) return;
    const next = (chosen + step + CLIENTS.length) % CLIENTS.length;
    setChosen(next);
    document.getElementById(`client-${next}`)?.focus();
  };
  const text = CLIENTS[chosen][1](address);
  return html`<section class="connect" aria-labelledby="connect">
    <h2 id="connect">${first ? 'Ready. Nothing has been sent yet.' : 'Connect'}</h2>
    <p>${first ? 'Point any RocketMQ client at this address; topics make themselves at the first message.'
      : 'Any RocketMQ client connects with this address.'}</p>
    <${Copy} text=${`NAMESRV_ADDR=${address}`} />
    <div class="tabs" role="tablist" aria-label="Client" onKeyDown=${move}>
      ${CLIENTS.map(([name], at) => html`<button type="button" role="tab" key=${name} id=${`client-${at}`}
        aria-selected=${at === chosen} aria-controls="client-text" tabindex=${at === chosen ? 0 : -1}
        onClick=${() => setChosen(at)}>${name}</button>`)}
    </div>
    <pre id="client-text" role="tabpanel" aria-labelledby=${`client-${chosen}`} tabindex="0">${text}</pre>
  </section>`;
}
