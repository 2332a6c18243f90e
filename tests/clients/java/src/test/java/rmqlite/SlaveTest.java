package rmqlite;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Properties;
import java.util.Set;
import java.util.TreeSet;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendStatus;
import org.junit.jupiter.api.Test;

/** A master that waits for its slave, and consumers that read on from the slave while the master is away. */
class SlaveTest extends ClientTest {
    private List<String> send(DefaultMQProducer producer, String topic, String what, int count) throws Exception {
        List<String> bodies = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            assertEquals(SendStatus.SEND_OK, producer.send(message(topic, what + i)).getSendStatus(), what + i);
            bodies.add(what + i);
        }
        return bodies;
    }

    /** Under SYNC_MASTER a send is a success with a slave, and says that there is none without; it is stored either way. */
    @Test
    void syncMasterWaitsForItsSlave() throws Exception {
        Server alone = closing(Server.own("--set", "brokerRole=SYNC_MASTER"));
        String topic = Admin.of(alone).createTopic(alone, Names.unique("alone"), 1);
        assertEquals(SendStatus.SLAVE_NOT_AVAILABLE, producer(alone).send(message(topic, "m")).getSendStatus());
        assertEquals(Set.of("m"), readAll(alone, topic));
        Server both = closing(Server.own("--slave", "--slave-port", "0", "--set", "brokerRole=SYNC_MASTER"));
        both.awaitSlaves(1);
        String other = Admin.of(both).createTopic(both, Names.unique("both"), 4);
        List<String> sent = send(producer(both), other, "m", 200);
        assertEquals(new HashSet<>(sent), readAll(both, other));
    }

    /**
     * The master is killed: a group reads on from the slave and nothing that was acknowledged is lost; sends fail. The master
     * comes back: sends and the group go on.
     */
    @Test
    void consumersReadOnFromTheSlave() throws Exception {
        Server group = closing(Server.group("brokerRole=SYNC_MASTER"));
        group.awaitSlaves(1);
        String topic = Admin.of(group).createTopic(group, Names.unique("failover"), 4);
        DefaultMQProducer producer = producer(group);
        List<String> before = send(producer, topic, "before", 100);
        Received first = consume(group, Names.unique("g"), topic, "*");
        first.awaitAll(before, SOON);
        List<String> unread = send(producer, topic, "unread", 100);
        first.awaitAll(unread, SOON);
        group.slaveKnows(topic);

        group.kill9();
        // A group that comes only now has the slave alone.
        Received late = consume(group, Names.unique("g"), topic, "*");
        Set<String> all = new TreeSet<>(before);
        all.addAll(unread);
        late.awaitAll(all, SOON.plusSeconds(30));
        assertThrows(Exception.class, () -> producer.send(message(topic, "nobody takes it")));

        group.startAgain();
        Until.holds("a send is acknowledged by both again", SOON.plusSeconds(30),
            () -> producer.send(message(topic, "after")).getSendStatus() == SendStatus.SEND_OK);
        first.awaitAll(List.of("after"), SOON.plusSeconds(45));
        late.awaitAll(List.of("after"), SOON.plusSeconds(45));
    }

    private static long served(Server broker) throws Exception {
        return Long.parseLong(Admin.of(broker).api.fetchBrokerRuntimeStats(broker.broker()).getTable().get("msgGetTotalTodayNow"));
    }

    /**
     * A master that would have to read from its disk (here: that takes everything for old) suggests its slave, which may be read:
     * the consumer goes there, and gets everything. A slave that finds nothing sends it back.
     */
    @Test
    void aSlowConsumerIsSentToTheSlave() throws Exception {
        Server group = closing(Server.group("brokerRole=SYNC_MASTER"));
        group.awaitSlaves(1);
        Server slave = group.slave();
        String topic = Admin.of(group).createTopic(group, Names.unique("slow"), 1);
        group.slaveKnows(topic);
        List<String> bodies = send(producer(group), topic, "slow", 300);
        Properties readable = new Properties();
        readable.setProperty("slaveReadEnable", "true");
        readable.setProperty("accessMessageInMemoryMaxRatio", "0");
        for (Server broker : List.of(slave, group)) {
            Admin.of(group).api.updateBrokerConfig(broker.broker(), readable);
        }
        Received received = consume(group, Names.unique("g"), topic, "*");
        received.awaitAll(bodies, SOON.plusSeconds(20));
        Until.holds("the slave has served some of it", SOON, () -> served(slave) > 0);
        bodies.addAll(send(producer(group), topic, "fresh", 20));
        received.awaitAll(bodies, SOON.plusSeconds(20));
        assertEquals(bodies, received.bodiesInQueueOrder());
    }
}
