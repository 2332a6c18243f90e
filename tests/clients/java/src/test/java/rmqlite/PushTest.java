package rmqlite;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.UtilAll;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.junit.jupiter.api.Test;

/** What a push consumer gets: by mode, by tag, by start position, in order. */
class PushTest extends ClientTest {
    private final Server server = Server.shared();

    private List<String> send(DefaultMQProducer producer, String topic, String tag, String what, int count) throws Exception {
        List<String> bodies = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            producer.send(message(topic, tag, what + i));
            bodies.add(what + i);
        }
        return bodies;
    }

    /** In broadcast mode every consumer of a group gets every message. */
    @Test
    void broadcastReachesEveryMember() throws Exception {
        String topic = Admin.of(server).createTopic(server, Names.unique("broadcast"), 4);
        String group = Names.unique("g");
        List<Received> members = new ArrayList<>();
        for (int i = 0; i < 2; i++) {
            DefaultMQPushConsumer consumer = newPushConsumer(server, group);
            var mode = consumer.getMessageModel();
            consumer.setMessageModel(Enum.valueOf(mode.getDeclaringClass(), "BROADCASTING"));
            consumer.subscribe(topic, "*");
            Received member = new Received(consumer);
            consumer.start();
            members.add(member);
        }
        List<String> bodies = send(producer(server), topic, "T", "m", 40);
        for (Received member : members) {
            member.awaitAll(bodies, SOON);
            assertEquals(40, member.bodies().size(), "none came twice");
        }
    }

    /** A subscription {@code A || B} brings the messages with tag A or B and no other; the offset passes the others. */
    @Test
    void tagFilterPassesOnlyItsTags() throws Exception {
        String topic = Admin.of(server).createTopic(server, Names.unique("tags"), 1);
        DefaultMQProducer producer = producer(server);
        Received received = consume(server, Names.unique("g"), topic, "A || B");
        List<String> wanted = new ArrayList<>();
        for (int i = 0; i < 30; i++) {
            String tag = List.of("A", "B", "C").get(i % 3);
            producer.send(message(topic, tag, tag + i));
            if (!tag.equals("C")) {
                wanted.add(tag + i);
            }
        }
        producer.send(message(topic, "untagged"));
        producer.send(message(topic, "A", "last"));
        wanted.add("last");
        received.awaitAll(wanted, SOON);
        assertEquals(new TreeSet<>(wanted), new TreeSet<>(received.bodies()), "no other");
        assertEquals(wanted.size(), received.bodies().size(), "none twice");
        Until.holds("the offset is behind the last message", SOON, () -> {
            received.consumer.getDefaultMQPushConsumerImpl().persistConsumerOffset();
            var stats = Admin.of(server).api.examineConsumeStats(received.consumer.getConsumerGroup(), topic);
            return stats.getOffsetTable().values().iterator().next().getConsumerOffset() == 32;
        });
    }

    /** Tags whose hash codes are equal are told apart. */
    @Test
    void tagsWithEqualHashesAreToldApart() throws Exception {
        String topic = Admin.of(server).createTopic(server, Names.unique("hash"), 1);
        assertEquals("AaAa".hashCode(), "BBBB".hashCode());
        DefaultMQProducer producer = producer(server);
        Received received = consume(server, Names.unique("g"), topic, "AaAa");
        producer.send(message(topic, "BBBB", "wrong"));
        producer.send(message(topic, "AaAa", "right"));
        received.awaitAll(List.of("right"), SOON);
        assertEquals(List.of("right"), received.bodies());
    }

    /** A tag subscription through a selector is the same as by text. */
    @Test
    void tagSelectorWorks() throws Exception {
        String topic = Admin.of(server).createTopic(server, Names.unique("selector"), 1);
        DefaultMQPushConsumer consumer = newPushConsumer(server, Names.unique("g"));
        consumer.subscribe(topic, MessageSelector.byTag("X"));
        Received received = new Received(consumer);
        consumer.start();
        DefaultMQProducer producer = producer(server);
        producer.send(message(topic, "Y", "no"));
        producer.send(message(topic, "X", "yes"));
        received.awaitAll(List.of("yes"), SOON);
        assertEquals(List.of("yes"), received.bodies());
    }

    /** A new group on a young topic gets what was there before it, even when it asks for the last offset. */
    @Test
    void newGroupOnYoungTopicBeginsAtItsBeginning() throws Exception {
        String topic = Admin.of(server).createTopic(server, Names.unique("young"), 2);
        List<String> bodies = send(producer(server), topic, "T", "m", 10);
        DefaultMQPushConsumer consumer = newPushConsumer(server, Names.unique("g"));
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET);
        consumer.subscribe(topic, "*");
        Received received = new Received(consumer);
        consumer.start();
        received.awaitAll(bodies, SOON);
    }

    /** Where a group without progress begins: broadcast members of their own at the end, or at the time that they name. */
    @Test
    void startPositionsCount() throws Exception {
        String topic = Admin.of(server).createTopic(server, Names.unique("where"), 1);
        DefaultMQProducer producer = producer(server);
        List<String> old = send(producer, topic, "T", "old", 5);
        long hour = 3_600_000;
        List<Received> members = new ArrayList<>();
        for (long at : new long[] {0, -hour, hour}) {
            DefaultMQPushConsumer consumer = newPushConsumer(server, Names.unique("g"));
            consumer.setConsumeFromWhere(at == 0 ? ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET : ConsumeFromWhere.CONSUME_FROM_TIMESTAMP);
            consumer.setConsumeTimestamp(UtilAll.timeMillisToHumanString3(System.currentTimeMillis() + at));
            var mode = consumer.getMessageModel();
            consumer.setMessageModel(Enum.valueOf(mode.getDeclaringClass(), "BROADCASTING"));
            consumer.subscribe(topic, "*");
            members.add(new Received(consumer));
            consumer.start();
        }
        // A member has a queue once it knows where to begin.
        Until.holds("each has the queue", SOON.plusSeconds(21), () -> members.stream().allMatch(it -> it.queues(topic).size() == 1));
        List<String> fresh = send(producer, topic, "T", "new", 5);
        List<String> both = new ArrayList<>(old);
        both.addAll(fresh);
        Received.awaitAll(both, SOON, members.get(1));
        for (Received member : List.of(members.get(0), members.get(2))) {
            member.awaitAll(fresh, SOON);
            assertEquals(new TreeSet<>(fresh), new TreeSet<>(member.bodies()), "nothing old");
        }
    }

    /** Clients of a namespace share topics and groups with each other and with nobody else, retries included. */
    @Test
    @SuppressWarnings("deprecation")
    void namespacesAreApart() throws Exception {
        String topic = Names.unique("t");
        String group = Names.unique("g");
        String namespace = Names.unique("ns");
        Admin.of(server).createTopic(server, namespace + "%" + topic, 1);
        Admin.of(server).createTopic(server, topic, 1);
        Received outside = consume(server, group, topic, "*");
        DefaultMQPushConsumer consumer = newPushConsumer(server, group);
        consumer.setNamespace(namespace);
        consumer.subscribe(topic, "*");
        List<String> seen = java.util.Collections.synchronizedList(new ArrayList<>());
        consumer.registerMessageListener((MessageListenerConcurrently) (batch, context) -> {
            MessageExt message = batch.get(0);
            seen.add(message.getTopic() + " " + message.getReconsumeTimes() + " " + Received.text(message));
            context.setDelayLevelWhenNextConsume(1);
            boolean again = message.getReconsumeTimes() == 0;
            return again ? ConsumeConcurrentlyStatus.RECONSUME_LATER : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        DefaultMQProducer inside = newProducer(server);
        inside.setNamespace(namespace);
        inside.start();
        assertEquals(topic, inside.send(message(topic, "inside")).getMessageQueue().getTopic());
        producer(server).send(message(topic, "outside"));
        Until.holds("it came and came again", SOON, () -> seen.size() == 2);
        assertEquals(List.of(topic + " 0 inside", topic + " 1 inside"), seen);
        outside.awaitAll(List.of("outside"), SOON);
        assertEquals(List.of("outside"), outside.bodies());
        assertEquals(Set.of("inside"), readAll(server, namespace + "%" + topic));
        Until.holds("its group is known by its whole name", SOON,
            () -> Admin.of(server).api.examineConsumerConnectionInfo(namespace + "%" + group).getConnectionSet().size() == 1);
    }

    /** A group that comes back goes on behind what it has consumed. */
    @Test
    void groupGoesOnWhereItStopped() throws Exception {
        String topic = Admin.of(server).createTopic(server, Names.unique("resume"), 4);
        String group = Names.unique("g");
        DefaultMQProducer producer = producer(server);
        Received before = consume(server, group, topic, "*");
        before.awaitAll(send(producer, topic, "T", "old", 20), SOON);
        before.awaitCommitted(server, topic);
        before.consumer.shutdown();
        List<String> fresh = send(producer, topic, "T", "new", 20);
        Received after = consume(server, group, topic, "*");
        after.awaitAll(fresh, SOON);
        assertEquals(20, after.bodies().size(), "nothing old: " + after.bodies());
    }

    /** Two groups on one topic each get every message. */
    @Test
    void groupsAreIndependent() throws Exception {
        String topic = Admin.of(server).createTopic(server, Names.unique("two_groups"), 4);
        Received one = consume(server, Names.unique("g"), topic, "*");
        Received two = consume(server, Names.unique("g"), topic, "*");
        List<String> bodies = send(producer(server), topic, "T", "m", 20);
        one.awaitAll(bodies, SOON);
        two.awaitAll(bodies, SOON);
    }

    /** An orderly consumer gets each queue's messages in the order in which they were sent, with two members and a change. */
    @Test
    void orderlyConsumersKeepTheOrder() throws Exception {
        String topic = Admin.of(server).createTopic(server, Names.unique("orderly"), 4);
        String group = Names.unique("g");
        List<Received> members = new ArrayList<>();
        for (int i = 0; i < 2; i++) {
            DefaultMQPushConsumer consumer = newPushConsumer(server, group);
            consumer.subscribe(topic, "*");
            Received member = new Received(consumer, true);
            consumer.start();
            members.add(member);
        }
        DefaultMQProducer producer = producer(server);
        List<String> bodies = new ArrayList<>();
        for (int round = 0; round < 2; round++) {
            for (MessageQueue queue : producer.fetchPublishMessageQueues(topic)) {
                for (int i = 0; i < 20; i++) {
                    String body = queue.getQueueId() + "/" + round + "/" + i;
                    producer.send(message(topic, body), queue);
                    bodies.add(body);
                }
            }
            // A 4.x member that finds a queue still locked by the other tries again after 20 s.
            Received.awaitAll(bodies, SOON.plusSeconds(30), members.toArray(new Received[0]));
            members.get(1).consumer.shutdown();
        }
        for (Received member : members) {
            Map<Integer, Long> last = new HashMap<>();
            for (MessageExt message : member.messages()) {
                Long before = last.put(message.getQueueId(), message.getQueueOffset());
                assertTrue(before == null || before <= message.getQueueOffset(), "order in queue " + message.getQueueId());
            }
        }
    }

    /** A running consumer that subscribes to one more topic gets its messages, and keeps getting those of the first. */
    @Test
    void subscriptionCanBeAddedWhileRunning() throws Exception {
        String first = Admin.of(server).createTopic(server, Names.unique("first"), 2);
        String second = Admin.of(server).createTopic(server, Names.unique("second"), 2);
        DefaultMQProducer producer = producer(server);
        Received received = consume(server, Names.unique("g"), first, "*");
        received.awaitAll(send(producer, first, "T", "a", 5), SOON);
        // Left alone, a client fetches the route of a later topic within 30 s and shares out its queues within 20 s.
        received.consumer.subscribe(second, "*");
        assertEquals(2, received.consumer.fetchSubscribeMessageQueues(second).size());
        received.consumer.getDefaultMQPushConsumerImpl().doRebalance();
        List<String> both = send(producer, second, "T", "b", 5);
        both.addAll(send(producer, first, "T", "c", 5));
        received.awaitAll(both, SOON);
        Set<String> topics = new TreeSet<>();
        received.messages().forEach(message -> topics.add(message.getTopic()));
        assertEquals(Set.of(first, second), topics);
    }
}
