package rmqlite;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.junit.jupiter.api.Test;

/** Push consumers of one group share the queues of a topic; what one leaves, another takes. */
class ClusteringTest extends ClientTest {
    private static final int QUEUES = 8;

    private final Server server = Server.shared();

    /**
     * Members are to join one by one, the next when all before it have settled: a client takes its queues one after the other, and one
     * that is still taking all of them has for a moment as many as if it shared them.
     */
    private static void awaitSplit(String topic, int each, Received... members) {
        Until.holds("each member has " + each + " queues of " + topic, SOON, () -> {
            for (Received member : members) {
                if (member.queues(topic).size() != each) {
                    return false;
                }
            }
            return true;
        });
    }

    private List<String> sendToEveryQueue(DefaultMQProducer producer, String topic, String what, int perQueue) throws Exception {
        List<String> bodies = new ArrayList<>();
        for (MessageQueue queue : producer.fetchPublishMessageQueues(topic)) {
            for (int i = 0; i < perQueue; i++) {
                String body = what + "-" + queue.getQueueId() + "-" + i;
                producer.send(message(topic, body), queue);
                bodies.add(body);
            }
        }
        return bodies;
    }

    /** Two members have half of the queues each, and every message goes to the owner of its queue, exactly once. */
    @Test
    void twoMembersSplitTheQueues() throws Exception {
        String topic = Admin.of(server).createTopic(server, Names.unique("split"), QUEUES);
        String group = Names.unique("g");
        Received one = consume(server, group, topic, "*");
        awaitSplit(topic, QUEUES, one);
        Received two = consume(server, group, topic, "*");
        awaitSplit(topic, QUEUES / 2, one, two);
        Set<MessageQueue> all = new HashSet<>(one.queues(topic));
        all.addAll(two.queues(topic));
        assertEquals(QUEUES, all.size(), "no queue has two owners");

        List<String> bodies = sendToEveryQueue(producer(server), topic, "m", 10);
        Received.awaitAll(bodies, SOON, one, two);
        assertEquals(bodies.size(), one.bodies().size() + two.bodies().size(), "none came twice");
        for (Received member : List.of(one, two)) {
            for (MessageExt message : member.messages()) {
                assertTrue(member.queues(topic).stream().anyMatch(queue -> queue.getQueueId() == message.getQueueId()),
                    "from a queue of its own");
            }
        }
    }

    /** When a member leaves, the other has all queues within seconds, and goes on where the first one stopped. */
    @Test
    void leavingMembersQueuesAreTakenOver() throws Exception {
        String topic = Admin.of(server).createTopic(server, Names.unique("leave"), QUEUES);
        String group = Names.unique("g");
        Received stays = consume(server, group, topic, "*");
        awaitSplit(topic, QUEUES, stays);
        Received leaves = consume(server, group, topic, "*");
        awaitSplit(topic, QUEUES / 2, stays, leaves);
        DefaultMQProducer producer = producer(server);
        List<String> first = sendToEveryQueue(producer, topic, "first", 5);
        Received.awaitAll(first, SOON, stays, leaves);
        leaves.awaitCommitted(server, topic);

        leaves.consumer.shutdown();
        List<String> second = sendToEveryQueue(producer, topic, "second", 5);
        stays.awaitAll(second, SOON);
        awaitSplit(topic, QUEUES, stays);
        List<String> again = stays.bodies();
        again.retainAll(leaves.bodies());
        assertEquals(List.of(), again, "what the leaving one has consumed does not come again");
    }

    /** When a member's process is killed, the other has all queues within seconds and nothing is lost. */
    @Test
    void deadMembersQueuesAreTakenOver() throws Exception {
        String topic = Admin.of(server).createTopic(server, Names.unique("die"), QUEUES);
        String group = Names.unique("g");
        Received stays = consume(server, group, topic, "*");
        awaitSplit(topic, QUEUES, stays);
        Peer dies = closing(Peer.start(Map.of(), "consume", server.namesrv(), group, topic));
        dies.awaitLine("started", Duration.ofSeconds(30));
        awaitSplit(topic, QUEUES / 2, stays);
        DefaultMQProducer producer = producer(server);
        List<String> first = sendToEveryQueue(producer, topic, "first", 5);
        Until.holds("both consume all of the first", SOON, () -> {
            Set<String> got = new HashSet<>(stays.bodies());
            got.addAll(dies.got());
            return got.containsAll(first);
        });
        assertTrue(!dies.got().isEmpty(), "the other process had its share");

        dies.kill9();
        List<String> second = sendToEveryQueue(producer, topic, "second", 5);
        stays.awaitAll(second, SOON);
        awaitSplit(topic, QUEUES, stays);
    }

    /** Four members come one after the other and leave one after the other while messages flow: none is lost. */
    @Test
    void nothingIsLostWhileMembersComeAndGo() throws Exception {
        String topic = Admin.of(server).createTopic(server, Names.unique("flow"), QUEUES);
        String group = Names.unique("g");
        DefaultMQProducer producer = producer(server);
        List<String> sent = new ArrayList<>();
        List<Received> members = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
            members.add(consume(server, group, topic, "*"));
            sent.addAll(sendToEveryQueue(producer, topic, "come" + i, 5));
        }
        for (int i = 0; i < 3; i++) {
            members.get(i).consumer.shutdown();
            sent.addAll(sendToEveryQueue(producer, topic, "go" + i, 5));
        }
        Received.awaitAll(sent, SOON, members.toArray(new Received[0]));
    }
}
