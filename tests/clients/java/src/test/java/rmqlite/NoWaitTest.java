package rmqlite;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.junit.jupiter.api.Test;

/** Where Apache makes its users wait 20, 30 or 60 seconds, or loses their first message, nobody waits and none is lost. */
class NoWaitTest extends ClientTest {
    private final Server server = Server.shared();

    /** A consumer as most people write it: new group, start position left at its default, the last offset. */
    private Received defaultConsumer(String group, String topic) throws Exception {
        DefaultMQPushConsumer consumer = newPushConsumer(server, group);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET);
        consumer.subscribe(topic, "*");
        Received received = new Received(consumer);
        consumer.start();
        return received;
    }

    /** A consumer that was there before its topic gets all messages of the topic, the first one too, at once. */
    @Test
    void consumerFirstTopicLater() throws Exception {
        String topic = Names.unique("later");
        Received received = defaultConsumer(Names.unique("g"), topic);
        DefaultMQProducer producer = producer(server);
        List<String> bodies = new ArrayList<>();
        for (int i = 0; i < 20; i++) {
            bodies.add("m" + i);
            producer.send(message(topic, "m" + i));
        }
        received.awaitAll(bodies, SOON);
    }

    /** Two members that were there before their topic split its queues and get everything. */
    @Test
    void groupFirstTopicLater() throws Exception {
        String topic = Names.unique("later");
        String group = Names.unique("g");
        Received one = defaultConsumer(group, topic);
        Received two = defaultConsumer(group, topic);
        DefaultMQProducer producer = producer(server);
        List<String> bodies = new ArrayList<>();
        for (int i = 0; i < 40; i++) {
            bodies.add("m" + i);
            producer.send(message(topic, "m" + i));
        }
        Received.awaitAll(bodies, SOON, one, two);
    }

    /** A consumer that was there before its topic gets the messages of a topic that an administrator creates. */
    @Test
    void consumerFirstTopicCreatedByAdminLater() throws Exception {
        String topic = Names.unique("made");
        Received received = defaultConsumer(Names.unique("g"), topic);
        Admin.of(server).createTopic(server, topic, 3);
        DefaultMQProducer producer = producer(server);
        List<String> bodies = new ArrayList<>();
        for (int i = 0; i < 12; i++) {
            bodies.add("m" + i);
            producer.send(message(topic, "m" + i));
        }
        received.awaitAll(bodies, SOON);
    }

    /** An empty queue that begins at 0 answers the offset of a new group with 0: it has no "last message" to start behind. */
    @Test
    void emptyQueueBeginsAtZeroForANewGroup() throws Exception {
        Oracle.apacheFails(server, "5.3.3 answers NOT_FOUND (22), and the client then starts behind what has arrived meanwhile");
        String topic = Admin.of(server).createTopic(server, Names.unique("empty"), 1);
        RemotingCommand answer = closing(new Raw(server.broker())).call(Raw.QUERY_CONSUMER_OFFSET, null,
            "consumerGroup", Names.unique("g"), "topic", topic, "queueId", 0);
        assertEquals(0, answer.getCode(), answer.getRemark());
        assertEquals("0", answer.getExtFields().get("offset"));
    }

    /** The first message of a topic, sent while a new group with the default start position starts, always arrives. */
    @Test
    void firstMessageOfAnEmptyQueueIsNotLost() throws Exception {
        Oracle.apacheFails(server, "a message that arrives between two questions of the starting consumer is lost");
        DefaultMQProducer producer = producer(server);
        ExecutorService starts = Executors.newCachedThreadPool();
        closing(starts::shutdownNow);
        for (int round = 0; round < 10; round++) {
            String topic = Admin.of(server).createTopic(server, Names.unique("race"), 1);
            Future<Received> consumer = starts.submit(() -> defaultConsumer(Names.unique("g"), topic));
            for (int i = 0; i < 10; i++) {
                producer.send(message(topic, "m" + i));
            }
            consumer.get().awaitAll(List.of("m0", "m1", "m9"), SOON);
        }
    }

    /** A pull whose subscription is newer than the group's last heartbeat is served: the heartbeat may just be on its way. */
    @Test
    void pullAheadOfItsHeartbeatIsServed() throws Exception {
        String topic = Admin.of(server).createTopic(server, Names.unique("ahead"), 1);
        String group = Names.unique("g");
        producer(server).send(message(topic, "T", "m"));
        Raw client = closing(new Raw(server.broker()));
        RemotingCommand beat = client.call(Raw.HEART_BEAT, "{\"clientID\":\"127.0.0.1@" + group + "\",\"producerDataSet\":[],"
            + "\"consumerDataSet\":[{\"consumeFromWhere\":\"CONSUME_FROM_FIRST_OFFSET\",\"consumeType\":\"CONSUME_PASSIVELY\","
            + "\"groupName\":\"" + group + "\",\"messageModel\":\"CLUSTERING\",\"subscriptionDataSet\":[{\"classFilterMode\":false,"
            + "\"codeSet\":[],\"expressionType\":\"TAG\",\"subString\":\"*\",\"subVersion\":1000,\"tagsSet\":[],\"topic\":\"" + topic
            + "\"}],\"unitMode\":false}]}");
        assertEquals(0, beat.getCode(), beat.getRemark());
        RemotingCommand known = pull(client, group, topic, 1000);
        assertEquals(0, known.getCode(), known.getRemark());
        assertTrue(known.getBody().length > 0);
        Oracle.apacheFails(server, "the pull is refused until the next heartbeat, up to 30 s");
        RemotingCommand ahead = pull(client, group, topic, 2000);
        assertEquals(0, ahead.getCode(), ahead.getRemark());
        assertEquals(known.getBody().length, ahead.getBody().length);
    }

    private static RemotingCommand pull(Raw client, String group, String topic, long subVersion) throws Exception {
        return client.call(Raw.PULL_MESSAGE, null, "consumerGroup", group, "topic", topic, "queueId", 0, "queueOffset", 0,
            "maxMsgNums", 32, "sysFlag", 0, "commitOffset", 0, "suspendTimeoutMillis", 0, "subVersion", subVersion,
            "subscription", "*", "expressionType", "TAG");
    }

    /** The queues that an orderly consumer had locked when its process was killed go on with another member at once. */
    @Test
    void orderlyLocksOfADeadMemberEndWithIt() throws Exception {
        Duration bound = server.isApache() ? Duration.ofSeconds(100) : SOON; // Apache keeps such a lock for 60 s
        String topic = Admin.of(server).createTopic(server, Names.unique("locks"), 4);
        String group = Names.unique("g");
        Peer dies = closing(Peer.start(Map.of(), "consume-orderly", server.namesrv(), group, topic));
        dies.awaitLine("started", Duration.ofSeconds(30));
        DefaultMQProducer producer = producer(server);
        List<String> first = new ArrayList<>();
        for (int i = 0; i < 16; i++) {
            first.add("first" + i);
            producer.send(message(topic, "first" + i));
        }
        Until.holds("the other process consumes all", SOON, () -> dies.got().containsAll(first));
        dies.kill9();

        DefaultMQPushConsumer consumer = newPushConsumer(server, group);
        consumer.subscribe(topic, "*");
        Received received = new Received(consumer, true);
        consumer.start();
        List<String> second = new ArrayList<>();
        for (int i = 0; i < 16; i++) {
            second.add("second" + i);
            producer.send(message(topic, "second" + i));
        }
        received.awaitAll(second, bound);
    }
}
