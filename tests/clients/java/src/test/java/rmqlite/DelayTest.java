package rmqlite;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.TreeSet;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.junit.jupiter.api.Test;

/** Messages with a delay level: when they come, as what, and whether a restart loses one. */
class DelayTest extends ClientTest {
    private static Message delayed(String topic, String body, int level) {
        Message message = message(topic, "tag", body);
        message.setDelayTimeLevel(level);
        return message;
    }

    /** Without any help the level-1 message comes a second after it was sent, not earlier, with its id, tag and properties. */
    @Test
    void comesAfterItsDelayAsItWasSent() throws Exception {
        Server server = Server.shared();
        String topic = Admin.of(server).createTopic(server, Names.unique("delay"), 1);
        Received received = consume(server, Names.unique("g"), topic, "tag");
        Message message = delayed(topic, "later", 1);
        message.setKeys("key");
        message.putUserProperty("colour", "blue");
        SendResult sent = producer(server).send(message);
        assertEquals(SendStatus.SEND_OK, sent.getSendStatus());
        assertEquals(topic, sent.getMessageQueue().getTopic());
        received.awaitAll(List.of("later"), SOON);
        MessageExt got = received.messages().get(0);
        assertEquals(sent.getMsgId(), got.getMsgId());
        assertEquals(List.of(topic, "tag", "key", "blue"),
            List.of(got.getTopic(), got.getTags(), got.getKeys(), got.getUserProperty("colour")));
        assertEquals(sent.getMessageQueue().getQueueId(), got.getQueueId());
        assertTrue(got.getStoreTimestamp() - got.getBornTimestamp() >= 1_000, "not too early");
    }

    /** All eighteen levels, sent in disorder: when two hours pass they come in the order of their times. */
    @Test
    void everyLevelComesInTheOrderOfItsTime() throws Exception {
        Server server = closing(Server.own());
        String topic = Admin.of(server).createTopic(server, Names.unique("levels"), 1);
        Received received = consume(server, Names.unique("g"), topic, "*");
        DefaultMQProducer producer = producer(server);
        List<Integer> levels = new ArrayList<>();
        for (int level = 1; level <= 18; level++) {
            levels.add(level);
        }
        Collections.shuffle(levels, new java.util.Random(7));
        for (int level : levels) {
            producer.send(delayed(topic, "level " + level, level));
        }
        server.advance("2h");
        List<String> wanted = new ArrayList<>();
        for (int level = 1; level <= 18; level++) {
            wanted.add("level " + level);
        }
        received.awaitAll(wanted, SOON);
        List<String> stored = new ArrayList<>();
        MessageQueue queue = new MessageQueue(topic, Admin.of(server).brokerName(), 0);
        for (MessageExt message : read(pullConsumer(server, Names.unique("reader")), queue, 0)) {
            stored.add(text(message));
        }
        assertEquals(wanted, stored);
    }

    /** A level above the highest waits as long as the highest; a level that is no number is refused and stores nothing. */
    @Test
    void levelsOutOfRange() throws Exception {
        Server server = closing(Server.own("--set", "messageDelayLevel=1s 5s 2h"));
        String topic = Admin.of(server).createTopic(server, Names.unique("range"), 1);
        Received received = consume(server, Names.unique("g"), topic, "*");
        DefaultMQProducer producer = producer(server);
        producer.send(delayed(topic, "far", 1_000));
        Message nonsense = message(topic, "nonsense");
        nonsense.putUserProperty("x", "y");
        nonsense.getProperties().put("DELAY", "soon");
        MQBrokerException refused = assertThrows(MQBrokerException.class, () -> producer.send(nonsense));
        assertEquals(server.isApache() ? 1 : 13, refused.getResponseCode());
        producer.send(message(topic, "marker"));
        received.awaitAll(List.of("marker"), SOON);
        server.advance("119m");
        assertEquals(List.of("marker"), received.bodies());
        server.advance("1m");
        received.awaitAll(List.of("far"), SOON);
    }

    /** What waits survives a stop and a kill -9 and comes once its time has come, also if that was meanwhile. */
    @Test
    void survivesARestart() throws Exception {
        Server server = closing(Server.own());
        String topic = Admin.of(server).createTopic(server, Names.unique("restart"), 4);
        DefaultMQProducer producer = producer(server);
        TreeSet<String> all = new TreeSet<>();
        for (int i = 0; i < 30; i++) {
            producer.send(delayed(topic, "soon" + i, 2));
            producer.send(delayed(topic, "late" + i, 9));
            all.addAll(List.of("soon" + i, "late" + i));
        }
        server.stop();
        server.startAgain();
        Admin.of(server).awaitRoute(topic);
        Received received = consume(server, Names.unique("g"), topic, "*");
        producer.send(delayed(topic, "between", 2));
        server.advance("10s");
        List<String> soon = new ArrayList<>(all.tailSet("soon"));
        soon.add("between");
        received.awaitAll(soon, SOON);
        assertEquals(31, received.bodies().size(), "nothing late, nothing twice: " + received.bodies());
        server.kill9();
        server.startAgain();
        Admin.of(server).awaitRoute(topic);
        server.advance("6m"); // the clock of a new process is the machine's
        received.awaitAll(all, SOON.plusSeconds(30)); // a client's heartbeat comes every 30 s
    }
}
