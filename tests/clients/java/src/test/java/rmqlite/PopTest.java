package rmqlite;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Push consumers of 5.x that pop: they share queues, acknowledge single messages, and can be switched back. */
class PopTest extends ClientTest {
    /** The longest that a client may take to ask for its queues again when it was not told to. */
    private static final java.time.Duration SWITCH = SOON.plusSeconds(25);

    @BeforeEach
    void needsFive() {
        Assumptions.assumeTrue(System.getProperty("client.version").startsWith("5"), "this client has no POP");
    }

    private static void mode(Server server, String topic, String group, String mode) {
        Mqadmin.run(server, "setConsumeMode", "-b", server.broker(), "-t", topic, "-g", group, "-m", mode, "-q", "0")
            .says("set consume mode to .* success");
    }

    private DefaultMQPushConsumer popConsumer(Server server, String group, String topic) throws Exception {
        DefaultMQPushConsumer consumer = newPushConsumer(server, group);
        // Only 5.x has it: the server, not the client, says which queues and how.
        DefaultMQPushConsumer.class.getMethod("setClientRebalance", boolean.class).invoke(consumer, false);
        consumer.subscribe(topic, "*");
        return consumer;
    }

    /** Lets time pass in steps until something has happened that may need one step or, as clients work in the background, two. */
    private static void advanceUntil(Server server, String span, String what, java.util.function.BooleanSupplier happened) {
        for (int step = 0; step < 20 && !happened.getAsBoolean(); step++) {
            server.advance(span);
            try {
                Until.holds(what, java.time.Duration.ofSeconds(2), happened::getAsBoolean);
            } catch (AssertionError notYet) {
                continue;
            }
        }
        assertTrue(happened.getAsBoolean(), what);
    }

    private static boolean isPopped(MessageExt message) {
        return message.getProperty("POP_CK") != null;
    }

    private static List<String> send(DefaultMQProducer producer, String topic, String what, int count) throws Exception {
        List<String> bodies = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            producer.send(message(topic, "tag" + i % 2, what + i));
            bodies.add(what + i);
        }
        return bodies;
    }

    /** Two consumers share the only queue of a topic; every message comes to one of them, once, and is not offered again. */
    @Test
    void consumersShareAQueue() throws Exception {
        Server server = closing(Server.own());
        String topic = Admin.of(server).createTopic(server, Names.unique("share"), 1);
        String group = Names.unique("g");
        mode(server, topic, group, "POP");
        List<Received> members = new ArrayList<>();
        for (int i = 0; i < 2; i++) {
            DefaultMQPushConsumer consumer = popConsumer(server, group, topic);
            Received member = new Received(consumer);
            consumer.start();
            members.add(member);
        }
        DefaultMQProducer producer = producer(server);
        List<String> all = new ArrayList<>();
        Until.holds("both get something", SWITCH, () -> {
            List<String> sent = send(producer, topic, "m" + all.size() + "/", 10);
            all.addAll(sent);
            try {
                Received.awaitAll(sent, java.time.Duration.ofSeconds(1), members.toArray(new Received[0]));
            } catch (AssertionError notYet) {
                return false;
            }
            return members.stream().noneMatch(member -> member.bodies().isEmpty());
        });
        Received.awaitAll(all, SOON, members.toArray(new Received[0]));
        List<String> got = new ArrayList<>();
        for (Received member : members) {
            assertTrue(member.messages().stream().allMatch(PopTest::isPopped));
            got.addAll(member.bodies());
        }
        server.advance("5m");
        producer.send(message(topic, "last"));
        Received.awaitAll(List.of("last"), SOON, members.toArray(new Received[0]));
        Collections.sort(got);
        Collections.sort(all);
        assertEquals(all, got, "each once");
    }

    /** What fails comes again after the client's delay, counted; what a dead consumer held comes to another one. */
    @Test
    void whatIsNotDoneComesAgain() throws Exception {
        Server server = closing(Server.own());
        String topic = Admin.of(server).createTopic(server, Names.unique("again"), 2);
        String group = Names.unique("g");
        mode(server, topic, group, "POP");
        DefaultMQPushConsumer stuck = popConsumer(server, group, topic);
        CountDownLatch holds = new CountDownLatch(1);
        CountDownLatch never = new CountDownLatch(1);
        List<Integer> tries = Collections.synchronizedList(new ArrayList<>());
        stuck.registerMessageListener((MessageListenerConcurrently) (batch, context) -> {
            MessageExt message = batch.get(0);
            if (text(message).equals("held")) {
                holds.countDown();
                try {
                    never.await();
                } catch (InterruptedException end) {
                    return ConsumeConcurrentlyStatus.RECONSUME_LATER;
                }
            }
            tries.add(message.getReconsumeTimes());
            boolean enough = message.getReconsumeTimes() == 2;
            return enough ? ConsumeConcurrentlyStatus.CONSUME_SUCCESS : ConsumeConcurrentlyStatus.RECONSUME_LATER;
        });
        stuck.start();
        DefaultMQProducer producer = producer(server);
        producer.send(message(topic, "fails twice"));
        for (int times = 1; times <= 3; times++) {
            int wanted = times;
            Until.holds("attempt " + wanted, SOON, () -> tries.size() >= wanted);
            if (wanted < 3) {
                // The client asks for 10 s, then 30 s; its own request for that may still be under way.
                advanceUntil(server, "10s", "attempt " + (wanted + 1), () -> tries.size() > wanted);
            }
        }
        assertEquals(List.of(0, 1, 2), tries);
        producer.send(message(topic, "held"));
        assertTrue(holds.await(SOON.toSeconds(), TimeUnit.SECONDS));
        DefaultMQPushConsumer heir = popConsumer(server, group, topic);
        Received received = new Received(heir);
        heir.start();
        advanceUntil(server, "60s", "another one gets it", () -> received.bodies().contains("held"));
        assertEquals(topic, received.messages().get(0).getTopic());
        assertTrue(received.messages().get(0).getReconsumeTimes() >= 1);
        never.countDown();
    }

    /** A group is switched to pulling and back while messages come: none is lost, and each way is really used. */
    @Test
    void switchedToPullAndBack() throws Exception {
        Server server = closing(Server.own());
        String topic = Admin.of(server).createTopic(server, Names.unique("switch"), 4);
        String group = Names.unique("g");
        mode(server, topic, group, "POP");
        DefaultMQPushConsumer consumer = popConsumer(server, group, topic);
        Received received = new Received(consumer);
        consumer.start();
        DefaultMQProducer producer = producer(server);
        List<String> all = new ArrayList<>();
        for (String mode : List.of("POP", "PULL", "POP")) {
            mode(server, topic, group, mode);
            Until.holds("messages come by " + mode, SWITCH, () -> {
                List<String> sent = send(producer, topic, mode + all.size() + "/", 8);
                all.addAll(sent);
                // What was on its way to the other mode comes again later.
                try {
                    received.awaitAll(sent, java.time.Duration.ofSeconds(1));
                } catch (AssertionError notYet) {
                    return false;
                }
                Set<Boolean> ways = new HashSet<>();
                received.messages().stream().filter(message -> sent.contains(text(message)))
                    .forEach(message -> ways.add(isPopped(message)));
                return ways.equals(Set.of(mode.equals("POP")));
            });
        }
        advanceUntil(server, "60s", "all come", () -> new HashSet<>(received.bodies()).containsAll(all));
        assertEquals(new TreeSet<>(all), new TreeSet<>(received.bodies()));
    }

    /** Pops go through tags and SQL92, too. */
    @Test
    void popsAreFiltered() throws Exception {
        Server server = closing(Server.own());
        String topic = Admin.of(server).createTopic(server, Names.unique("filter"), 2);
        String byTag = Names.unique("g");
        String bySql = Names.unique("g");
        mode(server, topic, byTag, "POP");
        mode(server, topic, bySql, "POP");
        DefaultMQPushConsumer one = popConsumer(server, byTag, topic);
        one.subscribe(topic, "tag1");
        Received tagged = new Received(one);
        one.start();
        DefaultMQPushConsumer other = popConsumer(server, bySql, topic);
        other.subscribe(topic, MessageSelector.bySql("n BETWEEN 3 AND 5"));
        Received selected = new Received(other);
        other.start();
        DefaultMQProducer producer = producer(server);
        for (int i = 0; i < 8; i++) {
            Message message = message(topic, "tag" + i % 2, "m" + i);
            message.putUserProperty("n", String.valueOf(i));
            producer.send(message);
        }
        tagged.awaitAll(List.of("m1", "m3", "m5", "m7"), SOON);
        selected.awaitAll(List.of("m3", "m4", "m5"), SOON);
        assertEquals(4, tagged.bodies().size(), tagged.bodies().toString());
        assertEquals(3, selected.bodies().size(), selected.bodies().toString());
        assertTrue(tagged.messages().stream().allMatch(PopTest::isPopped));
    }

    /** Kill -9 while messages are out: what was not acknowledged comes again after the start, and the rest does not. */
    @Test
    void survivesKill9() throws Exception {
        Server server = closing(Server.own());
        String topic = Admin.of(server).createTopic(server, Names.unique("kill"), 2);
        String group = Names.unique("g");
        mode(server, topic, group, "POP");
        DefaultMQPushConsumer consumer = popConsumer(server, group, topic);
        List<String> seen = Collections.synchronizedList(new ArrayList<>());
        CountDownLatch never = new CountDownLatch(1);
        consumer.registerMessageListener((MessageListenerConcurrently) (batch, context) -> {
            seen.add(text(batch.get(0)));
            if (text(batch.get(0)).startsWith("held")) {
                try {
                    never.await();
                } catch (InterruptedException end) {
                    return ConsumeConcurrentlyStatus.RECONSUME_LATER;
                }
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        DefaultMQProducer producer = producer(server);
        List<String> done = send(producer, topic, "done", 10);
        Until.holds("all are consumed", SOON, () -> seen.containsAll(done));
        producer.send(message(topic, "held"));
        Until.holds("the last is out", SOON, () -> seen.contains("held"));
        // Acknowledgements are sent in the background; they wait in the timer topic for the end of the invisible time.
        MessageQueue timers = new MessageQueue("rmq_sys_wheel_timer", Admin.of(server).brokerName(), 0);
        DefaultMQPullConsumer reader = pullConsumer(server, Names.unique("reader"));
        Until.holds("all are acknowledged", SOON,
            () -> read(reader, timers, 0).stream().filter(message -> "ack".equals(message.getTags())).count() == 10);
        // Offsets are written within half a second; whoever sets a mode waits for that.
        mode(server, topic, group, "POP");
        consumer.suspend();
        server.kill9();
        server.startAgain();
        DefaultMQPushConsumer heir = popConsumer(server, group, topic);
        Received received = new Received(heir);
        heir.start();
        advanceUntil(server, "60s", "what was out comes again", () -> received.bodies().contains("held"));
        assertEquals(List.of("held"), received.bodies());
        never.countDown();
    }
}
