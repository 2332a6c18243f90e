package rmqlite;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.Set;
import java.util.regex.Pattern;
import org.apache.rocketmq.client.exception.MQClientException;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** Apache's mqadmin where it changes a whole broker or NameServer: on a server that no other test uses. */
class MqadminServerTest extends ClientTest {
    private static Server server;

    @BeforeAll
    static void start() {
        server = Server.own();
    }

    @AfterAll
    static void stop() {
        if (server != null) {
            server.close();
        }
    }

    private static Mqadmin mqadmin(String... args) {
        return Mqadmin.run(server, args);
    }

    /** A broker setting that is changed is changed at once; an unknown one changes nothing else. */
    @Test
    void brokerConfigIsUpdated() {
        mqadmin("updateBrokerConfig", "-b", server.broker(), "-k", "maxTransferCountOnMessageInMemory", "-v", "48").says("success");
        mqadmin("getBrokerConfig", "-b", server.broker()).says("maxTransferCountOnMessageInMemory += +48");
        mqadmin("updateBrokerConfig", "-c", Admin.of(server).cluster(), "-k", "maxTransferCountOnMessageInMemory", "-v", "32").says("success");
        mqadmin("getBrokerConfig", "-b", server.broker()).says("maxTransferCountOnMessageInMemory += +32");
    }

    /** A broker whose address is changed registers the new one at once, so that existing recipes for containers work. */
    @Test
    void advertisedAddressIsUpdated() {
        String topic = Admin.of(server).createTopic(server, Names.unique("ip"), 1);
        String broker = server.broker();
        mqadmin("updateBrokerConfig", "-b", broker, "-k", "brokerIP1", "-v", "127.0.0.9").says("success");
        String port = broker.substring(broker.indexOf(':'));
        Until.holds("the route has the new address", SOON,
            () -> mqadmin("topicRoute", "-t", topic).matches("\"127\\.0\\.0\\.9" + port + "\""));
        mqadmin("updateBrokerConfig", "-b", broker, "-k", "brokerIP1", "-v", broker.replace(port, "")).says("success");
        Until.holds("the route has the old address", SOON,
            () -> mqadmin("topicRoute", "-t", topic).matches(Pattern.quote("\"" + broker + "\"")));
    }

    /** wipeWritePerm makes every topic of a broker read-only in the routes and counts them; addWritePerm undoes it. */
    @Test
    void writePermissionIsWipedAndGivenBack() throws Exception {
        String topic = Admin.of(server).createTopic(server, Names.unique("wipe"), 1);
        String name = Admin.of(server).brokerName();
        mqadmin("wipeWritePerm", "-b", name).says("wipe write perm of broker\\[" + name + "\\] in name server\\[.*\\] OK, [1-9]");
        mqadmin("topicRoute", "-t", topic).says("\"perm\":4");
        assertThrows(MQClientException.class, () -> producer(server).send(message(topic, "x")), "nobody can send");
        mqadmin("addWritePerm", "-b", name).says("add write perm of broker\\[" + name + "\\] in name server\\[.*\\] OK, [1-9]");
        mqadmin("topicRoute", "-t", topic).says("\"perm\":6");
        assertEquals(0, producer(server).send(message(topic, "x")).getQueueOffset());
        mqadmin("wipeWritePerm", "-b", "no-such-broker").says("OK, 0");
    }

    /** A value in the NameServer's KV configuration is written, read and deleted. */
    @Test
    void kvConfigIsKept() throws Exception {
        mqadmin("updateKvConfig", "-s", "NS1", "-k", "k1", "-v", "value one").says("success");
        var api = Admin.of(server).api;
        assertEquals("value one", api.getKVConfig("NS1", "k1"));
        mqadmin("updateKvConfig", "-s", "NS1", "-k", "k1", "-v", "two").says("success");
        assertEquals("two", api.getKVConfig("NS1", "k1"));
        mqadmin("deleteKvConfig", "-s", "NS1", "-k", "k1").says("success");
        assertThrows(Exception.class, () -> api.getKVConfig("NS1", "k1"));
    }

    /** The NameServer's configuration is shown and changed. */
    @Test
    void namesrvConfigIsUpdated() {
        mqadmin("getNamesrvConfig").says("listenPort += +" + server.namesrv().substring(server.namesrv().indexOf(':') + 1));
        mqadmin("updateNamesrvConfig", "-k", "returnOrderTopicConfigToBroker", "-v", "false").says("success");
        mqadmin("getNamesrvConfig").says("returnOrderTopicConfigToBroker += +false");
        mqadmin("updateNamesrvConfig", "-k", "returnOrderTopicConfigToBroker", "-v", "true").says("success");
        mqadmin("getNamesrvConfig").says("returnOrderTopicConfigToBroker += +true");
    }

    /** An order configuration is written, read, shown in the route when the NameServer is told to, and deleted. */
    @Test
    void orderConfIsKept() {
        String topic = Admin.of(server).createTopic(server, Names.unique("order"), 2);
        String conf = Admin.of(server).brokerName() + ":2";
        mqadmin("updateOrderConf", "-t", topic, "-m", "put", "-v", conf).says("update orderConf success", "orderConf=\\[" + conf + "\\]");
        mqadmin("updateOrderConf", "-t", topic, "-m", "get").says("orderConf=\\[" + conf + "\\]");
        assertFalse(mqadmin("topicRoute", "-t", topic).matches("orderTopicConf"), "off by default");
        mqadmin("updateNamesrvConfig", "-k", "orderMessageEnable", "-v", "true").says("success");
        mqadmin("topicRoute", "-t", topic).says("\"orderTopicConf\":\"" + conf + "\"");
        mqadmin("updateNamesrvConfig", "-k", "orderMessageEnable", "-v", "false").says("success");
        mqadmin("updateOrderConf", "-t", topic, "-m", "delete").says("delete orderConf success");
        assertFalse(mqadmin("updateOrderConf", "-t", topic, "-m", "get").matches(conf), "it is gone");
    }

    /** The cleaning commands report success and take nothing that is in use. */
    @Test
    void cleaningTakesNothingInUse() throws Exception {
        String topic = Admin.of(server).createTopic(server, Names.unique("clean"), 1);
        producer(server).send(message(topic, "stays"));
        for (String command : new String[] {"cleanExpiredCQ", "cleanUnusedTopic", "deleteExpiredCommitLog"}) {
            mqadmin(command, "-b", server.broker()).says("^success");
            mqadmin(command, "-c", Admin.of(server).cluster()).says("^success");
        }
        assertEquals(Set.of("stays"), readAll(server, topic));
    }

    /** exportPopRecord, which takes check points out of a RocksDB, finds none there, as on an Apache with its defaults. */
    @Test
    void popRecordsAreExported() {
        Assumptions.assumeFalse(Oracle.client4(), "this client has no exportPopRecord");
        String name = Admin.of(server).brokerName();
        mqadmin("exportPopRecord", "-b", server.broker()).says("^Export broker records, brokerName=" + name + ", brokerAddr=" + server.broker());
        mqadmin("exportPopRecord", "-c", Admin.of(server).cluster()).says("^Export broker records, brokerName=" + name);
    }

    /** startMonitoring begins to watch: its consumer of the broker's own events is connected. What it finds it logs. */
    @Test
    void monitoringStarts() {
        mqadmin("startMonitoring").says();
        Until.holds("the monitor consumes", SOON, () -> !Admin.of(server).api.examineConsumerConnectionInfo("__MONITOR_CONSUMER")
            .getConnectionSet().isEmpty());
    }
}
