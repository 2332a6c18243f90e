package rmqlite;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Apache's mqadmin of the client version under test: what concerns single topics, groups and messages. */
class MqadminTest extends ClientTest {
    private final Server server = Server.shared();
    private final String broker = server.broker();
    private final String brokerName = Admin.of(server).brokerName();
    private final String cluster = Admin.of(server).cluster();

    private Mqadmin mqadmin(String... args) {
        return Mqadmin.run(server, args);
    }

    private String topic(int queues) {
        return Admin.of(server).createTopic(server, Names.unique("adm"), queues);
    }

    private List<SendResult> send(String topic, String tag, int queue, int count) throws Exception {
        DefaultMQProducer producer = producer(server);
        List<SendResult> sent = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            Message message = message(topic, tag, "body" + i);
            message.setKeys("key" + i);
            sent.add(producer.send(message, new MessageQueue(topic, brokerName, queue)));
        }
        return sent;
    }

    /** A running consumer of a topic that has consumed and committed what there was. */
    private Received caughtUp(String group, String topic, int messages) throws Exception {
        Received received = consume(server, group, topic, "*");
        Until.holds("all is consumed", SOON, () -> received.bodies().size() >= messages);
        received.awaitCommitted(server, topic);
        return received;
    }

    /** clusterList shows the broker with cluster, id, address and version, and with -m the messages of the day. */
    @Test
    void clusterListShowsTheBroker() {
        mqadmin("clusterList", "-m").says("^" + cluster + " +" + brokerName + "( +\\d+){4}");
        if (Oracle.client4()) {
            Oracle.apacheFails(server, "it sends getTransferredTps, this tool reads getTransferedTps");
        }
        mqadmin("clusterList").says("^" + cluster + " +" + brokerName + " +0 +" + broker + " +V\\d+_\\d+");
    }

    /** topicList shows every topic, the system's own too, and with -c the groups that consume it. */
    @Test
    void topicListShowsTopicsAndGroups() throws Exception {
        String topic = topic(2);
        String group = Names.unique("grp");
        send(topic, "T", 0, 1);
        caughtUp(group, topic, 1);
        mqadmin("topicList").says("^" + topic + "$", "^TBW102$", "^SELF_TEST_TOPIC$", "^OFFSET_MOVED_EVENT$",
            "^" + brokerName + "$", "^" + cluster + "$", "^%RETRY%" + group + "$");
        mqadmin("topicList", "-c").says("^" + cluster + " +" + topic + " +" + group + " *$");
    }

    /**
     * topicRoute shows the broker's address and the queues, as JSON and as a list; an illegal name is "not found". For a legal
     * one that is unknown, rmq-lite shows the route that its first message would take; asking alone does not make the topic.
     */
    @Test
    void topicRouteShowsBrokerAndQueues() {
        String topic = topic(3);
        mqadmin("topicRoute", "-t", topic).says("\"brokerName\":\"" + brokerName + "\"", "0:\"" + broker + "\"",
            "\"readQueueNums\":3", "\"writeQueueNums\":3", "\"perm\":6", "\"cluster\":\"" + cluster + "\"");
        mqadmin("topicRoute", "-l", "-t", topic).says("^" + cluster + " +" + brokerName + " +\\{0=" + broker + "\\} +3 +3 +6");
        String unknown = Names.unique("unknown");
        Mqadmin asked = mqadmin("topicRoute", "-t", unknown);
        assertTrue(server.isApache() ? asked.matches("CODE: 17") : asked.matches("CODE: 17|\"brokerName\""), asked::toString);
        mqadmin("topicRoute", "-t", "not$legal").tells("CODE: 17");
        mqadmin("topicRoute", "-t", "%DLQ%" + unknown).tells("CODE: 17");
        assertFalse(mqadmin("topicList").matches("^" + unknown + "$"), "asking has not made it");
    }

    /** topicStatus shows smallest and largest offset of each queue, from the moment of the topic's creation. */
    @Test
    void topicStatusShowsOffsets() throws Exception {
        String topic = Names.unique("adm");
        mqadmin("updateTopic", "-b", broker, "-t", topic, "-r", "2", "-w", "2").says("success");
        mqadmin("topicStatus", "-t", topic).says("^" + brokerName + " +0 +0 +0", "^" + brokerName + " +1 +0 +0");
        send(topic, "T", 1, 4);
        mqadmin("topicStatus", "-t", topic).says("^" + brokerName + " +0 +0 +0", "^" + brokerName + " +1 +0 +4 +20\\d\\d-");
    }

    /** topicClusterList shows the cluster that has the topic. */
    @Test
    void topicClusterListShowsTheCluster() {
        mqadmin("topicClusterList", "-t", topic(1)).says("^" + cluster + "$");
    }

    /** A topic is created at a broker or in a cluster, changed, write-protected, and deleted, and its route follows at once. */
    @Test
    void topicIsCreatedChangedAndDeleted() {
        String topic = Names.unique("adm");
        mqadmin("updateTopic", "-c", cluster, "-t", topic).says("create topic to " + broker + " success");
        mqadmin("topicRoute", "-t", topic).says("\"readQueueNums\":8", "\"writeQueueNums\":8", "\"perm\":6");
        mqadmin("updateTopic", "-b", broker, "-t", topic, "-r", "5", "-w", "4", "-p", "6").says("create topic to " + broker + " success");
        mqadmin("topicRoute", "-t", topic).says("\"readQueueNums\":5", "\"writeQueueNums\":4");
        mqadmin("updateTopicPerm", "-b", broker, "-t", topic, "-p", "4").says("from 6 to 4 in " + broker + " success");
        mqadmin("topicRoute", "-t", topic).says("\"perm\":4");
        mqadmin("deleteTopic", "-c", cluster, "-t", topic).says("from cluster \\[" + cluster + "\\] success", "from NameServer success");
        mqadmin("topicRoute", "-t", topic).tells("CODE: 17");
        assertFalse(mqadmin("topicList").matches("^" + topic + "$"), "it is gone from the list");
    }

    /** An illegal topic name is refused with a reason, and leaves nothing behind. */
    @Test
    void illegalTopicIsRefused() {
        Mqadmin refused = mqadmin("updateTopic", "-b", broker, "-t", "no/slash$", "-r", "1", "-w", "1");
        assertFalse(refused.matches("create topic to .* success"), refused::toString);
        refused.tells("Exception", "illegal|legal|contains|match");
        assertFalse(mqadmin("topicList").matches("no/slash"), "it is not there");
    }

    /** What topics cannot do here is refused with the attribute and the reason; what they can is kept. */
    @Test
    void attributesOfTopics() {
        Assumptions.assumeFalse(Oracle.client4(), "this client has no attributes of topics");
        Oracle.apacheFails(server, "it has compacted topics and queues of batches");
        String topic = Names.unique("adm");
        for (String unserved : List.of("cleanup.policy=COMPACTION", "queue.type=BatchCQ")) {
            mqadmin("updateTopic", "-b", broker, "-t", topic, "-a", "+" + unserved).tells(unserved + " is not supported: .* are not available");
        }
        assertFalse(mqadmin("topicList").matches("^" + topic + "$"), "nothing is there");
        mqadmin("updateTopic", "-b", broker, "-t", topic, "-a", "+message.type=FIFO,+cleanup.policy=DELETE").says("create topic to .* success",
            "message.type=FIFO");
    }

    /** A group is created, read back, changed and deleted. */
    @Test
    void groupIsCreatedChangedAndDeleted() {
        String group = Names.unique("grp");
        mqadmin("updateSubGroup", "-b", broker, "-g", group, "-r", "5", "-q", "2").says("to " + broker + " success", "retryMaxTimes=5");
        mqadmin("getConsumerConfig", "-g", group).says("groupName += +" + group, "retryMaxTimes += +5", "retryQueueNums += +2",
            "consumeEnable += +true");
        mqadmin("updateSubGroup", "-c", cluster, "-g", group, "-r", "7", "-s", "false").says("to " + broker + " success");
        mqadmin("getConsumerConfig", "-g", group).says("retryMaxTimes += +7", "consumeEnable += +false");
        mqadmin("deleteSubGroup", "-b", broker, "-g", group).says("from broker \\[" + broker + "\\] success");
        assertFalse(mqadmin("getConsumerConfig", "-g", group).matches("groupName += +" + group), "it is gone");
    }

    /** deleteSubGroup -r true removes the group's offsets, by the field name of either tool generation. */
    @Test
    void deletedGroupLosesItsOffsetsWhenAsked() throws Exception {
        String topic = topic(1);
        String group = Names.unique("grp");
        send(topic, "T", 0, 5);
        mqadmin("updateSubGroup", "-b", broker, "-g", group).says("success");
        Raw raw = closing(new Raw(broker));
        raw.call(Raw.UPDATE_CONSUMER_OFFSET, null, "consumerGroup", group, "topic", topic, "queueId", 0, "commitOffset", 5);
        assertEquals("5", offset(raw, group, topic));
        if (Oracle.client4()) {
            Oracle.apacheFails(server, "it reads cleanOffset, this tool sends removeOffset");
        }
        mqadmin("deleteSubGroup", "-b", broker, "-g", group, "-r", "true").says("success");
        assertFalse("5".equals(offset(raw, group, topic)), "the offset is gone");
    }

    private static String offset(Raw raw, String group, String topic) throws Exception {
        var fields = raw.call(Raw.QUERY_CONSUMER_OFFSET, null, "consumerGroup", group, "topic", topic, "queueId", 0).getExtFields();
        return fields == null ? null : fields.get("offset");
    }

    /** consumerProgress shows a group's lag by queue and in sum, and every group in the overview. */
    @Test
    void consumerProgressShowsTheLag() throws Exception {
        String topic = topic(2);
        String group = Names.unique("grp");
        send(topic, "T", 1, 3);
        Received received = caughtUp(group, topic, 3);
        mqadmin("consumerProgress").says("^" + group + " +1 +V\\d+_\\d+_\\d+ +PUSH +CLUSTERING +\\d+ +0");
        received.consumer.shutdown();
        send(topic, "T", 1, 4);
        mqadmin("consumerProgress", "-g", group).says("^" + topic + " +" + brokerName + " +1 +7 +3 +4 ", "Diff Total: 4");
        mqadmin("consumerProgress").says("^" + group + " .* 4$");
        mqadmin("consumerProgress", "-g", group, "-s", "true").says("Client IP", "^" + topic + " +" + brokerName + " +1 +7 +3 ");
    }

    /** The connections of a consumer group and of a producer group show client, address, language and subscription. */
    @Test
    void connectionsAreShown() throws Exception {
        String topic = topic(1);
        String group = Names.unique("grp");
        // A producer tells of itself with the heartbeat of its process, which the start of a consumer brings forward.
        DefaultMQProducer producer = producer(server);
        producer.send(message(topic, "T", "m"));
        DefaultMQPushConsumer consumer = newPushConsumer(server, group);
        consumer.setInstanceName(producer.getInstanceName());
        consumer.subscribe(topic, "*");
        Received received = new Received(consumer);
        consumer.start();
        received.awaitAll(List.of("m"), SOON);
        received.awaitCommitted(server, topic);
        String client = Pattern.quote(received.consumer.buildMQClientId());
        mqadmin("consumerConnection", "-g", group).says("^" + client + " +127.0.0.1:\\d+ +JAVA +V\\d+_\\d+_\\d+",
            "^" + topic + " +\\*", "^%RETRY%" + group + " +\\*", "ConsumeType: CONSUME_PASSIVELY", "MessageModel: CLUSTERING",
            "ConsumeFromWhere: CONSUME_FROM_FIRST_OFFSET");
        mqadmin("producerConnection", "-g", producer.getProducerGroup(), "-t", topic)
            .says(Pattern.quote(producer.buildMQClientId()) + " +127.0.0.1:\\d+ +JAVA +V\\d+_\\d+_\\d+");
        mqadmin("producer", "-b", broker).says("producer group \\(" + producer.getProducerGroup() + "\\) instance");
        mqadmin("consumerStatus", "-g", group, "-i", received.consumer.buildMQClientId(), "-s")
            .tells("#Consumer Offset#", "^" + topic + " +" + brokerName + " +0 +1 *$", "#Consumer jstack#");
    }

    /** A group without a connection is reported as such, with its own code. */
    @Test
    void offlineGroupHasNoConnection() throws Exception {
        String topic = topic(1);
        String group = Names.unique("grp");
        send(topic, "T", 0, 1);
        caughtUp(group, topic, 1).consumer.shutdown();
        Until.holds("it is offline", SOON, () -> mqadmin("consumerConnection", "-g", group).matches("CODE: 206"));
    }

    /** brokerStatus shows the figures that people and exporters read, by broker and by cluster. */
    @Test
    void brokerStatusShowsFigures() throws Exception {
        send(topic(1), "T", 0, 1);
        mqadmin("brokerStatus", "-b", broker).says("^bootTimestamp +: \\d+", "^brokerVersionDesc +: V\\d", "^commitLogMaxOffset +: [1-9]",
            "^commitLogMinOffset +: \\d+", "^putTps +: ", "^getTransferredTps +: ", "^msgPutTotalTodayNow +: \\d+",
            "^msgPutTotalTodayMorning +: \\d+", "^runtime +: ", "^commitLogDiskRatio +: [\\d.]+", "^dispatchBehindBytes +: \\d+",
            "^sendThreadPoolQueueSize +: \\d+", "^remainHowManyDataToFlush +: ", "^putMessageTimesTotal +: \\d+");
        mqadmin("brokerStatus", "-c", cluster).says("^" + broker + " +bootTimestamp +: \\d+");
    }

    /** getBrokerConfig shows the configuration by broker and by cluster. */
    @Test
    void brokerConfigIsShown() {
        mqadmin("getBrokerConfig", "-b", broker).says("brokerName += +" + brokerName, "brokerClusterName += +" + cluster,
            "listenPort += +" + broker.substring(broker.indexOf(':') + 1), "flushDiskType += +ASYNC_FLUSH", "maxMessageSize += +4194304",
            "fileReservedTime += +\\d+", "autoCreateTopicEnable += +true");
        mqadmin("getBrokerConfig", "-c", cluster).says("brokerName += +" + brokerName);
    }

    /** A message is found by its id, its key, its unique id and its offset; what does not exist is not. */
    @Test
    void messagesAreFound() throws Exception {
        String topic = topic(2);
        SendResult sent = send(topic, "TagQ", 1, 3).get(1);
        String[] byId = Oracle.client4() ? new String[] {"queryMsgById", "-i", sent.getOffsetMsgId()}
            : new String[] {"queryMsgById", "-t", topic, "-i", sent.getOffsetMsgId()};
        String[] wanted = {"^Topic: +" + topic, "^Tags: +\\[TagQ\\]", "^Keys: +\\[key1\\]", "^Queue ID: +1$", "^Queue Offset: +1$",
            "^Properties: .*UNIQ_KEY=" + sent.getMsgId(), "^Store Host: +" + broker};
        mqadmin(byId).says(wanted).says("^OffsetID: +" + sent.getOffsetMsgId());
        mqadmin("queryMsgByOffset", "-t", topic, "-b", brokerName, "-i", "1", "-o", "1").says(wanted);
        Until.holds("the index has it", SOON,
            () -> mqadmin("queryMsgByKey", "-t", topic, "-k", "key1").matches("^" + sent.getMsgId() + " +1 +1"));
        mqadmin("queryMsgByUniqueKey", "-t", topic, "-i", sent.getMsgId()).says(wanted);
        assertFalse(mqadmin("queryMsgByKey", "-t", topic, "-k", "key77").matches("^[0-9A-F]{32}"), "no such key");
    }

    /** printMsg and printMsgByQueue print the messages of a topic, of a queue, and of a tag. */
    @Test
    void messagesArePrinted() throws Exception {
        String topic = topic(2);
        SendResult a = send(topic, "A", 0, 1).get(0);
        SendResult b = send(topic, "B", 1, 1).get(0);
        mqadmin("printMsg", "-t", topic, "-d", "true").says("MSGID: " + a.getMsgId() + ".*body0", "MSGID: " + b.getMsgId() + ".*body0",
            "minOffset=0, maxOffset=1, ");
        Mqadmin tagged = mqadmin("printMsg", "-t", topic, "-s", "B").says("MSGID: " + b.getMsgId());
        assertFalse(tagged.matches("MSGID: " + a.getMsgId()), tagged::toString);
        Mqadmin queue = mqadmin("printMsgByQueue", "-t", topic, "-a", brokerName, "-i", "0", "-p", "true", "-d", "true")
            .says("MSGID: " + a.getMsgId() + ".*body0");
        assertFalse(queue.matches("MSGID: " + b.getMsgId()), queue::toString);
        mqadmin("printMsgByQueue", "-t", topic, "-a", brokerName, "-i", "0", "-f", "true").says("Tag: A +Count: 1");
    }

    /** statsAll shows a topic with its group, the lag and the messages of the day. */
    @Test
    void statsAllShowsTopicAndGroup() throws Exception {
        String topic = topic(1);
        String group = Names.unique("grp");
        send(topic, "T", 0, 6);
        caughtUp(group, topic, 6).consumer.shutdown();
        send(topic, "T", 0, 2);
        mqadmin("statsAll", "-t", topic).says("^" + topic + " +" + group + " +2 +[\\d.]+ +[\\d.]+ +\\d+ +\\d+");
        String silent = topic(1);
        mqadmin("statsAll").says("^" + topic + " +" + group + " +2 ", "^" + silent + " +.* NO_CONSUMER");
    }

    /** resetOffsetByTime takes a running group back, so that it gets everything again, and a stopped one as well. */
    @Test
    void offsetsAreResetByTime() throws Exception {
        String topic = topic(1);
        String group = Names.unique("grp");
        send(topic, "T", 0, 5);
        Received received = caughtUp(group, topic, 5);
        mqadmin("resetOffsetByTime", "-g", group, "-t", topic, "-s", "0").says("^" + brokerName + " +0 +0 *$");
        // A 4.x client sleeps ten seconds between forgetting the old offset and asking for the new one.
        Until.holds("the running group gets all again", SOON.plusSeconds(15), () -> received.bodies().size() == 10);
        received.awaitCommitted(server, topic);
        received.consumer.shutdown();
        mqadmin("resetOffsetByTime", "-g", group, "-t", topic, "-s", "0").tells("^" + brokerName + " +0 +0 |reset consumer offset.*" + group);
        mqadmin("consumerProgress", "-g", group).says("^" + topic + " +" + brokerName + " +0 +5 +0 +5 ");
        Received again = consume(server, group, topic, "*");
        Until.holds("the stopped group gets all again", SOON, () -> new HashSet<>(again.bodies()).size() == 5);
    }

    /** resetOffsetByTime to now, and skipAccumulatedMessage, take a stopped group behind its lag. */
    @Test
    void lagIsSkipped() throws Exception {
        String topic = topic(1);
        int sent = 0;
        for (String[] skip : new String[][] {{"resetOffsetByTime", "-s", "now"}, {"skipAccumulatedMessage"}}) {
            String group = Names.unique("grp");
            send(topic, "T", 0, 3);
            sent += 3;
            caughtUp(group, topic, sent).consumer.shutdown();
            send(topic, "T", 0, 2);
            sent += 2;
            mqadmin("consumerProgress", "-g", group).says("^" + topic + " +" + brokerName + " +0 +" + sent + " +" + (sent - 2) + " +2 ");
            List<String> args = new ArrayList<>(List.of(skip));
            args.addAll(List.of("-g", group, "-t", topic));
            mqadmin(args.toArray(new String[0])).tells(group + "|^" + brokerName + " +0 +" + sent);
            mqadmin("consumerProgress", "-g", group).says("^" + topic + " +" + brokerName + " +0 +" + sent + " +" + sent + " +0 ");
        }
    }

    /** cloneGroupOffset gives another group the offsets of the first. */
    @Test
    void offsetsAreCloned() throws Exception {
        String topic = topic(1);
        String from = Names.unique("grp");
        String to = Names.unique("grp");
        send(topic, "T", 0, 5);
        caughtUp(from, topic, 5).consumer.shutdown();
        mqadmin("updateSubGroup", "-b", broker, "-g", to).says("success");
        mqadmin("cloneGroupOffset", "-s", from, "-d", to, "-t", topic).says("success");
        assertEquals("5", offset(closing(new Raw(broker)), to, topic));
    }

    /** brokerConsumeStats shows every group's offsets at one broker. */
    @Test
    void brokerConsumeStatsShowsGroups() throws Exception {
        String topic = topic(1);
        String group = Names.unique("grp");
        send(topic, "T", 0, 2);
        caughtUp(group, topic, 2);
        mqadmin("brokerConsumeStats", "-b", broker).says("^" + topic + " +" + group + " +" + brokerName + " +0 +2 +2 +0 ", "Diff Total: \\d+");
    }

    /** queryCq shows the entries of a consume queue, and a group's subscription. */
    @Test
    void consumeQueueIsShown() throws Exception {
        String topic = topic(1);
        String group = Names.unique("grp");
        send(topic, "TagA", 0, 2);
        caughtUp(group, topic, 2);
        mqadmin("queryCq", "-t", topic, "-q", "0", "-i", "0", "-c", "5", "-b", broker).says("max: 2, min: 0", "^idx: 1$",
            "physicOffset=\\d+, physicSize=\\d+, tagsCode=" + "TagA".hashCode());
        mqadmin("queryCq", "-t", topic, "-q", "0", "-i", "0", "-c", "5", "-b", broker, "-g", group)
            .says("\"subString\":\"\\*\"", "\"topic\":\"" + topic + "\"", "max: 2, min: 0");
    }

    /** sendMessage sends, to a queue of choice too, and consumeMessage prints what is there. */
    @Test
    void toolSendsAndConsumes() throws Exception {
        String topic = topic(2);
        mqadmin("sendMessage", "-t", topic, "-p", "first body", "-k", "K", "-c", "C").says("^" + brokerName + " +[01] +SEND_OK +[0-9A-F]{32}");
        mqadmin("sendMessage", "-t", topic, "-p", "second body", "-b", brokerName, "-i", "1").says("^" + brokerName + " +1 +SEND_OK ");
        mqadmin("consumeMessage", "-t", topic).says("Consume ok", "BODY: first body", "BODY: second body");
        mqadmin("consumeMessage", "-t", topic, "-b", brokerName, "-i", "1", "-o", "0", "-c", "5").says("BODY: second body");
    }

    /** allocateMQ shows how clients would share the queues. */
    @Test
    void queuesAreAllocated() {
        mqadmin("allocateMQ", "-t", topic(2), "-i", "1.1.1.1,2.2.2.2").says("\"1.1.1.1\":\\[\\{[^]]*\"queueId\":\\d", "\"2.2.2.2\":\\[\\{");
    }

    /** The tools that measure sends report successes: checkMsgSendRT, sendMsgStatus and clusterRT. */
    @Test
    void sendsAreMeasured() throws Exception {
        mqadmin("checkMsgSendRT", "-t", topic(2), "-a", "4", "-s", "16").says("^" + brokerName + " +0 +true", "^" + brokerName + " +1 +true",
            "^Avg RT: [\\d.]+");
        mqadmin("sendMsgStatus", "-b", brokerName, "-c", "2", "-s", "16").says("sendStatus=SEND_OK");
        String done = "3                 0"; // successes and failures in columns
        assertTrue(Mqadmin.runUntilItSays(server, done, "clusterRT", "-a", "3", "-s", "16", "-i", "600").matches(
            "^" + cluster + " +" + brokerName + " +[\\d.]+ +3 +0"));
    }

    /** exportMetadata writes topics and groups, by cluster and by broker. */
    @Test
    void metadataAreExported(@TempDir Path dir) throws Exception {
        String topic = topic(2);
        String group = Names.unique("grp");
        mqadmin("updateSubGroup", "-b", broker, "-g", group).says("success");
        mqadmin("exportMetadata", "-c", cluster, "-f", dir.toString()).says("metadata.json success");
        String all = Files.readString(dir.resolve("metadata.json"));
        assertTrue(all.contains("\"" + topic + "\"") && all.contains("\"" + group + "\""), all);
        mqadmin("exportMetadata", "-b", broker, "-t", "-f", dir.toString()).says("topic.json success");
        assertTrue(Files.readString(dir.resolve("topic.json")).contains("\"" + topic + "\""));
        mqadmin("exportMetadata", "-b", broker, "-g", "-f", dir.toString()).says("subscriptionGroup.json success");
        assertTrue(Files.readString(dir.resolve("subscriptionGroup.json")).contains("\"" + group + "\""));
    }

    /** exportConfigs and exportMetrics write what the cluster is made of and what it does. */
    @Test
    void configsAndMetricsAreExported(@TempDir Path dir) throws Exception {
        String topic = topic(1);
        send(topic, "T", 0, 1);
        if (Oracle.client4()) {
            Oracle.apacheFails(server, "it does not report filterServerNums, which this tool needs");
        }
        mqadmin("exportConfigs", "-c", cluster, "-f", dir.toString()).says("configs.json success");
        String configs = Files.readString(dir.resolve("configs.json"));
        assertTrue(configs.contains("\"" + brokerName + "\"") && configs.contains("\"flushDiskType\":\"ASYNC_FLUSH\""), configs);
        if (Oracle.client4()) {
            Oracle.apacheFails(server, "it sends getTransferredTps, this tool reads getTransferedTps");
        }
        mqadmin("exportMetrics", "-c", cluster, "-f", dir.toString()).says("metrics.json success");
        String metrics = Files.readString(dir.resolve("metrics.json"));
        assertTrue(metrics.contains("\"totalTps\"") && metrics.contains("\"runtimeQuota\""), metrics);
    }

    /** Lists of topics and of groups are created from files. */
    @Test
    void listsAreCreated(@TempDir Path dir) throws Exception {
        Assumptions.assumeFalse(Oracle.client4(), "this client has no commands for lists");
        List<String> topics = List.of(Names.unique("adm"), Names.unique("adm"));
        List<String> groups = List.of(Names.unique("grp"), Names.unique("grp"));
        Path file = dir.resolve("list.json");
        Files.writeString(file, "[{\"topicName\":\"" + topics.get(0) + "\",\"readQueueNums\":2,\"writeQueueNums\":2},{\"topicName\":\""
            + topics.get(1) + "\",\"readQueueNums\":3,\"writeQueueNums\":3}]");
        mqadmin("updateTopicList", "-b", broker, "-f", file.toString()).says("topic config to " + broker + " success");
        mqadmin("topicRoute", "-t", topics.get(1)).says("\"readQueueNums\":3");
        mqadmin("topicList").says("^" + topics.get(0) + "$", "^" + topics.get(1) + "$");
        mqadmin("updateTopicList", "-c", cluster, "-f", file.toString()).says("topic config to " + broker + " success");
        Files.writeString(file, "[{\"groupName\":\"" + groups.get(0) + "\",\"retryMaxTimes\":3},{\"groupName\":\"" + groups.get(1) + "\"}]");
        mqadmin("updateSubGroupList", "-b", broker, "-f", file.toString()).says("group config to " + broker + " success");
        mqadmin("updateSubGroupList", "-c", cluster, "-f", file.toString()).says("group config to " + broker + " success");
        mqadmin("getConsumerConfig", "-g", groups.get(0)).says("retryMaxTimes += +3");
        mqadmin("getConsumerConfig", "-g", groups.get(1)).says("retryMaxTimes += +16");
    }

    /** A message is given once more to a consumer of choice, and told how it went; a message is sent once more. */
    @Test
    void messagesAreConsumedDirectlyAndResent() throws Exception {
        String topic = topic(1);
        String group = Names.unique("grp");
        SendResult sent = send(topic, "T", 0, 1).get(0);
        Received received = caughtUp(group, topic, 1);
        String client = received.consumer.buildMQClientId();
        String[] byKey = {"queryMsgByUniqueKey", "-t", topic, "-i", sent.getMsgId(), "-g", group, "-d", client};
        mqadmin(byKey).says("consumeResult=CR_SUCCESS");
        assertEquals(List.of("body0", "body0"), received.bodies());
        List<String> byId = new ArrayList<>(List.of("queryMsgById", "-i", sent.getOffsetMsgId()));
        if (!Oracle.client4()) {
            byId.addAll(List.of("-t", topic));
        }
        List<String> directly = new ArrayList<>(byId);
        directly.addAll(List.of("-g", group, "-d", client));
        mqadmin(directly.toArray(new String[0])).says("consumeResult=CR_SUCCESS");
        byId.addAll(List.of("-s", "true"));
        mqadmin(byId.toArray(new String[0])).says("SEND_OK");
        Until.holds("it comes again", SOON, () -> received.bodies().size() == 4);
        byKey[8] = "no-such-client";
        mqadmin(byKey).tells("Exception|failed");
        assertEquals(4, received.bodies().size());
    }

    /** haStatus shows the master and its slaves, of which there are none. */
    @Test
    void haStatusIsShown() {
        Assumptions.assumeFalse(Oracle.client4(), "this client has no haStatus");
        mqadmin("haStatus", "-b", broker).says("^#MasterAddr\\s+" + broker, "^#MasterCommitLogMaxOffset\\s+\\d+", "^#SlaveNum\\s+0",
            "^#InSyncSlaveNum\\s+0");
        mqadmin("haStatus", "-c", cluster).says("^#MasterAddr\\s+" + broker);
    }

    /** haStatus shows a master's slave, up to date, and a slave's master; brokerStatus tells of replication, too. */
    @Test
    void haStatusShowsBothEnds() throws Exception {
        Assumptions.assumeFalse(Oracle.client4(), "this client has no haStatus");
        Server pair = closing(Server.own("--slave", "--slave-port", "0", "--set", "brokerRole=SYNC_MASTER"));
        Until.holds("the slave is in sync", SOON, () -> Mqadmin.run(pair, "haStatus", "-b", pair.broker()).matches("^#InSyncSlaveNum\\s+1"));
        String topic = Admin.of(pair).createTopic(pair, Names.unique("ha"), 1);
        producer(pair).send(message(topic, "m"));
        // Address, offset that the slave has, bytes that it lacks, speed, in sync, where the next bytes come from.
        Mqadmin.run(pair, "haStatus", "-b", pair.broker())
            .says("^#SlaveNum\\s+1", "^127\\.0\\.0\\.1:\\d+ +[1-9]\\d+ +0 +\\d+[.,]\\d\\d +OK +[1-9]\\d+");
        Matcher slave = Pattern.compile("^\\S+ +\\S+ +1 +(\\S+:\\d+)", Pattern.MULTILINE).matcher(Mqadmin.run(pair, "clusterList").output);
        assertTrue(slave.find());
        Mqadmin.run(pair, "haStatus", "-b", slave.group(1)).says("^#MasterAddr\\s+127\\.[\\d.]+:\\d+", "^#CommitLogMaxOffset\\s+[1-9]\\d+",
            "^#TransferSpeed\\(KB/s\\)\\s+\\d");
        Mqadmin.run(pair, "brokerStatus", "-b", pair.broker()).says("^haInSyncSlaveNums\\s+: 1", "^haSlaveBehindBytes\\s+: 0");
    }

    /** What is deleted in a cluster is deleted, although its slaves are asked, too. */
    @Test
    void aClusterWithASlaveDeletes() throws Exception {
        Server pair = closing(Server.own("--slave", "--slave-port", "0"));
        Admin admin = Admin.of(pair);
        String name = admin.api.examineBrokerClusterInfo().getClusterAddrTable().keySet().iterator().next();
        String byApi = admin.createTopic(pair, Names.unique("api"), 1);
        String byTool = admin.createTopic(pair, Names.unique("tool"), 1);
        String group = Names.unique("g");
        Mqadmin.run(pair, "updateSubGroup", "-c", name, "-g", group).says("success");
        Matcher slave = Pattern.compile("^\\S+ +\\S+ +1 +(\\S+:\\d+)", Pattern.MULTILINE).matcher(Mqadmin.run(pair, "clusterList").output);
        assertTrue(slave.find());
        Until.holds("the slave has both topics", SOON,
            () -> admin.api.getAllTopicConfig(slave.group(1), 3_000).getTopicConfigTable().keySet().containsAll(List.of(byApi, byTool)));
        // As 5.3.3's deleteTopic(topic, cluster) asks, in either order.
        admin.api.deleteTopicInBroker(Set.of(slave.group(1)), byApi);
        admin.api.deleteTopicInBroker(Set.of(pair.broker(), slave.group(1)), byApi);
        assertFalse(admin.api.getAllTopicConfig(pair.broker(), 3_000).getTopicConfigTable().containsKey(byApi));
        Mqadmin.run(pair, "deleteTopic", "-c", name, "-t", byTool).says("delete topic .* success");
        Mqadmin.run(pair, "deleteSubGroup", "-c", name, "-g", group).says("delete subscription group .* success");
        Mqadmin topics = Mqadmin.run(pair, "topicList");
        for (String gone : List.of(byTool, "%DLQ%" + group)) {
            assertFalse(topics.matches("^" + Pattern.quote(gone) + "$"), topics::toString);
        }
    }

    /** Every command of this mqadmin is proved in one of these tests, or the compatibility page says why it is refused. */
    @Test
    void everyCommandIsProvedOrExplained() throws Exception {
        Path here = Path.of(System.getProperty("basedir"));
        String known = Files.readString(here.resolve("../../../docs/compatibility.md"));
        try (var sources = Files.list(here.resolve("src/test/java/rmqlite"))) {
            for (Path source : sources.toArray(Path[]::new)) {
                known += Files.readString(source);
            }
        }
        List<String> unknown = new ArrayList<>();
        for (String command : Mqadmin.commands()) {
            if (!known.contains("\"" + command + "\"") && !known.contains("`" + command + "`")) {
                unknown.add(command);
            }
        }
        assertEquals(List.of(), unknown);
    }
}
