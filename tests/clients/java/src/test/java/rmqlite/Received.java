package rmqlite;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** What one push consumer has been given, in the order of its arrival. */
final class Received {
    final DefaultMQPushConsumer consumer;
    private final List<MessageExt> messages = Collections.synchronizedList(new ArrayList<>());

    Received(DefaultMQPushConsumer consumer) {
        this(consumer, false);
    }

    Received(DefaultMQPushConsumer consumer, boolean orderly) {
        this.consumer = consumer;
        if (orderly) {
            consumer.registerMessageListener((MessageListenerOrderly) (batch, context) -> {
                messages.addAll(batch);
                return ConsumeOrderlyStatus.SUCCESS;
            });
        } else {
            consumer.registerMessageListener((MessageListenerConcurrently) (batch, context) -> {
                messages.addAll(batch);
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
        }
    }

    List<MessageExt> messages() {
        synchronized (messages) {
            return new ArrayList<>(messages);
        }
    }

    static String text(Message message) {
        return new String(message.getBody(), StandardCharsets.UTF_8);
    }

    /** Bodies as text, in order of arrival, with repetitions. */
    List<String> bodies() {
        List<String> bodies = new ArrayList<>();
        messages().forEach(message -> bodies.add(text(message)));
        return bodies;
    }

    /** Bodies of a topic with one queue in the order of the queue: the client's threads hand over those of one pull in any. */
    List<String> bodiesInQueueOrder() {
        Map<Long, String> bodies = new TreeMap<>();
        messages().forEach(message -> bodies.put(message.getQueueOffset(), text(message)));
        return new ArrayList<>(bodies.values());
    }

    /** Waits until every one of the bodies has arrived, whatever else has. */
    void awaitAll(Collection<String> wanted, Duration bound) {
        awaitAll(wanted, bound, this);
    }

    /** Waits until every one of the bodies has arrived at one of the consumers. */
    static void awaitAll(Collection<String> wanted, Duration bound, Received... consumers) {
        Set<String> missing = new TreeSet<>(wanted);
        try {
            Until.holds("all messages arrive", bound, () -> {
                for (Received one : consumers) {
                    missing.removeAll(new HashSet<>(one.bodies()));
                }
                return missing.isEmpty();
            });
        } catch (AssertionError late) {
            throw new AssertionError(late.getMessage() + "; missing " + missing.size() + " of " + wanted.size() + ": " + missing);
        }
    }

    /**
     * Waits until the group's offset in every queue of the topic is behind its last message. A message that the listener has
     * seen is not yet a committed one.
     */
    void awaitCommitted(Server server, String topic) {
        Until.holds("all is committed", ClientTest.SOON, () -> {
            consumer.getDefaultMQPushConsumerImpl().persistConsumerOffset();
            return Admin.of(server).api.examineConsumeStats(consumer.getConsumerGroup(), topic).computeTotalDiff() == 0;
        });
    }

    /** The queues of a topic that this consumer now works on. */
    Set<MessageQueue> queues(String topic) {
        return queues(consumer, topic);
    }

    static Set<MessageQueue> queues(DefaultMQPushConsumer consumer, String topic) {
        Set<MessageQueue> queues = new HashSet<>();
        for (MessageQueue queue : consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet()) {
            if (queue.getTopic().equals(topic)) {
                queues.add(queue);
            }
        }
        return queues;
    }
}
