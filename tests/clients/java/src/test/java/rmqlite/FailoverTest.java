package rmqlite;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.junit.jupiter.api.Test;

/** Two masters with a slave each and two NameServers, of which one after the other dies: nobody loses an acknowledged message. */
class FailoverTest extends ClientTest {
    private static final String A = "broker-a";
    private static final String B = "broker-b";
    private static final int QUEUES = 4;
    private static final Duration OFTEN = Duration.ofSeconds(1);
    private static final long PAUSE_NS = 2_000_000;

    /** A topic on both masters, known to both slaves. */
    private static String createTopic(TwoMasters servers) {
        String topic = Names.unique("failover");
        for (Server master : List.of(servers.masterA, servers.masterB)) {
            Admin.of(master).createTopic(master, topic, QUEUES);
        }
        servers.slaveA.knows(topic);
        servers.slaveB.knows(topic);
        Until.holds("the route leads to both masters", SOON,
            () -> Admin.of(servers.masterA).api.examineTopicRouteInfo(topic).getQueueDatas().size() == 2);
        return topic;
    }

    private Received consume(TwoMasters servers, String group, String topic) throws Exception {
        DefaultMQPushConsumer consumer = newPushConsumer(servers.masterA, group);
        // Usually 30 s: how long a consumer goes on asking for a master that is dead.
        consumer.setPollNameServerInterval((int) OFTEN.toMillis());
        consumer.subscribe(topic, "*");
        Received received = new Received(consumer);
        consumer.start();
        return received;
    }

    /** Two producers that send until they are told to stop, whatever happens. */
    private final class Load {
        /** Bodies that a master and its slave have. */
        final Set<String> onBoth = ConcurrentHashMap.newKeySet();
        /** Bodies that a master has; its slave may not. */
        final Set<String> stored = ConcurrentHashMap.newKeySet();
        private final Map<String, AtomicInteger> onBothBy = new ConcurrentHashMap<>();
        private final AtomicBoolean over = new AtomicBoolean();
        private final List<Future<?>> senders = new ArrayList<>();

        Load(TwoMasters servers, String topic) throws Exception {
            ExecutorService threads = Executors.newFixedThreadPool(2);
            closing(threads::shutdownNow);
            for (String name : List.of("s0-", "s1-")) {
                DefaultMQProducer producer = newProducer(servers.masterA);
                producer.setSendMsgTimeout(5_000);
                producer.setPollNameServerInterval((int) OFTEN.toMillis());
                producer.start();
                senders.add(threads.submit(() -> {
                    for (int i = 0; !over.get(); i++) {
                        send(producer, topic, name + i);
                        LockSupport.parkNanos(PAUSE_NS);
                    }
                }));
            }
        }

        private void send(DefaultMQProducer producer, String topic, String body) {
            SendResult result;
            try {
                result = producer.send(message(topic, body));
            } catch (Exception notAcknowledged) {
                return;
            }
            if (result.getSendStatus() == SendStatus.SEND_OK) {
                onBoth.add(body);
                onBothBy.computeIfAbsent(result.getMessageQueue().getBrokerName(), name -> new AtomicInteger()).incrementAndGet();
            } else {
                stored.add(body);
            }
        }

        /** Waits until so many more messages are acknowledged by a master and its slave. */
        void awaitMore(int count, String brokerName) {
            AtomicInteger counted = onBothBy.computeIfAbsent(brokerName, name -> new AtomicInteger());
            int wanted = counted.get() + count;
            Until.holds(count + " more messages are acknowledged by " + brokerName, SOON.plusSeconds(15), () -> counted.get() >= wanted);
        }

        void stop() throws Exception {
            over.set(true);
            for (Future<?> sender : senders) {
                sender.get();
            }
        }
    }

    private static long ask(Server broker, int code, Object... fields) throws Exception {
        var answer = Raw.once(broker.broker(), code, fields);
        return answer.getCode() == 0 ? Long.parseLong(answer.getExtFields().get("offset")) : -answer.getCode();
    }

    private static List<Long> ends(Server broker, String topic) throws Exception {
        List<Long> ends = new ArrayList<>();
        for (int queue = 0; queue < QUEUES; queue++) {
            ends.add(ask(broker, Raw.GET_MAX_OFFSET, "topic", topic, "queueId", queue));
        }
        return ends;
    }

    private static List<Long> committed(Server broker, String group, String topic) throws Exception {
        List<Long> offsets = new ArrayList<>();
        for (int queue = 0; queue < QUEUES; queue++) {
            offsets.add(ask(broker, Raw.QUERY_CONSUMER_OFFSET, "consumerGroup", group, "topic", topic, "queueId", queue));
        }
        return offsets;
    }

    /** Waits until a group's offsets on the slave are behind its last messages. */
    private static void awaitCommitted(Received received, Server slave, String topic) throws Exception {
        List<Long> ends = ends(slave, topic);
        Until.holds("the offsets on the slave are " + ends, SOON, () -> {
            received.consumer.getDefaultMQPushConsumerImpl().persistConsumerOffset();
            return committed(slave, received.consumer.getConsumerGroup(), topic).equals(ends);
        });
    }

    /** Messages of a broker that came although their place is before these offsets. */
    private static List<String> before(List<Long> offsets, String brokerName, Collection<MessageExt> came) {
        List<String> found = new ArrayList<>();
        for (MessageExt message : came) {
            if (message.getBrokerName().equals(brokerName) && message.getQueueOffset() < offsets.get(message.getQueueId())) {
                found.add(text(message) + " at " + message.getQueueId() + "/" + message.getQueueOffset());
            }
        }
        return found;
    }

    /**
     * A master is killed: what it acknowledged is read from its slave, and producers go to the other master. It comes back:
     * producers use it again, and what groups consumed from the slave meanwhile is consumed.
     */
    @Test
    void aMasterDiesAndComesBack() throws Exception {
        TwoMasters servers = closing(new TwoMasters());
        String topic = createTopic(servers);
        Received live = consume(servers, Names.unique("live"), topic);
        Load load = new Load(servers, topic);
        load.awaitMore(100, A);
        load.awaitMore(100, B);
        live.awaitAll(new HashSet<>(load.onBoth), SOON);
        live.consumer.suspend();
        load.awaitMore(100, A);

        servers.masterA.kill9();
        load.awaitMore(100, B);
        live.consumer.resume();
        Received late = consume(servers, Names.unique("late"), topic);
        Set<String> acknowledged = new TreeSet<>(load.onBoth);
        late.awaitAll(acknowledged, SOON.plusSeconds(20));
        live.awaitAll(acknowledged, SOON.plusSeconds(20));
        awaitCommitted(late, servers.slaveA, topic);
        awaitCommitted(live, servers.slaveA, topic);
        List<Long> consumed = ends(servers.slaveA, topic);
        late.consumer.shutdown();
        int liveBefore = live.messages().size();

        servers.masterA.startAgain();
        servers.masterA.awaitSlaves(1);
        load.awaitMore(100, A);
        Until.holds("the master knows what the group consumed from its slave", SOON,
            () -> committed(servers.masterA, late.consumer.getConsumerGroup(), topic).equals(consumed));
        Received again = consume(servers, late.consumer.getConsumerGroup(), topic);
        load.stop();
        acknowledged = new TreeSet<>(load.onBoth);
        acknowledged.addAll(load.stored);
        Received.awaitAll(acknowledged, SOON.plusSeconds(20), late, again);
        live.awaitAll(acknowledged, SOON.plusSeconds(20));
        assertEquals(List.of(), before(consumed, A, again.messages()), "consumed from the slave, and delivered by the master again");
        List<MessageExt> liveAfter = live.messages().subList(liveBefore, live.messages().size());
        assertEquals(List.of(), before(consumed, A, liveAfter), "consumed from the slave, and delivered by the master again");
        assertEquals(ends(servers.masterA, topic), ends(servers.slaveA, topic));
    }

    /** A slave stands still: sends wait for it and say so. It dies: sends say that there is none. It comes back: all is well. */
    @Test
    void aSlaveDiesAndComesBack() throws Exception {
        TwoMasters servers = closing(new TwoMasters());
        String topic = createTopic(servers);
        DefaultMQProducer producer = producer(servers.masterA);
        Map<String, MessageQueue> queues = new HashMap<>();
        producer.fetchPublishMessageQueues(topic).forEach(queue -> queues.put(queue.getBrokerName(), queue));
        assertEquals(SendStatus.SEND_OK, producer.send(message(topic, "all are there"), queues.get(A)).getSendStatus());

        servers.slaveA.signal("STOP");
        assertEquals(SendStatus.FLUSH_SLAVE_TIMEOUT, producer.send(message(topic, "it stands"), queues.get(A)).getSendStatus());
        servers.slaveA.signal("CONT");
        Until.holds("a send is acknowledged by both again", SOON,
            () -> producer.send(message(topic, "it goes"), queues.get(A)).getSendStatus() == SendStatus.SEND_OK);

        servers.slaveA.kill9();
        servers.masterA.awaitSlaves(0);
        assertEquals(SendStatus.SLAVE_NOT_AVAILABLE, producer.send(message(topic, "it is dead"), queues.get(A)).getSendStatus());
        assertEquals(SendStatus.SEND_OK, producer.send(message(topic, "the other pair"), queues.get(B)).getSendStatus());
        servers.slaveA.startAgain();
        Until.holds("a send is acknowledged by both again", SOON,
            () -> producer.send(message(topic, "it is back"), queues.get(A)).getSendStatus() == SendStatus.SEND_OK);
        Until.holds("the slave has built all queues", SOON, () -> ends(servers.masterA, topic).equals(ends(servers.slaveA, topic)));
    }

    /** Each NameServer in turn is killed: clients that live go on, new ones start, and a new topic is found. */
    @Test
    void aNameServerDies() throws Exception {
        TwoMasters servers = closing(new TwoMasters());
        String topic = createTopic(servers);
        Received received = consume(servers, Names.unique("g"), topic);
        DefaultMQProducer producer = producer(servers.masterA);
        producer.send(message(topic, "before"));
        List<String> sent = new ArrayList<>();
        for (Server namesrv : servers.namesrvs) {
            namesrv.kill9();
            String fresh = createTopic(servers);
            // A client asks one NameServer at a time, so its first question may meet the dead one, and then it does not start.
            AtomicReference<Received> starting = new AtomicReference<>();
            Until.holds("a new consumer starts", SOON, () -> {
                starting.set(consume(servers, Names.unique("g"), fresh));
                return true;
            });
            Received started = starting.get();
            DefaultMQProducer other = producer(servers.masterA);
            Until.holds("a new producer sends", SOON, () -> other.send(message(fresh, "first")).getSendStatus() == SendStatus.SEND_OK);
            for (int i = 0; i < 20; i++) {
                sent.add("m" + sent.size());
                assertEquals(SendStatus.SEND_OK, producer.send(message(topic, sent.get(sent.size() - 1))).getSendStatus());
                assertEquals(SendStatus.SEND_OK, other.send(message(fresh, "fresh" + i)).getSendStatus());
            }
            received.awaitAll(sent, SOON.plusSeconds(20));
            started.awaitAll(Set.of("fresh0", "fresh19"), SOON.plusSeconds(20));
            namesrv.startAgain();
            Until.holds("all brokers are at the NameServer again", SOON, () -> servers.brokersAt(namesrv) == 4);
        }
    }
}
