package rmqlite;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.junit.jupiter.api.Test;

/** Messages that a group fails to consume: they come again, and at last they are dead letters. */
class RetryTest extends ClientTest {
    private static final String[] LADDER = {"10s", "30s", "1m", "2m", "3m", "4m", "5m", "6m", "7m", "8m", "9m", "10m", "20m",
        "30m", "1h", "2h"};

    private final List<MessageExt> attempts = Collections.synchronizedList(new ArrayList<>());

    /** A concurrent consumer of one topic that fails every time. */
    private DefaultMQPushConsumer failing(Server server, String group, String topic) throws Exception {
        DefaultMQPushConsumer consumer = newPushConsumer(server, group);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (batch, context) -> {
            attempts.addAll(batch);
            return ConsumeConcurrentlyStatus.RECONSUME_LATER;
        });
        return consumer;
    }

    /** Number of messages that ever waited for this delay level. */
    private static long waited(Server server, int level) throws Exception {
        return Admin.of(server).api.maxOffset(new MessageQueue("SCHEDULE_TOPIC_XXXX", Admin.of(server).brokerName(), level - 1));
    }

    private List<MessageExt> deadLetters(Server server, String group) throws Exception {
        String topic = "%DLQ%" + group;
        Until.holds("there is a dead letter", SOON, () -> Admin.of(server).messages(topic) > 0);
        MessageQueue queue = new MessageQueue(topic, Admin.of(server).brokerName(), 0);
        return read(pullConsumer(server, Names.unique("reader")), queue, 0);
    }

    /** The whole way: sixteen retries, each with one try more and the same id, then a dead letter that can be pulled. */
    @Test
    void sixteenRetriesAndADeadLetter() throws Exception {
        Server server = closing(Server.own());
        String topic = Admin.of(server).createTopic(server, Names.unique("ladder"), 1);
        String group = Names.unique("g");
        failing(server, group, topic).start();
        SendResult sent = producer(server).send(message(topic, "tag", "hopeless"));
        for (int tries = 0; tries <= LADDER.length; tries++) {
            int wanted = tries + 1;
            Until.holds("attempt " + wanted, SOON, () -> attempts.size() == wanted);
            MessageExt attempt = attempts.get(tries);
            assertEquals(tries, attempt.getReconsumeTimes());
            assertEquals(List.of(sent.getMsgId(), topic, "tag", "hopeless"),
                List.of(attempt.getMsgId(), attempt.getTopic(), attempt.getTags(), text(attempt)));
            if (tries < LADDER.length) {
                int level = tries + 3;
                Until.holds("it is sent back", SOON, () -> waited(server, level) == 1);
                server.advance(LADDER[tries]);
            }
        }
        List<MessageExt> dead = deadLetters(server, group);
        assertEquals(1, dead.size());
        MessageExt letter = dead.get(0);
        assertEquals(List.of(sent.getMsgId(), "hopeless", topic, sent.getOffsetMsgId()), List.of(letter.getMsgId(), text(letter),
            letter.getProperty("RETRY_TOPIC"), letter.getProperty("ORIGIN_MESSAGE_ID")));
        assertEquals(LADDER.length + 1, attempts.size());
    }

    /** Without any help a retry comes after the delay that the listener asks for, and a success ends it. */
    @Test
    void comesAgainUntilItSucceeds() throws Exception {
        Server server = Server.shared();
        String topic = Admin.of(server).createTopic(server, Names.unique("again"), 1);
        String group = Names.unique("g");
        DefaultMQPushConsumer consumer = newPushConsumer(server, group);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (batch, context) -> {
            attempts.addAll(batch);
            context.setDelayLevelWhenNextConsume(1);
            boolean enough = batch.get(0).getReconsumeTimes() == 2;
            return enough ? ConsumeConcurrentlyStatus.CONSUME_SUCCESS : ConsumeConcurrentlyStatus.RECONSUME_LATER;
        });
        consumer.start();
        producer(server).send(message(topic, "third time lucky"));
        Until.holds("three attempts", SOON, () -> attempts.size() == 3);
        assertEquals(2, attempts.get(2).getReconsumeTimes());
        assertTrue(attempts.get(2).getStoreTimestamp() - attempts.get(1).getStoreTimestamp() >= 1_000, "not too early");
        assertNotEquals(attempts.get(0).getStoreTimestamp(), attempts.get(1).getStoreTimestamp());
    }

    /** The consumer's own limit counts; a listener that asks for level -1 gives up at once. */
    @Test
    void limitOfTheConsumer() throws Exception {
        Server server = closing(Server.own());
        String topic = Admin.of(server).createTopic(server, Names.unique("limit"), 1);
        String group = Names.unique("g");
        DefaultMQPushConsumer consumer = failing(server, group, topic);
        consumer.setMaxReconsumeTimes(1);
        consumer.start();
        producer(server).send(message(topic, "twice"));
        Until.holds("it is sent back", SOON, () -> waited(server, 3) == 1);
        server.advance("10s");
        assertEquals(List.of("twice"), List.of(text(deadLetters(server, group).get(0))));
        assertEquals(2, attempts.size());

        String hasty = Names.unique("hasty");
        DefaultMQPushConsumer givesUp = newPushConsumer(server, hasty);
        givesUp.subscribe(topic, "*");
        givesUp.registerMessageListener((MessageListenerConcurrently) (batch, context) -> {
            context.setDelayLevelWhenNextConsume(-1);
            return ConsumeConcurrentlyStatus.RECONSUME_LATER;
        });
        givesUp.start();
        assertEquals("twice", text(deadLetters(server, hasty).get(0)));
    }

    /** An orderly consumer tries again at its place; over its limit the message is a dead letter and the next one comes. */
    @Test
    void orderlyConsumerGivesUp() throws Exception {
        Server server = Server.shared();
        String topic = Admin.of(server).createTopic(server, Names.unique("orderly"), 1);
        String group = Names.unique("g");
        DefaultMQPushConsumer consumer = newPushConsumer(server, group);
        consumer.subscribe(topic, "*");
        consumer.setMaxReconsumeTimes(2);
        consumer.setSuspendCurrentQueueTimeMillis(10);
        consumer.registerMessageListener((MessageListenerOrderly) (batch, context) -> {
            attempts.addAll(batch);
            boolean bad = text(batch.get(0)).equals("bad");
            return bad ? ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT : ConsumeOrderlyStatus.SUCCESS;
        });
        consumer.start();
        var producer = producer(server);
        for (String body : List.of("bad", "good")) {
            producer.send(message(topic, body));
        }
        Until.holds("the next one comes", SOON, () -> attempts.stream().anyMatch(message -> text(message).equals("good")));
        assertEquals(3, attempts.stream().filter(message -> text(message).equals("bad")).count());
        MessageExt letter = deadLetters(server, group).get(0);
        assertEquals(List.of("bad", topic), List.of(text(letter), letter.getProperty("RETRY_TOPIC")));
    }

    /** A retry that waits survives a kill -9, with its number of tries. */
    @Test
    void survivesAKill() throws Exception {
        Server server = closing(Server.own());
        String topic = Admin.of(server).createTopic(server, Names.unique("killed"), 1);
        failing(server, Names.unique("g"), topic).start();
        producer(server).send(message(topic, "patient"));
        Until.holds("it is sent back", SOON, () -> waited(server, 3) == 1);
        server.kill9();
        server.startAgain();
        Admin.of(server).awaitRoute(topic);
        server.advance("10s");
        Until.holds("it comes again", SOON.plusSeconds(30),
            () -> attempts.stream().anyMatch(message -> message.getReconsumeTimes() == 1));
    }
}
