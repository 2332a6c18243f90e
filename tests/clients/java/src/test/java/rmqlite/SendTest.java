package rmqlite;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.junit.jupiter.api.Test;

/** Every way a Java producer sends, and what the broker must refuse. */
class SendTest extends ClientTest {
    private static final int MESSAGE_ILLEGAL = 13;

    private final Server server = Server.shared();

    /** The first send to a topic that nobody created is acknowledged and makes the topic with the producer's four queues. */
    @Test
    void firstSendCreatesTheTopic() throws Exception {
        String topic = Names.unique("auto");
        SendResult sent = producer(server).send(message(topic, "hello"));
        assertEquals(SendStatus.SEND_OK, sent.getSendStatus());
        assertEquals(0, sent.getQueueOffset());
        assertEquals(4, Admin.of(server).api.examineTopicRouteInfo(topic).getQueueDatas().get(0).getWriteQueueNums());
        assertEquals(Set.of("hello"), readAll(server, topic));
    }

    /** Synchronous sends to one queue get the queue offsets 0, 1, 2, … and ids under which the messages are found. */
    @Test
    void syncSendsGetConsecutiveOffsets() throws Exception {
        String topic = Admin.of(server).createTopic(server, Names.unique("sync"), 2);
        DefaultMQProducer producer = producer(server);
        MessageQueue queue = producer.fetchPublishMessageQueues(topic).get(0);
        for (int i = 0; i < 20; i++) {
            SendResult sent = producer.send(message(topic, "m" + i), queue);
            assertEquals(SendStatus.SEND_OK, sent.getSendStatus());
            assertEquals(queue, sent.getMessageQueue());
            assertEquals(i, sent.getQueueOffset());
            assertEquals("m" + i, text(producer.viewMessage(topic, sent.getOffsetMsgId())), "found by its offset id");
        }
    }

    /** Every asynchronous send calls back with SEND_OK once, and all messages are stored. */
    @Test
    void asyncSendsAllCallBack() throws Exception {
        String topic = Admin.of(server).createTopic(server, Names.unique("async"), 4);
        DefaultMQProducer producer = producer(server);
        int count = 200;
        CountDownLatch answered = new CountDownLatch(count);
        List<Throwable> failures = Collections.synchronizedList(new ArrayList<>());
        Set<String> ids = Collections.synchronizedSet(new HashSet<>());
        Set<String> bodies = new HashSet<>();
        for (int i = 0; i < count; i++) {
            bodies.add("m" + i);
            producer.send(message(topic, "m" + i), new SendCallback() {
                @Override
                public void onSuccess(SendResult sent) {
                    ids.add(sent.getOffsetMsgId());
                    answered.countDown();
                }

                @Override
                public void onException(Throwable e) {
                    failures.add(e);
                    answered.countDown();
                }
            });
        }
        assertTrue(answered.await(30, TimeUnit.SECONDS), "all are answered");
        if (failures.toString().contains("broker busy")) {
            Oracle.apacheFails(server, "it refuses sends that wait for 200 ms on a busy machine");
        }
        assertEquals(List.of(), failures);
        assertEquals(count, ids.size(), "each has an id of its own");
        assertEquals(bodies, readAll(server, topic));
    }

    /** One-way messages are stored although nobody waits for an answer. */
    @Test
    void onewaySendsAreStored() throws Exception {
        String topic = Admin.of(server).createTopic(server, Names.unique("oneway"), 1);
        DefaultMQProducer producer = producer(server);
        Set<String> bodies = new HashSet<>();
        for (int i = 0; i < 50; i++) {
            bodies.add("m" + i);
            producer.sendOneway(message(topic, "m" + i));
        }
        Until.holds("all are stored", SOON, () -> Admin.of(server).messages(topic) == 50);
        assertEquals(bodies, readAll(server, topic));
    }

    /** A batch is stored as single messages with consecutive offsets, properties and order kept. */
    @Test
    void batchIsStoredAsSingleMessages() throws Exception {
        String topic = Admin.of(server).createTopic(server, Names.unique("batch"), 1);
        DefaultMQProducer producer = producer(server);
        producer.send(message(topic, "before"));
        List<Message> batch = new ArrayList<>();
        for (int i = 0; i < 30; i++) {
            Message message = message(topic, "T" + i % 3, "b" + i);
            message.putUserProperty("n", Integer.toString(i));
            batch.add(message);
        }
        SendResult sent = producer.send(batch);
        assertEquals(SendStatus.SEND_OK, sent.getSendStatus());
        assertEquals(1, sent.getQueueOffset(), "offset of the first of the batch");
        assertEquals(30, sent.getMsgId().split(",").length, "an id for each message");
        assertEquals(30, sent.getOffsetMsgId().split(",").length, "a stored id for each message");
        assertEquals(31, producer.send(message(topic, "after")).getQueueOffset());

        DefaultMQPullConsumer reader = pullConsumer(server, Names.unique("reader"));
        List<MessageExt> stored = read(reader, sent.getMessageQueue(), 1);
        assertEquals(31, stored.size());
        for (int i = 0; i < 30; i++) {
            assertEquals("b" + i, text(stored.get(i)));
            assertEquals(1 + i, stored.get(i).getQueueOffset());
            assertEquals("T" + i % 3, stored.get(i).getTags());
            assertEquals(Integer.toString(i), stored.get(i).getUserProperty("n"));
        }
    }

    /** A message of 1 MiB that cannot be compressed comes back byte for byte. */
    @Test
    void oneMebibyteComesBackWhole() throws Exception {
        String topic = Admin.of(server).createTopic(server, Names.unique("big"), 1);
        byte[] body = new byte[1 << 20];
        new Random(1).nextBytes(body);
        SendResult sent = producer(server).send(new Message(topic, body));
        assertEquals(SendStatus.SEND_OK, sent.getSendStatus());
        DefaultMQPullConsumer reader = pullConsumer(server, Names.unique("reader"));
        assertArrayEquals(body, read(reader, sent.getMessageQueue(), 0).get(0).getBody());
    }

    /** A body that the client compresses comes back as it was. */
    @Test
    void compressedBodyComesBackWhole() throws Exception {
        String topic = Admin.of(server).createTopic(server, Names.unique("zip"), 1);
        byte[] body = new byte[200_000];
        SendResult sent = producer(server).send(new Message(topic, body));
        DefaultMQPullConsumer reader = pullConsumer(server, Names.unique("reader"));
        MessageExt stored = read(reader, sent.getMessageQueue(), 0).get(0);
        assertArrayEquals(body, stored.getBody());
        assertTrue(stored.getStoreSize() < 10_000, "it was stored compressed");
    }

    /** A message over the broker's limit is refused with MESSAGE_ILLEGAL, and the same producer can go on. */
    @Test
    void messageOverTheLimitIsRefused() throws Exception {
        String topic = Admin.of(server).createTopic(server, Names.unique("huge"), 1);
        DefaultMQProducer producer = newProducer(server);
        producer.setMaxMessageSize(16 << 20);
        producer.setRetryTimesWhenSendFailed(0);
        producer.start();
        byte[] body = new byte[(4 << 20) + 1];
        new Random(2).nextBytes(body);
        MQBrokerException refused = assertThrows(MQBrokerException.class, () -> producer.send(new Message(topic, body)));
        assertEquals(MESSAGE_ILLEGAL, refused.getResponseCode(), refused.getErrorMessage());
        assertEquals(0, producer.send(message(topic, "small")).getQueueOffset(), "nothing of the refused message was stored");
    }

    /** Properties that do not fit their 16-bit length are refused with MESSAGE_ILLEGAL. */
    @Test
    void propertiesOverTheLimitAreRefused() throws Exception {
        String topic = Admin.of(server).createTopic(server, Names.unique("props"), 1);
        DefaultMQProducer producer = newProducer(server);
        producer.setRetryTimesWhenSendFailed(0);
        producer.start();
        Message message = message(topic, "x");
        message.putUserProperty("long", "y".repeat(33_000));
        MQBrokerException refused = assertThrows(MQBrokerException.class, () -> producer.send(message));
        assertEquals(MESSAGE_ILLEGAL, refused.getResponseCode(), refused.getErrorMessage());
        assertEquals(0, producer.send(message(topic, "small")).getQueueOffset(), "nothing of the refused message was stored");
    }

    /** Illegal topic names are refused, at the client for a send and by the broker for a creation, and leave no topic. */
    @Test
    void illegalTopicIsRefused() throws Exception {
        DefaultMQProducer producer = producer(server);
        String longName = Names.unique("t") + "x".repeat(127);
        for (String topic : List.of("a b$c", "", longName)) {
            assertThrows(MQClientException.class, () -> producer.send(message(topic, "x")), topic);
        }
        for (String topic : List.of("a b$c", "../" + Names.unique("evil"), longName)) {
            assertThrows(AssertionError.class, () -> Admin.of(server).createTopic(server, topic, 1), topic);
            assertTrue(!Admin.of(server).api.fetchAllTopicList().getTopicList().contains(topic), topic);
        }
    }

    /** Keys, tags, flag and user properties, also such with separators and Chinese, come back as they were sent. */
    @Test
    void everyAttributeComesBack() throws Exception {
        String topic = Admin.of(server).createTopic(server, Names.unique("attr"), 1);
        Message message = new Message(topic, "TagA", "k1 k2", 7, "订单 body".getBytes("UTF-8"), true);
        message.putUserProperty("city", "杭州");
        message.putUserProperty("dashes", "-a=b;c-");
        long before = System.currentTimeMillis();
        SendResult sent = producer(server).send(message);
        DefaultMQPullConsumer reader = pullConsumer(server, Names.unique("reader"));
        MessageExt stored = read(reader, sent.getMessageQueue(), 0).get(0);
        assertEquals(topic, stored.getTopic());
        assertEquals("订单 body", text(stored));
        assertEquals("TagA", stored.getTags());
        assertEquals("k1 k2", stored.getKeys());
        assertEquals(7, stored.getFlag());
        assertEquals("杭州", stored.getUserProperty("city"));
        assertEquals("-a=b;c-", stored.getUserProperty("dashes"));
        assertEquals(sent.getMsgId(), stored.getMsgId());
        assertEquals(0, stored.getQueueOffset());
        assertEquals(0, stored.getReconsumeTimes());
        assertTrue(stored.getBornTimestamp() >= before && stored.getStoreTimestamp() >= before - 1000, "times are now");
        assertNotNull(stored.getBornHost());
        assertEquals("127.0.0.1", stored.getBornHostString());
    }

    /** A selector decides the queue: equal keys meet in one queue in the order of their sending. */
    @Test
    void selectorDecidesTheQueue() throws Exception {
        String topic = Admin.of(server).createTopic(server, Names.unique("select"), 4);
        DefaultMQProducer producer = producer(server);
        Set<Integer> used = new TreeSet<>();
        for (int i = 0; i < 16; i++) {
            SendResult sent = producer.send(message(topic, "m" + i), (queues, message, key) -> queues.get((Integer) key), i % 4);
            assertEquals(i % 4, sent.getMessageQueue().getQueueId());
            assertEquals(i / 4, sent.getQueueOffset());
            used.add(sent.getMessageQueue().getQueueId());
        }
        assertEquals(Set.of(0, 1, 2, 3), used);
    }

    /** A producer in VIP mode sends to the broker's port - 2, and the message is in the same topic. */
    @Test
    void vipChannelTakesSends() throws Exception {
        String topic = Admin.of(server).createTopic(server, Names.unique("vip"), 1);
        DefaultMQProducer producer = newProducer(server);
        producer.setVipChannelEnabled(true);
        producer.start();
        assertTrue(producer.isSendMessageWithVIPChannel(), "the client does use the port at -2");
        assertEquals(SendStatus.SEND_OK, producer.send(message(topic, "vip")).getSendStatus());
        assertEquals(Set.of("vip"), readAll(server, topic));
    }

    /**
     * With two NameServer addresses, one of them dead, clients send and receive. A 5.x client tries one address for each
     * question and goes to the next for the next one, so its first may fail.
     */
    @Test
    void deadNameServerInTheListDoesNoHarm() throws Exception {
        String both = Server.deadAddress() + ";" + server.namesrv();
        String topic = Names.unique("two_ns");
        DefaultMQProducer producer = newProducer(server);
        producer.setNamesrvAddr(both);
        producer.start();
        Until.holds("a send is acknowledged", SOON,
            () -> producer.send(message(topic, "m")).getSendStatus() == SendStatus.SEND_OK);
        AtomicReference<Received> received = new AtomicReference<>();
        // Each new client begins with either address, and gives the dead one three seconds.
        Until.holds("a consumer starts", Duration.ofSeconds(60), () -> {
            DefaultMQPushConsumer consumer = newPushConsumer(server, Names.unique("g"));
            consumer.setNamesrvAddr(both);
            consumer.subscribe(topic, "*");
            received.set(new Received(consumer));
            consumer.start();
            return true;
        });
        received.get().awaitAll(List.of("m"), Duration.ofSeconds(45));
    }

    /** Two producers of one group in one process both work, and a producer that was shut down sends no more. */
    @Test
    void producersOfOneGroupAreIndependent() throws Exception {
        String topic = Admin.of(server).createTopic(server, Names.unique("pair"), 1);
        DefaultMQProducer first = producer(server);
        DefaultMQProducer second = newProducer(server);
        second.setProducerGroup(first.getProducerGroup());
        second.start();
        assertEquals(0, first.send(message(topic, "a")).getQueueOffset());
        first.shutdown();
        assertEquals(1, second.send(message(topic, "b")).getQueueOffset());
        assertThrows(MQClientException.class, () -> first.send(message(topic, "c")));
    }

    /** A send whose callback fails inside leaves the others their answers. */
    @Test
    void brokenCallbackHarmsNoOther() throws Exception {
        String topic = Admin.of(server).createTopic(server, Names.unique("callback"), 1);
        DefaultMQProducer producer = producer(server);
        AtomicReference<Throwable> failure = new AtomicReference<>();
        CountDownLatch second = new CountDownLatch(1);
        for (String body : List.of("breaks", "works")) {
            producer.send(message(topic, body), new SendCallback() {
                @Override
                public void onSuccess(SendResult sent) {
                    if (body.equals("breaks")) {
                        throw new IllegalStateException("the user's own mistake");
                    }
                    second.countDown();
                }

                @Override
                public void onException(Throwable e) {
                    if (body.equals("works")) {
                        failure.set(e);
                    }
                }
            });
        }
        assertTrue(second.await(15, TimeUnit.SECONDS));
        assertNull(failure.get());
    }
}
