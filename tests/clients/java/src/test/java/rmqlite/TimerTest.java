package rmqlite;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.junit.jupiter.api.Test;

/** Messages that name their own time of delivery. The properties are those of a 5.x client, whatever client sends them. */
class TimerTest extends ClientTest {
    private static Message timed(String topic, String body, String property, long value) {
        Message message = message(topic, "tag", body);
        message.putUserProperty("colour", "blue");
        message.getProperties().put(property, Long.toString(value));
        return message;
    }

    /** Each of the three wishes is kept, and not a millisecond too early; a time that is past is now. */
    @Test
    void comesAtItsTime() throws Exception {
        Server server = Server.shared();
        String topic = Admin.of(server).createTopic(server, Names.unique("timer"), 1);
        Received received = consume(server, Names.unique("g"), topic, "tag");
        DefaultMQProducer producer = producer(server);
        long at = System.currentTimeMillis() + 2_345;
        SendResult sent = producer.send(timed(topic, "at", "TIMER_DELIVER_MS", at));
        producer.send(timed(topic, "after ms", "TIMER_DELAY_MS", 1_100));
        producer.send(timed(topic, "after s", "TIMER_DELAY_SEC", 1));
        producer.send(timed(topic, "past", "TIMER_DELIVER_MS", 5));
        received.awaitAll(List.of("at", "after ms", "after s", "past"), SOON);
        for (MessageExt got : received.messages()) {
            // Sent by this process's clock, stored by the server's: they may be a few milliseconds apart.
            long wait = got.getStoreTimestamp() - got.getBornTimestamp();
            switch (text(got)) {
                case "at":
                    assertEquals(sent.getMsgId(), got.getMsgId());
                    assertEquals("blue", got.getUserProperty("colour"));
                    assertTrue(server.isApache() || got.getStoreTimestamp() >= at, "early: " + got.getStoreTimestamp());
                    break;
                case "after ms":
                    assertTrue(server.isApache() || wait >= 1_100, "early: " + wait);
                    break;
                case "after s":
                    assertTrue(server.isApache() || wait >= 1_000, "early: " + wait);
                    break;
                default:
                    assertEquals(0, got.getProperties().keySet().stream().filter(key -> key.equals("TIMER_OUT_MS")).count());
            }
        }
    }

    /** Days ahead, in the order of times, over a stop and a kill -9; what was delivered before does not come again after a stop. */
    @Test
    void survivesRestarts() throws Exception {
        Server server = closing(Server.own());
        String topic = Admin.of(server).createTopic(server, Names.unique("restart"), 1);
        DefaultMQProducer producer = producer(server);
        for (int hours : new int[] {60, 3, 2, 71, 1}) {
            producer.send(timed(topic, hours + "h", "TIMER_DELAY_SEC", hours * 3_600L));
        }
        producer.send(timed(topic, "now", "TIMER_DELAY_MS", 1));
        Received received = consume(server, Names.unique("g"), topic, "*");
        received.awaitAll(List.of("now"), SOON);
        received.awaitCommitted(server, topic);
        server.stop();
        server.startAgain();
        Admin.of(server).awaitRoute(topic);
        server.kill9();
        server.startAgain();
        Admin.of(server).awaitRoute(topic);
        server.advance("72h");
        List<String> order = List.of("now", "1h", "2h", "3h", "60h", "71h");
        received.awaitAll(order, SOON.plusSeconds(30)); // a client's heartbeat comes every 30 s
        assertEquals(order, new ArrayList<>(new java.util.LinkedHashSet<>(received.bodiesInQueueOrder())));
    }

    /** A time too far away is refused with its limit, as is one that is no number. */
    @Test
    void refusals() throws Exception {
        Server server = Server.shared();
        String topic = Admin.of(server).createTopic(server, Names.unique("refused"), 1);
        DefaultMQProducer producer = producer(server);
        MQBrokerException far = assertThrows(MQBrokerException.class,
            () -> producer.send(timed(topic, "far", "TIMER_DELAY_SEC", 259_200 + 60)));
        assertEquals(13, far.getResponseCode());
        assertTrue(far.getMessage().contains("should not be bigger than the max delay 259200000ms"), far.getMessage());
        Message nonsense = message(topic, "nonsense");
        nonsense.putUserProperty("x", "y");
        nonsense.getProperties().put("TIMER_DELIVER_MS", "tomorrow");
        assertEquals(13, assertThrows(MQBrokerException.class, () -> producer.send(nonsense)).getResponseCode());
        assertEquals(0, Admin.of(server).messages(topic));
    }

    /** A message for the same time that names topic and unique key takes a timer back; the one beside it comes. */
    @Test
    void cancelledByUniqueKey() throws Exception {
        Server server = closing(Server.own());
        String topic = Admin.of(server).createTopic(server, Names.unique("cancel"), 1);
        Received received = consume(server, Names.unique("g"), topic, "*");
        DefaultMQProducer producer = producer(server);
        long at = System.currentTimeMillis() + 600_000;
        SendResult sent = producer.send(timed(topic, "cancelled", "TIMER_DELIVER_MS", at));
        producer.send(timed(topic, "wanted", "TIMER_DELIVER_MS", at));
        Message cancel = timed(topic, "cancel", "TIMER_DELIVER_MS", at);
        cancel.getProperties().put("TIMER_DEL_UNIQKEY", topic + "+" + sent.getMsgId());
        producer.send(cancel);
        producer.send(timed(topic, "last", "TIMER_DELIVER_MS", at + 5_000));
        server.advance("11m");
        received.awaitAll(List.of("wanted", "last"), SOON);
        assertEquals(List.of("wanted", "last"), received.bodiesInQueueOrder());
    }
}
