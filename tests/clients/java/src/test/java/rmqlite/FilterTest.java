package rmqlite;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeFalse;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.junit.jupiter.api.Test;

/** What a consumer does not want does not reach it: tags, and SQL92 over the properties. */
class FilterTest extends ClientTest {
    private final Server server = Server.shared();

    /** The messages that every SQL92 test sends: body, then the properties n, region and vip where they have them. */
    private static final Map<String, String[]> ORDERS = Map.of(
        "small", new String[] {"1", "Hangzhou", null},
        "middle", new String[] {"5", "Shanghai", "true"},
        "large", new String[] {"9", "Shenzhen", "false"},
        "negative", new String[] {"-3", null, "true"},
        "text", new String[] {"many", "it's", null},
        "plain", new String[] {null, null, null});

    private static void sendOrders(DefaultMQProducer producer, String topic) throws Exception {
        for (var order : ORDERS.entrySet()) {
            Message message = message(topic, order.getKey().equals("plain") ? null : "T", order.getKey());
            String[] names = {"n", "region", "vip"};
            for (int i = 0; i < names.length; i++) {
                if (order.getValue()[i] != null) {
                    message.putUserProperty(names[i], order.getValue()[i]);
                }
            }
            producer.send(message);
        }
        Message last = message(topic, "last");
        last.putUserProperty("last", "yes");
        producer.send(last);
    }

    private void expects(String expression, String... wanted) throws Exception {
        assumeFalse(server.isApache(), "Apache does not filter by SQL92 unless it is told to");
        String topic = Admin.of(server).createTopic(server, Names.unique("sql"), 2);
        // One consumer waits for the messages, the other finds them there.
        Received early = consume(topic, expression);
        sendOrders(producer(server), topic);
        Received late = consume(topic, expression);
        TreeSet<String> all = new TreeSet<>(List.of(wanted));
        all.add("last");
        for (Received received : List.of(early, late)) {
            received.awaitAll(all, SOON);
            assertEquals(all, new TreeSet<>(received.bodies()), expression);
            assertEquals(all.size(), received.bodies().size(), "none twice");
        }
    }

    /**
     * A client that filters by SQL92 asks the broker at its start whether it may, and gives up after three seconds: no machine
     * must be busy for so long, but one that runs four test classes can be.
     */
    private DefaultMQPushConsumer patientConsumer(String group) {
        DefaultMQPushConsumer consumer = newPushConsumer(server, group);
        consumer.setMqClientApiTimeout((int) SOON.toMillis());
        return consumer;
    }

    private Received consume(String topic, String expression) throws Exception {
        DefaultMQPushConsumer consumer = patientConsumer(Names.unique("g"));
        consumer.subscribe(topic, MessageSelector.bySql("last = 'yes' OR (" + expression + ")"));
        Received received = new Received(consumer);
        consumer.start();
        return received;
    }

    /** Numbers are compared as numbers; a property that is none matches nothing. */
    @Test
    void numbers() throws Exception {
        expects("n > 1", "middle", "large");
        expects("n >= -3 AND n < 5.5", "small", "middle", "negative");
        expects("n BETWEEN 1 AND 5", "small", "middle");
        expects("n NOT BETWEEN 1 AND 5", "large", "negative");
        expects("n <> 5", "small", "large", "negative");
    }

    /** Texts are compared whole, among several, and by their parts. */
    @Test
    void texts() throws Exception {
        expects("region = 'Shanghai'", "middle");
        expects("region = 'it''s'", "text");
        expects("region IN ('Hangzhou', 'Shenzhen')", "small", "large");
        expects("region NOT IN ('Hangzhou', 'Shenzhen')", "middle", "text");
        expects("region STARTSWITH 'Sh' AND NOT (region CONTAINS 'zhen')", "middle");
        expects("region ENDSWITH 'hou' OR region CONTAINS ''''", "small", "text");
        expects("TAGS = 'T' AND vip = TRUE", "middle", "negative");
    }

    /** What a message lacks is unknown: neither a condition nor its opposite is true. */
    @Test
    void absentProperties() throws Exception {
        expects("vip IS NULL AND region IS NOT NULL", "small", "text");
        expects("vip = TRUE AND NOT (region = 'Shanghai')");
        expects("vip = TRUE AND (region IS NULL OR region = 'x')", "negative");
        expects("region IS NULL", "negative", "plain");
    }

    /** A consumer whose expression cannot be read does not start, and is told what is wrong with it. */
    @Test
    void badExpressionIsRefusedAtTheStart() throws Exception {
        assumeFalse(server.isApache(), "Apache does not filter by SQL92 unless it is told to");
        String topic = Admin.of(server).createTopic(server, Names.unique("bad"), 1);
        for (String expression : List.of("n >", "n > 'text'", "n IN (1, 2)", "n = NULL", "n LIKE 'x%'")) {
            DefaultMQPushConsumer consumer = patientConsumer(Names.unique("g"));
            consumer.subscribe(topic, MessageSelector.bySql(expression));
            new Received(consumer);
            MQClientException refused = assertThrows(MQClientException.class, consumer::start, expression);
            String told = refused.getErrorMessage() + " " + refused.getMessage();
            assertTrue(told.contains("Invalid MessageSelector") && told.contains("character "), told);
        }
    }

    /** A selection by tag passes the messages with these tags and no other, also those without a tag only to {@code *}. */
    @Test
    void tags() throws Exception {
        String topic = Admin.of(server).createTopic(server, Names.unique("tags"), 2);
        Received two = consume(server, Names.unique("g"), topic, "a || b");
        Received all = consume(server, Names.unique("g"), topic, "*");
        DefaultMQProducer producer = producer(server);
        for (String tag : List.of("a", "b", "c", "ab")) {
            producer.send(message(topic, tag, tag));
        }
        producer.send(message(topic, "untagged"));
        producer.send(message(topic, "a", "last"));
        all.awaitAll(List.of("a", "b", "c", "ab", "untagged", "last"), SOON);
        two.awaitAll(List.of("a", "b", "last"), SOON);
        assertEquals(new TreeSet<>(List.of("a", "b", "last")), new TreeSet<>(two.bodies()));
    }

    /** A lite pull consumer filters by SQL92 too. */
    @Test
    void litePull() throws Exception {
        assumeFalse(server.isApache(), "Apache does not filter by SQL92 unless it is told to");
        String topic = Admin.of(server).createTopic(server, Names.unique("lite"), 2);
        DefaultLitePullConsumer consumer = newLitePullConsumer(server, Names.unique("g"));
        consumer.setMqClientApiTimeout((int) SOON.toMillis());
        consumer.subscribe(topic, MessageSelector.bySql("n BETWEEN 2 AND 9 OR last IS NOT NULL"));
        consumer.start();
        sendOrders(producer(server), topic);
        List<String> bodies = new ArrayList<>();
        Until.holds("all messages arrive", SOON, () -> {
            for (MessageExt message : consumer.poll(100)) {
                bodies.add(text(message));
            }
            return bodies.contains("last") && bodies.contains("middle") && bodies.contains("large");
        });
        assertEquals(3, bodies.size(), bodies.toString());
    }

    /** A consumer gets messages by the expression that it subscribed last, also through a pull that was waiting by then. */
    @Test
    void expressionCanBeChanged() throws Exception {
        assumeFalse(server.isApache(), "Apache does not filter by SQL92 unless it is told to");
        String topic = Admin.of(server).createTopic(server, Names.unique("change"), 1);
        String group = Names.unique("g");
        DefaultMQPushConsumer consumer = patientConsumer(group);
        consumer.subscribe(topic, MessageSelector.bySql("n = 1"));
        Received received = new Received(consumer);
        consumer.start();
        DefaultMQProducer producer = producer(server);
        send(producer, topic, "1", "first");
        send(producer, topic, "2", "unwanted");
        received.awaitAll(List.of("first"), SOON);
        consumer.subscribe(topic, MessageSelector.bySql("n = 2"));
        send(producer, topic, "1", "unwanted now");
        send(producer, topic, "2", "second");
        received.awaitAll(List.of("second"), SOON);
        assertTrue(!received.bodies().contains("unwanted now"), received.bodies().toString());
    }

    private static void send(DefaultMQProducer producer, String topic, String number, String body) throws Exception {
        Message message = message(topic, body);
        message.putUserProperty("n", number);
        producer.send(message);
    }
}
