package rmqlite;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullCallback;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.store.ReadOffsetType;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.junit.jupiter.api.Test;

/** Consumers that ask for messages themselves: both pull consumers of the Java client. */
class PullTest extends ClientTest {
    private final Server server = Server.shared();

    private MessageQueue queueWith(String topic, String tag, int messages) throws Exception {
        DefaultMQProducer producer = producer(server);
        MessageQueue queue = producer.fetchPublishMessageQueues(topic).get(0);
        for (int i = 0; i < messages; i++) {
            producer.send(message(topic, tag, "m" + i), queue);
        }
        return queue;
    }

    /** A pull gives the messages from its offset on, NO_NEW_MSG at the end, and OFFSET_ILLEGAL with the right one beyond it. */
    @Test
    void pullAnswersByOffset() throws Exception {
        String topic = Admin.of(server).createTopic(server, Names.unique("pull"), 1);
        MessageQueue queue = queueWith(topic, "T", 10);
        DefaultMQPullConsumer consumer = pullConsumer(server, Names.unique("g"));
        assertEquals(Set.of(queue), consumer.fetchSubscribeMessageQueues(topic));

        PullResult some = consumer.pull(queue, "*", 3, 4);
        assertEquals(PullStatus.FOUND, some.getPullStatus());
        assertEquals(7, some.getNextBeginOffset());
        assertEquals(0, some.getMinOffset());
        assertEquals(10, some.getMaxOffset());
        List<String> bodies = new ArrayList<>();
        some.getMsgFoundList().forEach(message -> bodies.add(text(message)));
        assertEquals(List.of("m3", "m4", "m5", "m6"), bodies);

        PullResult end = consumer.pull(queue, "*", 10, 4);
        assertEquals(PullStatus.NO_NEW_MSG, end.getPullStatus());
        assertEquals(10, end.getNextBeginOffset());
        PullResult beyond = consumer.pull(queue, "*", 1000, 4);
        assertEquals(PullStatus.OFFSET_ILLEGAL, beyond.getPullStatus());
        assertEquals(10, beyond.getNextBeginOffset(), "the offset to go on with");
    }

    /** A pull with a tag gives only such messages, and NO_MATCHED_MSG with a next offset where none is. */
    @Test
    void pullFiltersByTag() throws Exception {
        String topic = Admin.of(server).createTopic(server, Names.unique("pull_tag"), 1);
        MessageQueue queue = queueWith(topic, "A", 5);
        queueWith(topic, "B", 5);
        DefaultMQPullConsumer consumer = pullConsumer(server, Names.unique("g"));
        PullResult found = consumer.pull(queue, "B", 0, 32);
        assertEquals(PullStatus.FOUND, found.getPullStatus());
        assertEquals(5, found.getMsgFoundList().size());
        assertEquals(10, found.getNextBeginOffset());
        PullResult none = consumer.pull(queue, "C", 0, 32);
        assertEquals(PullStatus.NO_MATCHED_MSG, none.getPullStatus());
        assertEquals(10, none.getNextBeginOffset());
    }

    /** A pull that waits at the end of a queue is answered as soon as a message comes. */
    @Test
    void waitingPullWakesUp() throws Exception {
        String topic = Admin.of(server).createTopic(server, Names.unique("hold"), 1);
        MessageQueue queue = queueWith(topic, "T", 1);
        DefaultMQPullConsumer consumer = pullConsumer(server, Names.unique("g"));
        CompletableFuture<PullResult> answer = new CompletableFuture<>();
        consumer.pullBlockIfNotFound(queue, "*", 1, 32, new PullCallback() {
            @Override
            public void onSuccess(PullResult result) {
                answer.complete(result);
            }

            @Override
            public void onException(Throwable e) {
                answer.completeExceptionally(e);
            }
        });
        producer(server).send(message(topic, "wakes it"), queue);
        PullResult result = answer.get(15, TimeUnit.SECONDS);
        assertEquals(PullStatus.FOUND, result.getPullStatus());
        assertEquals("wakes it", text(result.getMsgFoundList().get(0)));
    }

    /** Smallest, largest and time-based offsets of a queue are what was sent and when. */
    @Test
    void offsetsOfAQueueAreFound() throws Exception {
        String topic = Admin.of(server).createTopic(server, Names.unique("offsets"), 1);
        MessageQueue queue = queueWith(topic, "T", 10);
        DefaultMQPullConsumer consumer = pullConsumer(server, Names.unique("g"));
        assertEquals(0, consumer.minOffset(queue));
        assertEquals(10, consumer.maxOffset(queue));
        List<MessageExt> stored = read(consumer, queue, 0);
        assertEquals(stored.get(0).getStoreTimestamp(), consumer.earliestMsgStoreTime(queue));
        assertEquals(0, consumer.searchOffset(queue, stored.get(0).getStoreTimestamp() - 60_000), "long before the first");
        assertEquals(10, consumer.searchOffset(queue, stored.get(9).getStoreTimestamp() + 60_000), "long after the last");
        long middle = stored.get(5).getStoreTimestamp();
        MessageExt found = stored.get((int) consumer.searchOffset(queue, middle));
        assertEquals(middle, found.getStoreTimestamp(), "at the time of the sixth");
    }

    /** An offset that a pull consumer commits is what its group reads back, also in another process of it. */
    @Test
    void committedOffsetIsReadBack() throws Exception {
        String topic = Admin.of(server).createTopic(server, Names.unique("commit"), 1);
        MessageQueue queue = queueWith(topic, "T", 10);
        String group = Names.unique("g");
        DefaultMQPullConsumer first = pullConsumer(server, group);
        assertEquals(6, first.pull(queue, "*", 0, 6).getNextBeginOffset()); // the broker refuses offsets of a group it never saw
        first.updateConsumeOffset(queue, 6);
        first.getDefaultMQPullConsumerImpl().getOffsetStore().persistAll(new HashSet<>(Set.of(queue)));
        DefaultMQPullConsumer second = pullConsumer(server, group);
        Until.holds("the offset is known", SOON, () -> second.getDefaultMQPullConsumerImpl().getOffsetStore()
            .readOffset(queue, ReadOffsetType.READ_FROM_STORE) == 6);
    }

    /** A message is found by its offset id and by its key, and nothing by a key that no message has. */
    @Test
    void messagesAreFoundByIdAndKey() throws Exception {
        String topic = Admin.of(server).createTopic(server, Names.unique("query"), 2);
        var keyed = message(topic, "T", "wanted");
        keyed.setKeys("order-7 order-8");
        var sent = producer(server).send(keyed);
        DefaultMQPullConsumer consumer = pullConsumer(server, Names.unique("g"));
        assertEquals("wanted", text(consumer.viewMessage(topic, sent.getOffsetMsgId())));
        assertEquals("wanted", text(consumer.viewMessage(topic, sent.getMsgId())), "by its unique id");
        long now = System.currentTimeMillis();
        for (String key : List.of("order-7", "order-8")) {
            Until.holds("the index has " + key, SOON, () -> {
                List<MessageExt> found = consumer.queryMessage(topic, key, 32, now - 3_600_000, now + 3_600_000).getMessageList();
                return found.size() == 1 && text(found.get(0)).equals("wanted");
            });
        }
        Exception none = assertThrows(Exception.class,
            () -> consumer.queryMessage(topic, "order-9", 32, now - 3_600_000, now + 3_600_000));
        assertTrue(none.getMessage().contains("no message"), none.getMessage());
    }

    /** A subscribing lite pull consumer polls everything, and after it a second one of its group only what is new. */
    @Test
    void litePullConsumerPolls() throws Exception {
        String topic = Admin.of(server).createTopic(server, Names.unique("lite"), 4);
        String group = Names.unique("g");
        DefaultMQProducer producer = producer(server);
        Set<String> old = new HashSet<>();
        for (int i = 0; i < 40; i++) {
            producer.send(message(topic, "old" + i));
            old.add("old" + i);
        }
        DefaultLitePullConsumer first = newLitePullConsumer(server, group);
        first.subscribe(topic, "*");
        first.start();
        assertEquals(old, poll(first, old.size()));
        first.commitSync();
        first.shutdown();
        Set<String> fresh = new HashSet<>();
        for (int i = 0; i < 10; i++) {
            producer.send(message(topic, "new" + i));
            fresh.add("new" + i);
        }
        DefaultLitePullConsumer second = newLitePullConsumer(server, group);
        second.subscribe(topic, "*");
        second.start();
        assertEquals(fresh, poll(second, fresh.size()));
    }

    /** A lite pull consumer with queues of its own choice seeks to an offset, the begin, the end, and a time, and commits. */
    @Test
    void litePullConsumerSeeks() throws Exception {
        String topic = Admin.of(server).createTopic(server, Names.unique("seek"), 1);
        MessageQueue queue = queueWith(topic, "T", 10);
        DefaultLitePullConsumer consumer = newLitePullConsumer(server, Names.unique("g"));
        consumer.setAutoCommit(false);
        consumer.start();
        assertEquals(Set.of(queue), new HashSet<>(consumer.fetchMessageQueues(topic)));
        consumer.assign(List.of(queue));
        assertEquals(10, poll(consumer, 10).size()); // a 4.x client may still hand out what it pulled before a seek
        consumer.seek(queue, 7);
        assertEquals(Set.of("m7", "m8", "m9"), poll(consumer, 3));
        consumer.commitSync();
        Until.holds("the group's offset is behind the last", SOON, () -> consumer.committed(queue) == 10);
        consumer.seekToBegin(queue);
        assertEquals(10, poll(consumer, 10).size());
        consumer.seekToEnd(queue);
        producer(server).send(message(topic, "after the end"), queue);
        assertEquals(Set.of("after the end"), poll(consumer, 1));
        assertEquals(0L, consumer.offsetForTimestamp(queue, System.currentTimeMillis() - 3_600_000));
        assertEquals(11L, consumer.offsetForTimestamp(queue, System.currentTimeMillis() + 3_600_000));
    }

    /** Polls until so many different messages have come, or time is over. */
    private static Set<String> poll(DefaultLitePullConsumer consumer, int count) {
        Set<String> bodies = new HashSet<>();
        Until.holds(count + " messages are polled", SOON, () -> {
            consumer.poll(200).forEach(message -> bodies.add(text(message)));
            return bodies.size() >= count;
        });
        return bodies;
    }
}
