package rmqlite;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Files;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.junit.jupiter.api.Test;

/** What is still there after the server was stopped, or killed, and started again on the same data. */
class RestartTest extends ClientTest {
    private List<String> send(Server server, String topic, String what, int count) throws Exception {
        DefaultMQProducer producer = producer(server);
        List<String> bodies = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            producer.send(message(topic, what + i));
            bodies.add(what + i);
        }
        return bodies;
    }

    /** After a stop and a start a group gets what it had not consumed and nothing that it had; all messages are there. */
    @Test
    void consumerOffsetsSurviveARestart() throws Exception {
        consumedStaysConsumed((server, topic, group) ->
            assertEquals(server.isApache() ? 143 : 0, server.stop(), "exit code of a stop by SIGTERM"));
    }

    /** So it is after kill -9, once the file has what was committed, which takes no more than half a second. */
    @Test
    void consumerOffsetsSurviveKill9() throws Exception {
        consumedStaysConsumed((server, topic, group) -> {
            Oracle.apacheFails(server, "offsets reach the disk every five seconds");
            Until.holds("the offsets are in their file", SOON, () -> savedOffsets(server, topic, group) == 20);
            server.kill9();
        });
    }

    private interface Ending {
        void of(Server server, String topic, String group) throws Exception;
    }

    /** Adds up the offsets of all queues that the broker's file has: {@code "topic@group":{0:5,1:5}}. */
    private static long savedOffsets(Server server, String topic, String group) throws Exception {
        String text = Files.readString(server.stored("config/consumerOffset.json")).replaceAll("\\s", "");
        Matcher table = Pattern.compile("\"" + Pattern.quote(topic + "@" + group) + "\":\\{([^}]*)}").matcher(text);
        return table.find() ? Pattern.compile(",").splitAsStream(table.group(1)).mapToLong(queue -> Long.parseLong(queue.split(":")[1])).sum() : 0;
    }

    private void consumedStaysConsumed(Ending ending) throws Exception {
        Server server = closing(Server.own());
        String topic = Admin.of(server).createTopic(server, Names.unique("restart"), 4);
        String group = Names.unique("g");
        List<String> old = send(server, topic, "old", 20);
        Received before = consume(server, group, topic, "*");
        before.awaitAll(old, SOON);
        before.awaitCommitted(server, topic);
        before.consumer.shutdown();
        List<String> between = send(server, topic, "between", 20);

        ending.of(server, topic, group);
        server.startAgain();
        Received after = consume(server, group, topic, "*");
        after.awaitAll(between, SOON);
        after.awaitAll(send(server, topic, "new", 20), SOON);
        Set<String> again = new TreeSet<>(after.bodies());
        again.retainAll(old);
        assertEquals(Set.of(), again, "consumed before and come again");
        assertEquals(60, readAll(server, topic).size());
    }

    /** A producer and a consumer that live through a restart of the server go on without help, and nothing is lost. */
    @Test
    void liveClientsGoOnAfterARestart() throws Exception {
        Server server = closing(Server.own());
        String topic = Admin.of(server).createTopic(server, Names.unique("live"), 4);
        DefaultMQProducer producer = producer(server);
        Received received = consume(server, Names.unique("g"), topic, "*");
        producer.send(message(topic, "before"));
        received.awaitAll(List.of("before"), SOON);
        server.stop();
        server.startAgain();
        Until.holds("a send is acknowledged again", SOON,
            () -> producer.send(message(topic, "after")).getSendStatus() == SendStatus.SEND_OK);
        received.awaitAll(List.of("after"), SOON.plusSeconds(30)); // a client's heartbeat comes every 30 s
    }

    /** Kill -9 while four producers send: after the next start every acknowledged message is there. */
    @Test
    void acknowledgedMessagesSurviveKill9() throws Exception {
        Server server = closing(Server.own());
        String topic = Admin.of(server).createTopic(server, Names.unique("kill"), 4);
        Set<String> acknowledged = ConcurrentHashMap.newKeySet();
        ExecutorService senders = Executors.newFixedThreadPool(4);
        closing(senders::shutdownNow);
        List<Future<?>> running = new ArrayList<>();
        for (int s = 0; s < 4; s++) {
            DefaultMQProducer producer = newProducer(server);
            producer.setRetryTimesWhenSendFailed(0);
            producer.setSendMsgTimeout(3_000);
            producer.start();
            String name = "s" + s + "-";
            running.add(senders.submit(() -> {
                for (int i = 0;; i++) {
                    if (producer.send(message(topic, name + i)).getSendStatus() == SendStatus.SEND_OK) {
                        acknowledged.add(name + i);
                    }
                }
            }));
        }
        Until.holds("2000 messages are acknowledged", SOON, () -> acknowledged.size() > 2000);
        server.kill9();
        Until.holds("all senders notice", SOON, () -> running.stream().allMatch(Future::isDone));
        server.startAgain();
        Admin.of(server).awaitRoute(topic);
        Set<String> missing = new HashSet<>(acknowledged);
        missing.removeAll(readAll(server, topic));
        assertEquals(Set.of(), missing, "acknowledged and lost, of " + acknowledged.size());
    }

    /** A topic, its queue count, a group and a committed offset survive a kill -9 that follows them at once. */
    @Test
    void acknowledgedOffsetsSurviveKill9() throws Exception {
        Server server = closing(Server.own());
        String topic = Admin.of(server).createTopic(server, Names.unique("kill"), 3);
        String group = Names.unique("g");
        send(server, topic, "m", 30);
        Mqadmin.run(server, "updateSubGroup", "-b", server.broker(), "-g", group, "-r", "7").says("success");
        RemotingCommand committed = closing(new Raw(server.broker())).call(Raw.UPDATE_CONSUMER_OFFSET, null,
            "consumerGroup", group, "topic", topic, "queueId", 1, "commitOffset", 5);
        assertEquals(0, committed.getCode(), committed.getRemark());
        server.kill9();
        server.startAgain();
        Admin.of(server).awaitRoute(topic);
        assertEquals(3, Admin.of(server).api.examineTopicRouteInfo(topic).getQueueDatas().get(0).getReadQueueNums());
        var config = Admin.of(server).api.examineSubscriptionGroupConfig(server.broker(), group);
        assertNotNull(config, "the group is there");
        assertEquals(7, config.getRetryMaxTimes());
        Oracle.apacheFails(server, "offsets reach the disk every five seconds");
        RemotingCommand answer = closing(new Raw(server.broker())).call(Raw.QUERY_CONSUMER_OFFSET, null,
            "consumerGroup", group, "topic", topic, "queueId", 1);
        assertEquals(0, answer.getCode(), answer.getRemark());
        assertEquals("5", answer.getExtFields().get("offset"));
        assertTrue(readAll(server, topic).size() == 30);
    }
}
