package rmqlite;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.function.Function;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.producer.TransactionSendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.junit.jupiter.api.Test;

/** Transactional messages: delivered exactly when they are committed, whoever decides and whatever happens in between. */
class TransactionTest extends ClientTest {
    private static final int RESUME_CHECK_HALF_MESSAGE = 323;
    /** The first check comes 2 s after the message, on Apache up to 36 s. */
    private static final Duration CHECKED = Duration.ofSeconds(Server.shared().isApache() ? 90 : 15);

    /** A producer's first heartbeat comes a second after its start, to the brokers that it knows by then; the next after 30. */
    private static final Duration HEARTBEAT = Duration.ofSeconds(31);

    /** What a producer knows of its transactions, and what it was asked. */
    private static final class Ledger implements TransactionListener {
        private final Function<Message, LocalTransactionState> local;
        private final Function<MessageExt, LocalTransactionState> check;
        final List<MessageExt> checked = Collections.synchronizedList(new ArrayList<>());

        Ledger(Function<Message, LocalTransactionState> local, Function<MessageExt, LocalTransactionState> check) {
            this.local = local;
            this.check = check;
        }

        /** Decides at once and has no other answer to a check. */
        static Ledger deciding(LocalTransactionState state) {
            return new Ledger(message -> state, message -> state);
        }

        /** Leaves the decision to the check. */
        static Ledger whenChecked(LocalTransactionState state) {
            return new Ledger(message -> LocalTransactionState.UNKNOW, message -> state);
        }

        @Override
        public LocalTransactionState executeLocalTransaction(Message message, Object arg) {
            return local.apply(message);
        }

        @Override
        public LocalTransactionState checkLocalTransaction(MessageExt message) {
            checked.add(message);
            return check.apply(message);
        }

        List<String> checkedBodies() {
            List<String> bodies = new ArrayList<>();
            synchronized (checked) {
                checked.forEach(message -> bodies.add(text(message)));
            }
            return bodies;
        }
    }

    private TransactionMQProducer producer(Server server, String group, TransactionListener listener) throws Exception {
        TransactionMQProducer producer = new TransactionMQProducer(group);
        introduce(producer, server, "tx");
        producer.setSendMsgTimeout(10_000);
        producer.setTransactionListener(listener);
        closing(producer::shutdown);
        producer.start();
        return producer;
    }

    /** Lets a producer know the brokers of a topic: only to these it sends its heartbeat. */
    private static void known(TransactionMQProducer producer, String topic) throws Exception {
        producer.send(message(topic, "ordinary"));
    }

    private static TransactionSendResult send(TransactionMQProducer producer, Message message) throws Exception {
        TransactionSendResult result = producer.sendMessageInTransaction(message, null);
        assertEquals(SendStatus.SEND_OK, result.getSendStatus());
        return result;
    }

    /** A committed message arrives as it was sent, and tells its transaction; the half message is seen by nobody. */
    @Test
    void commit() throws Exception {
        Server server = Server.shared();
        String topic = Admin.of(server).createTopic(server, Names.unique("commit"), 2);
        Received received = consume(server, Names.unique("g"), topic, "paid");
        TransactionMQProducer producer = producer(server, Names.unique("tx"), new Ledger(message -> {
            assertEquals(Set.of(), Set.copyOf(received.bodies()), "nothing arrives before the commit");
            return LocalTransactionState.COMMIT_MESSAGE;
        }, message -> LocalTransactionState.ROLLBACK_MESSAGE));
        Message message = message(topic, "paid", "order 1");
        message.setKeys("order-1");
        message.putUserProperty("colour", "red");
        TransactionSendResult result = send(producer, message);
        received.awaitAll(List.of("order 1"), SOON);
        MessageExt arrived = received.messages().get(0);
        assertEquals(List.of(topic, "paid", "order-1", "red"),
            List.of(arrived.getTopic(), arrived.getTags(), arrived.getKeys(), arrived.getUserProperty("colour")));
        assertEquals(result.getTransactionId(), arrived.getTransactionId());
        assertEquals(result.getMsgId(), arrived.getMsgId());
        assertEquals(result.getMessageQueue().getQueueId(), arrived.getQueueId());
        Until.holds("it is found by its key", SOON,
            () -> Admin.of(server).api.queryMessage(topic, "order-1", 10, 0, Long.MAX_VALUE).getMessageList().size() == 1);
    }

    /** What is rolled back never arrives, what is sent and committed after it does. */
    @Test
    void rollback() throws Exception {
        Server server = Server.shared();
        String topic = Admin.of(server).createTopic(server, Names.unique("rollback"), 1);
        Received received = consume(server, Names.unique("g"), topic, "*");
        Ledger ledger = new Ledger(message -> text(message).startsWith("no")
            ? LocalTransactionState.ROLLBACK_MESSAGE : LocalTransactionState.COMMIT_MESSAGE,
            message -> LocalTransactionState.COMMIT_MESSAGE);
        TransactionMQProducer producer = producer(server, Names.unique("tx"), ledger);
        for (String body : List.of("no 1", "yes 1", "no 2", "yes 2")) {
            send(producer, message(topic, body));
        }
        received.awaitAll(List.of("yes 1", "yes 2"), SOON);
        assertEquals(Set.of("yes 1", "yes 2"), Set.copyOf(received.bodies()));
        // A later transaction is checked; those that were rolled back are not.
        Ledger other = Ledger.whenChecked(LocalTransactionState.COMMIT_MESSAGE);
        send(producer(server, Names.unique("tx"), other), message(topic, "checked"));
        received.awaitAll(List.of("checked"), CHECKED.plus(HEARTBEAT));
        List<String> once = received.bodies();
        Collections.sort(once);
        assertEquals(List.of("checked", "yes 1", "yes 2"), once);
        assertEquals(List.of(), ledger.checkedBodies());
    }

    /** A producer that does not know yet is asked later, with the message as it sent it, and its answer counts. */
    @Test
    void unknownIsCheckedAndCommitted() throws Exception {
        Server server = Server.shared();
        String topic = Admin.of(server).createTopic(server, Names.unique("unknown"), 2);
        Received received = consume(server, Names.unique("g"), topic, "*");
        Ledger ledger = new Ledger(message -> LocalTransactionState.UNKNOW, message -> text(message).equals("yes")
            ? LocalTransactionState.COMMIT_MESSAGE : LocalTransactionState.ROLLBACK_MESSAGE);
        TransactionMQProducer producer = producer(server, Names.unique("tx"), ledger);
        TransactionSendResult no = send(producer, message(topic, "no"));
        TransactionSendResult yes = send(producer, message(topic, "yes"));
        received.awaitAll(List.of("yes"), CHECKED.plus(HEARTBEAT));
        Until.holds("both are checked", CHECKED, () -> Set.copyOf(ledger.checkedBodies()).equals(Set.of("yes", "no")));
        assertEquals(List.of("yes"), received.bodies());
        MessageExt asked = ledger.checked.get(ledger.checkedBodies().indexOf("no"));
        assertEquals(List.of(topic, no.getTransactionId(), no.getMessageQueue().getQueueId()),
            List.of(asked.getTopic(), asked.getTransactionId(), asked.getQueueId()));
        assertEquals(yes.getTransactionId(), received.messages().get(0).getTransactionId());
    }

    /** The sender is gone: another producer of its group is asked, as soon as there is one. */
    @Test
    void anotherProducerOfTheGroupAnswers() throws Exception {
        Server server = Server.shared();
        String topic = Admin.of(server).createTopic(server, Names.unique("gone"), 2);
        String group = Names.unique("tx");
        Received received = consume(server, Names.unique("g"), topic, "*");
        TransactionMQProducer sender = producer(server, group, Ledger.whenChecked(LocalTransactionState.UNKNOW));
        send(sender, message(topic, "left behind"));
        sender.shutdown();
        Ledger heir = Ledger.whenChecked(LocalTransactionState.COMMIT_MESSAGE);
        known(producer(server, group, heir), topic);
        received.awaitAll(List.of("left behind"), CHECKED.plus(HEARTBEAT));
        assertEquals(List.of("left behind"), heir.checkedBodies());
    }

    /** The server is restarted while the local transaction runs; the commit that follows counts, once. */
    @Test
    void restartBetweenHalfAndCommit() throws Exception {
        Server server = closing(Server.own());
        committedAcross(server, server::stop, LocalTransactionState.COMMIT_MESSAGE);
    }

    /** As before, but the server is killed. */
    @Test
    void kill9BetweenHalfAndCommit() throws Exception {
        Server server = closing(Server.own());
        committedAcross(server, server::kill9, LocalTransactionState.COMMIT_MESSAGE);
    }

    /** As before, and the producer does not know the outcome until it is asked by the new server. */
    @Test
    void kill9BeforeTheCheck() throws Exception {
        Server server = closing(Server.own());
        committedAcross(server, server::kill9, LocalTransactionState.UNKNOW);
    }

    private void committedAcross(Server server, Runnable end, LocalTransactionState answer) throws Exception {
        String topic = Admin.of(server).createTopic(server, Names.unique("across"), 1);
        String group = Names.unique("tx");
        Ledger ledger = new Ledger(message -> {
            if (text(message).equals("across")) {
                end.run();
                server.startAgain();
                return answer;
            }
            return LocalTransactionState.COMMIT_MESSAGE;
        }, message -> LocalTransactionState.COMMIT_MESSAGE);
        TransactionMQProducer producer = producer(server, group, ledger);
        send(producer, message(topic, "before"));
        send(producer, message(topic, "across"));
        Received received = consume(server, Names.unique("g"), topic, "*");
        received.awaitAll(List.of("before", "across"), CHECKED.plus(HEARTBEAT));
        send(producer, message(topic, "after"));
        received.awaitAll(List.of("after"), SOON);
        List<String> once = received.bodies();
        Collections.sort(once);
        assertEquals(List.of("across", "after", "before"), once);
        assertEquals(answer == LocalTransactionState.UNKNOW ? List.of("across") : List.of(), ledger.checkedBodies());
    }

    /** Decided transactions stay decided over a kill: nothing comes twice, nothing comes back, nothing is asked again. */
    @Test
    void decisionsSurviveKill9() throws Exception {
        Server server = closing(Server.own());
        String topic = Admin.of(server).createTopic(server, Names.unique("decided"), 1);
        String group = Names.unique("tx");
        Ledger ledger = new Ledger(message -> text(message).startsWith("no")
            ? LocalTransactionState.ROLLBACK_MESSAGE : LocalTransactionState.COMMIT_MESSAGE,
            message -> LocalTransactionState.UNKNOW);
        TransactionMQProducer producer = producer(server, group, ledger);
        for (int i = 0; i < 20; i++) {
            send(producer, message(topic, (i % 2 == 0 ? "no " : "yes ") + i));
        }
        Until.holds("all commits are in", SOON, () -> readAll(server, topic).size() == 10);
        server.kill9();
        Oracle.apacheFails(server, "it records decisions up to 3 s later, and delivers again what was decided since");
        server.startAgain();
        Ledger heir = Ledger.whenChecked(LocalTransactionState.COMMIT_MESSAGE);
        TransactionMQProducer next = producer(server, group, heir);
        Received received = consume(server, Names.unique("g"), topic, "*");
        send(next, message(topic, "last"));
        received.awaitAll(List.of("last"), CHECKED.plus(HEARTBEAT));
        assertEquals(List.of("last"), heir.checkedBodies());
        assertEquals(received.bodies().size(), Set.copyOf(received.bodies()).size(), "twice: " + received.bodies());
        assertTrue(received.bodies().containsAll(List.of("yes 1", "yes 19", "last")), received.bodies().toString());
    }

    /** Kill -9 while four producers send: what was committed comes once, at once or after a check; nothing else comes. */
    @Test
    void kill9UnderLoad() throws Exception {
        Server server = closing(Server.own());
        Oracle.apacheFails(server, "it records decisions up to 3 s later, and delivers again what was decided since");
        String topic = Admin.of(server).createTopic(server, Names.unique("load"), 4);
        String group = Names.unique("tx");
        Map<String, LocalTransactionState> decided = new ConcurrentHashMap<>();
        // A half message whose send failed was never executed: its producer knows nothing of it and rolls back.
        Ledger ledger = new Ledger(message -> {
            LocalTransactionState state = List.of(LocalTransactionState.COMMIT_MESSAGE, LocalTransactionState.ROLLBACK_MESSAGE,
                LocalTransactionState.UNKNOW).get(Math.floorMod(text(message).hashCode(), 3));
            decided.put(text(message), state == LocalTransactionState.UNKNOW ? LocalTransactionState.COMMIT_MESSAGE : state);
            return state;
        }, message -> decided.getOrDefault(text(message), LocalTransactionState.ROLLBACK_MESSAGE));
        ExecutorService senders = Executors.newFixedThreadPool(4);
        closing(senders::shutdownNow);
        List<Future<?>> running = new ArrayList<>();
        for (int s = 0; s < 4; s++) {
            TransactionMQProducer producer = producer(server, group, ledger);
            producer.setRetryTimesWhenSendFailed(0);
            producer.setSendMsgTimeout(3_000);
            String name = "s" + s + "-";
            running.add(senders.submit(() -> {
                for (int i = 0;; i++) {
                    producer.sendMessageInTransaction(message(topic, name + i), null);
                }
            }));
        }
        Until.holds("1000 transactions are executed", SOON.plusSeconds(15), () -> decided.size() > 1_000);
        server.kill9();
        Until.holds("all senders notice", SOON, () -> running.stream().allMatch(Future::isDone));
        server.startAgain();
        Received received = consume(server, Names.unique("g"), topic, "*");
        known(producer(server, group, ledger), topic);
        Set<String> wanted = new TreeSet<>(Set.of("ordinary"));
        decided.forEach((body, state) -> {
            if (state == LocalTransactionState.COMMIT_MESSAGE) {
                wanted.add(body);
            }
        });
        received.awaitAll(wanted, CHECKED.plus(HEARTBEAT));
        List<String> bodies = received.bodies();
        Collections.sort(bodies);
        assertEquals(new ArrayList<>(wanted), bodies);
    }

    /** Fifteen checks without an answer: the message goes where people find it, and can be taken up again from there. */
    @Test
    void givenUpAfterFifteenChecks() throws Exception {
        Server server = closing(Server.own());
        String topic = Admin.of(server).createTopic(server, Names.unique("lost"), 1);
        boolean[] known = {false};
        Ledger ledger = new Ledger(message -> LocalTransactionState.UNKNOW,
            message -> known[0] ? LocalTransactionState.COMMIT_MESSAGE : LocalTransactionState.UNKNOW);
        send(producer(server, Names.unique("tx"), ledger), message(topic, "lost"));
        Until.holds("the producer is asked", CHECKED.plus(HEARTBEAT), () -> ledger.checked.size() == 1);
        server.advance("10m");
        Until.holds("it was checked 15 times", SOON, () -> ledger.checked.size() == 15);
        assertEquals("15", ledger.checked.get(14).getProperty("TRANSACTION_CHECK_TIMES"));
        assertEquals(Set.of("lost"), readAll(server, "TRANS_CHECK_MAX_TIME_TOPIC"));
        assertEquals(Set.of(), readAll(server, topic));

        DefaultMQPullConsumer reader = pullConsumer(server, Names.unique("reader"));
        MessageQueue queue = reader.fetchSubscribeMessageQueues("TRANS_CHECK_MAX_TIME_TOPIC").iterator().next();
        MessageExt givenUp = read(reader, queue, 0).get(0);
        assertNotNull(givenUp.getProperty("REAL_TOPIC"));
        known[0] = true;
        Raw raw = closing(new Raw(server.broker()));
        RemotingCommand resumed = raw.call(RESUME_CHECK_HALF_MESSAGE, null, "msgId", offsetId(givenUp));
        assertEquals(0, resumed.getCode(), resumed.getRemark());
        Received received = consume(server, Names.unique("g"), topic, "*");
        received.awaitAll(List.of("lost"), CHECKED);
        RemotingCommand twice = raw.call(RESUME_CHECK_HALF_MESSAGE, null, "msgId", offsetId(givenUp));
        assertEquals(1, twice.getCode());
        assertEquals(List.of("lost"), received.bodies());
    }

    private static String offsetId(MessageExt message) {
        return org.apache.rocketmq.common.message.MessageDecoder.createMessageId(
            message.getStoreHost(), message.getCommitLogOffset());
    }
}
