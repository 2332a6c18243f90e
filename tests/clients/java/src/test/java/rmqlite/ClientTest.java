package rmqlite;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.junit.jupiter.api.AfterEach;

/** What the tests share: clients that are shut down after each test, and a few ways to read a topic. */
abstract class ClientTest {
    /**
     * Longest wait for what should come at once. It is shorter than the 20 and 30 seconds after which a client looks again by
     * itself, so that a broker that leaves it to them is found out; Apache does now and then, so it gets more.
     */
    static final Duration SOON = Duration.ofSeconds(Server.shared().isApache() ? 60 : 15);

    private static final ExecutorService CLOSER = Executors.newCachedThreadPool(task -> {
        Thread thread = new Thread(task, "closer");
        thread.setDaemon(true);
        return thread;
    });

    private final Deque<AutoCloseable> open = new ArrayDeque<>();

    /** Closes in the background: a 5.x client can take three seconds for it, and no test reuses a name of another. */
    @AfterEach
    void closeAll() {
        while (!open.isEmpty()) {
            AutoCloseable resource = open.pop();
            CLOSER.execute(() -> close(resource));
        }
    }

    /** Closes before it returns, where what is closed must not meet what comes next. */
    void closeAllNow() {
        while (!open.isEmpty()) {
            close(open.pop());
        }
    }

    private static void close(AutoCloseable resource) {
        try {
            resource.close();
        } catch (Exception e) {
            System.err.println("closing after a test: " + e);
        }
    }

    <T extends AutoCloseable> T closing(T resource) {
        open.push(resource);
        return resource;
    }

    /** Tells a client its NameServer and a name of its own. */
    static void introduce(ClientConfig client, Server server, String kind) {
        client.setNamesrvAddr(server.namesrv());
        client.setInstanceName(Names.unique(kind));
        // In the usual 3 s a cold JVM on a busy machine has not always read the answer.
        client.setMqClientApiTimeout(10_000);
    }

    DefaultMQProducer producer(Server server) throws MQClientException {
        DefaultMQProducer producer = newProducer(server);
        producer.start();
        return producer;
    }

    DefaultMQProducer newProducer(Server server) {
        DefaultMQProducer producer = new DefaultMQProducer(Names.unique("pg"));
        introduce(producer, server, "p");
        producer.setSendMsgTimeout(10_000);
        closing(producer::shutdown);
        return producer;
    }

    /** A push consumer that is not started yet and begins at the first message. */
    DefaultMQPushConsumer newPushConsumer(Server server, String group) {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        introduce(consumer, server, "c");
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setConsumeThreadMin(2);
        consumer.setConsumeThreadMax(2);
        closing(consumer::shutdown);
        return consumer;
    }

    /** A started push consumer of one topic whose messages are collected. */
    Received consume(Server server, String group, String topic, String tags) throws MQClientException {
        DefaultMQPushConsumer consumer = newPushConsumer(server, group);
        consumer.subscribe(topic, tags);
        Received received = new Received(consumer);
        consumer.start();
        return received;
    }

    DefaultMQPullConsumer pullConsumer(Server server, String group) throws MQClientException {
        DefaultMQPullConsumer consumer = new DefaultMQPullConsumer(group);
        introduce(consumer, server, "pull");
        closing(consumer::shutdown);
        consumer.start();
        return consumer;
    }

    DefaultLitePullConsumer newLitePullConsumer(Server server, String group) {
        DefaultLitePullConsumer consumer = new DefaultLitePullConsumer(group);
        introduce(consumer, server, "lite");
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        closing(consumer::shutdown);
        return consumer;
    }

    /** Every message that a queue holds from an offset on. */
    static List<MessageExt> read(DefaultMQPullConsumer consumer, MessageQueue queue, long from) throws Exception {
        List<MessageExt> all = new ArrayList<>();
        long next = from;
        for (;;) {
            PullResult result = consumer.pull(queue, "*", next, 32, 10_000);
            if (result.getPullStatus() != PullStatus.FOUND) {
                return all;
            }
            all.addAll(result.getMsgFoundList());
            next = result.getNextBeginOffset();
        }
    }

    /** The body of every message in a topic, as text. */
    Set<String> readAll(Server server, String topic) throws Exception {
        DefaultMQPullConsumer consumer = pullConsumer(server, Names.unique("reader"));
        Set<String> bodies = new HashSet<>();
        for (MessageQueue queue : consumer.fetchSubscribeMessageQueues(topic)) {
            for (MessageExt message : read(consumer, queue, consumer.minOffset(queue))) {
                bodies.add(text(message));
            }
        }
        return bodies;
    }

    static Message message(String topic, String body) {
        return new Message(topic, body.getBytes(StandardCharsets.UTF_8));
    }

    static Message message(String topic, String tag, String body) {
        return new Message(topic, tag, body.getBytes(StandardCharsets.UTF_8));
    }

    static String text(Message message) {
        return Received.text(message);
    }
}
