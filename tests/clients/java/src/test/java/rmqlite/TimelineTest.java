package rmqlite;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.junit.jupiter.api.Test;

/** What the server tells about the messages of real clients: where each of them has been, and which of them wait. */
class TimelineTest extends ClientTest {
    private static final Pattern WHAT = Pattern.compile("\"what\":\"([^\"]*)\"");

    /** The steps of the only message that is found. */
    private static List<String> steps(Server server, String key) {
        String answer = server.get("/api/v1/timeline?key=" + key);
        assertEquals(1, answer.split("\"steps\"", -1).length - 1, key + ": " + answer);
        List<String> steps = new ArrayList<>();
        Matcher matcher = WHAT.matcher(answer);
        while (matcher.find()) {
            steps.add(matcher.group(1));
        }
        return steps;
    }

    /** A message that fails twice and is given up: the whole way, by its unique key, its own key and its offset id alike. */
    @Test
    void fromSentToDead() throws Exception {
        Server server = closing(Server.own());
        server.needsWeb();
        String topic = Admin.of(server).createTopic(server, Names.unique("timeline"), 1);
        String group = Names.unique("g");
        AtomicInteger attempts = new AtomicInteger();
        DefaultMQPushConsumer consumer = newPushConsumer(server, group);
        consumer.subscribe(topic, "*");
        consumer.setMaxReconsumeTimes(1);
        consumer.registerMessageListener((MessageListenerConcurrently) (batch, context) -> {
            attempts.incrementAndGet();
            return ConsumeConcurrentlyStatus.RECONSUME_LATER;
        });
        consumer.start();
        Message message = message(topic, "hopeless");
        String key = Names.unique("order");
        message.setKeys(key);
        SendResult sent = producer(server).send(message);
        Until.holds("it failed once", SOON, () -> steps(server, sent.getMsgId()).contains("failed"));
        assertEquals(1, attempts.get());
        server.advance("10s");
        Until.holds("it is dead", SOON, () -> steps(server, sent.getMsgId()).contains("dead"));
        assertEquals(2, attempts.get());
        List<String> steps = steps(server, sent.getMsgId());
        int last = -1;
        for (String step : List.of("sent", "stored", "delivered", "failed", "retry", "dead")) {
            assertTrue(steps.indexOf(step) > last, step + " in " + steps);
            last = steps.indexOf(step);
        }
        for (String other : List.of(key, sent.getOffsetMsgId())) {
            Until.holds("the same by " + other, SOON, () -> steps(server, other).equals(steps(server, sent.getMsgId())));
        }
    }

    /** A delayed message is listed until it is delivered, a half message until it is committed. */
    @Test
    void whatWaits() throws Exception {
        Server server = closing(Server.own());
        server.needsWeb();
        String topic = Admin.of(server).createTopic(server, Names.unique("waits"), 1);
        Message later = message(topic, "later");
        later.setDelayTimeLevel(5);
        String delayed = producer(server).send(later).getMsgId();
        String listed = server.get("/api/v1/delayed");
        assertTrue(listed.contains("\"total\":1,") && listed.contains("\"id\":\"" + delayed + "\"") && listed.contains("\"level\":5"), listed);
        server.advance("1m");
        Until.holds("it is delivered", SOON, () -> server.get("/api/v1/delayed").contains("\"total\":0,"));

        TransactionMQProducer producer = new TransactionMQProducer(Names.unique("p"));
        introduce(producer, server, "c");
        AtomicInteger checks = new AtomicInteger();
        producer.setTransactionListener(new TransactionListener() {
            @Override
            public LocalTransactionState executeLocalTransaction(Message message, Object state) {
                return LocalTransactionState.UNKNOW;
            }

            @Override
            public LocalTransactionState checkLocalTransaction(MessageExt message) {
                return checks.incrementAndGet() < 2 ? LocalTransactionState.UNKNOW : LocalTransactionState.COMMIT_MESSAGE;
            }
        });
        closing(producer::shutdown);
        producer.start();
        String half = producer.sendMessageInTransaction(message(topic, "half"), null).getMsgId();
        String open = server.get("/api/v1/transactions");
        assertTrue(open.contains("\"id\":\"" + half + "\"") && open.contains("\"group\":\"" + producer.getProducerGroup() + "\""), open);
        server.advance("3s");
        // A producer's first heartbeat can come too early to tell of it; the next one comes after 30 s.
        Until.holds("it was asked about", SOON.plusSeconds(31), () -> checks.get() >= 1);
        server.advance("10s");
        Until.holds("it is committed", SOON, () -> server.get("/api/v1/transactions").contains("\"total\":0,"));
        List<String> steps = steps(server, half);
        assertTrue(steps.containsAll(List.of("sent", "half", "checked", "committed", "stored")), steps.toString());
        assertFalse(steps.contains("rolled back"), steps.toString());
    }
}
