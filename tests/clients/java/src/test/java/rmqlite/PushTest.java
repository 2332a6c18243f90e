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
import org.apache.rocketmq.client.producer.DefaultMQProducer;
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
