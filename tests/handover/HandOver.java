import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;
import org.apache.rocketmq.client.QueryResult;
import org.apache.rocketmq.client.consumer.AckCallback;
import org.apache.rocketmq.client.consumer.AckResult;
import org.apache.rocketmq.client.consumer.AckStatus;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PopCallback;
import org.apache.rocketmq.client.consumer.PopResult;
import org.apache.rocketmq.client.consumer.PopStatus;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.impl.MQClientAPIImpl;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.header.AckMessageRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.ExtraInfoUtil;
import org.apache.rocketmq.remoting.protocol.header.PopMessageRequestHeader;

/**
 * One directory, handed from rmq-lite to a real Apache RocketMQ and back: after a clean stop of each with small files, after
 * kill -9 of each with Apache's usual file sizes. {@code HandOver <rmq-lite> <oracle/apache>}, see run.sh.
 */
@SuppressWarnings("deprecation")
public final class HandOver extends Scene {
    private static final int BENCH_MESSAGES = 3_000;
    private static final String POP_GROUP = "handover_pop";
    /** Of the producers whose transactions are left open: a check may be answered by any of a group. */
    private static final String OPEN_GROUP = "handover_open_transactions";
    /** Longer than from a pop to the stop that follows it, so that the next server is the one that offers it again. */
    private static final int INVISIBLE_MS = 20_000;

    private final String lite;
    private final String apache;
    private final boolean kill;
    private final Path data = work.resolve("data");
    private final List<SendResult> keyed = new ArrayList<>();
    private final int broker;

    private HandOver(String lite, String apache, boolean kill) throws Exception {
        super("handover-", 10, 0, 2, 4, 5);
        this.lite = lite;
        this.apache = apache;
        this.kill = kill;
        broker = namesrv + 4;
    }

    public static void main(String[] args) throws Exception {
        int status = 0;
        for (boolean kill : new boolean[] {false, true}) {
            HandOver handOver = new HandOver(args[0], args[1], kill);
            try {
                handOver.run();
            } catch (Throwable e) {
                status = 1;
                e.printStackTrace();
                handOver.showLogs();
            } finally {
                handOver.close();
            }
        }
        System.exit(status);
    }

    private void run() throws Exception {
        System.out.println(kill ? "-- kill -9, usual file sizes" : "-- clean stops, small files");
        Process first = start(lite, "lite-1");
        send("lite");
        bench("--messages", Integer.toString(BENCH_MESSAGES));
        Map<String, String> before = snapshot("Plain", "Bench");
        check(before.size() >= BENCH_MESSAGES + 60, "only " + before.size() + " messages before the first hand-over");
        commit("Plain", 7);
        awaitSaved("Plain", 7);
        sendTransactions("lite");
        check(transactional().equals(Arrays.asList("lite commit")), "rmq-lite has delivered " + transactional());
        sendWaiting("lite", 1, 12, 45);
        awaitDelivered("lite timer 1");
        popHalf("lite");
        if (kill) {
            Process load = background("bench", List.of(lite, "bench", "producer", "-n", "127.0.0.1:" + namesrv, "-t", "Bench", "--duration", "60",
                "--rate", "5000", "--size", "100", "--quiet"));
            long at = end("Bench");
            await("the load comes in", () -> end("Bench") > at + 500);
            stop(first);
            load.destroyForcibly().waitFor();
        } else {
            stop(first);
        }
        step("rmq-lite has written " + before.size() + " messages and more, and is gone");

        Process middle = start(apache, "apache");
        checkSame(before, snapshot("Plain", "Bench"), "Apache");
        checkOffset("Plain", 7);
        checkKeys("Apache");
        step("Apache serves them, knows the group's offset, and finds messages by key");
        send("apache");
        sendKinds();
        awaitDelivered("lite timer 1", "lite timer 12", "lite level");
        step("Apache delivers what waited");
        sendWaiting("apache", 1, 20);
        awaitDelivered("lite timer 1", "lite timer 12", "lite level", "apache timer 1");
        answerChecks("apache answered", "lite open", "lite asked");
        check(!transactional().contains("lite roll"), "Apache has delivered " + transactional());
        sendTransactions("apache");
        step("Apache asks about the transactions that were left open, and about no other");
        awaitRevived("lite");
        step("Apache offers again what was popped and not acknowledged, and nothing else");
        commit("Plain", 9);
        awaitSaved("Plain", 9);
        Map<String, String> after = snapshot("Plain", "Bench", "Delayed", "Transactional");
        check(after.size() >= before.size() + 62, "only " + after.size() + " messages before the second hand-over");
        popHalf("apache");
        stop(middle);
        step("Apache has written more, and is gone");

        Process last = start(lite, "lite-2");
        checkSame(after, snapshot("Plain", "Bench", "Delayed", "Transactional"), "rmq-lite");
        checkOffset("Plain", 9);
        checkKeys("rmq-lite");
        send("lite again");
        checkKeys("rmq-lite");
        List<String> decided = transactional();
        answerChecks("lite answered", "apache open", "apache asked");
        List<String> added = transactional();
        decided.forEach(added::remove);
        added.sort(null);
        check(added.equals(Arrays.asList("apache asked", "apache open", "lite answered")), "rmq-lite has delivered " + added);
        step("rmq-lite asks about the transactions that were left open, and about no other");
        awaitDelivered("lite timer 1", "lite timer 12", "lite level", "apache timer 1", "apache timer 20", "apache level", "lite timer 45");
        awaitRevived("apache");
        step("rmq-lite offers again what was popped and not acknowledged, and nothing else");
        stop(last);
        step("rmq-lite serves all of it");
    }

    // What is sent and read.

    /** Keyed messages in all queues, a batch, and large bodies that cross the border of a small commit-log file. */
    private void send(String by) throws Exception {
        DefaultMQProducer producer = dress(new DefaultMQProducer("handover_producer"));
        producer.start();
        for (int i = 0; i < 40; i++) {
            Message message = new Message("Plain", i % 2 == 0 ? "even" : "odd", by.replace(' ', '-') + i, body("by " + by + " \u00fc " + i));
            message.putUserProperty("by", by);
            keyed.add(sent(producer.send(message)));
        }
        List<Message> batch = new ArrayList<>();
        for (int i = 0; i < 20; i++) {
            batch.add(new Message("Plain", "batch", by.replace(' ', '-') + "-batch" + i, body("batch by " + by + " " + i)));
        }
        sent(producer.send(batch));
        producer.setCompressMsgBodyOverHowmuch(1_000_000);
        for (int i = 0; i < 8; i++) {
            byte[] large = new byte[200_000];
            Arrays.fill(large, (byte) i);
            keyed.add(sent(producer.send(new Message("Plain", "large", by.replace(' ', '-') + "-large" + i, large))));
        }
        producer.shutdown();
    }

    /** Transactions of every fate: decided at once, asked about in vain, and left open by a producer that is gone. */
    private void sendTransactions(String by) throws Exception {
        List<String> asked = new CopyOnWriteArrayList<>();
        TransactionMQProducer producer = transactions(OPEN_GROUP, body -> body.endsWith("commit") ? LocalTransactionState.COMMIT_MESSAGE
            : body.endsWith("roll") ? LocalTransactionState.ROLLBACK_MESSAGE : LocalTransactionState.UNKNOW, body -> {
                asked.add(body);
                return LocalTransactionState.UNKNOW;
            });
        for (String fate : new String[] {"commit", "roll", "asked"}) {
            sent(producer.sendMessageInTransaction(new Message("Transactions", body(by + " " + fate)), null));
        }
        await("the commit is in, and the producer was asked", () -> transactional().contains(by + " commit") && asked.contains(by + " asked"));
        check(asked.stream().allMatch((by + " asked")::equals), "asked about " + asked);
        sent(producer.sendMessageInTransaction(new Message("Transactions", body(by + " open")), null));
        producer.shutdown();
    }

    /** A producer of the same group that commits what it is asked about, until these have come; it sends one of its own, too. */
    private void answerChecks(String own, String... wanted) throws Exception {
        TransactionMQProducer producer = transactions(OPEN_GROUP, body -> LocalTransactionState.COMMIT_MESSAGE,
            body -> LocalTransactionState.COMMIT_MESSAGE);
        sent(producer.sendMessageInTransaction(new Message("Transactions", body(own)), null));
        await("delivered: " + Arrays.toString(wanted), () -> transactional().containsAll(Arrays.asList(wanted)));
        producer.shutdown();
    }

    /** The bodies of what transactions have delivered so far. */
    private List<String> transactional() throws Exception {
        return bodies("Transactions");
    }

    /** A delayed message that is delivered, and a committed transaction. */
    private void sendKinds() throws Exception {
        TransactionMQProducer producer = transactions("handover_transactions", body -> LocalTransactionState.COMMIT_MESSAGE,
            body -> LocalTransactionState.COMMIT_MESSAGE);
        Message delayed = new Message("Delayed", "", "delayed", body("after a second"));
        delayed.setDelayTimeLevel(1);
        sent(producer.send(delayed));
        sent(producer.sendMessageInTransaction(new Message("Transactional", "", "transactional", body("committed")), null));
        await("the delayed and the committed message", () -> end("Delayed") == 1 && end("Transactional") == 1);
        producer.shutdown();
    }

    /** Messages to be delivered so many seconds later, and one with a delay level of ten seconds. */
    private void sendWaiting(String by, int... timers) throws Exception {
        DefaultMQProducer producer = dress(new DefaultMQProducer("handover_producer"));
        producer.start();
        for (int seconds : timers) {
            Message message = new Message("Waiting", body(by + " timer " + seconds));
            message.setDelayTimeSec(seconds);
            sent(producer.send(message));
        }
        Message message = new Message("Waiting", body(by + " level"));
        message.setDelayTimeLevel(3);
        sent(producer.send(message));
        producer.shutdown();
    }

    /** Messages of which all are popped, and every second is acknowledged. */
    private void popHalf(String by) throws Exception {
        DefaultMQProducer producer = dress(new DefaultMQProducer("handover_producer"));
        producer.start();
        for (int i = 0; i < 6; i++) {
            sent(producer.send(new Message("Popped", body(by + " popped " + i))));
        }
        List<String> popped = new ArrayList<>();
        await(by + " gives out its messages", () -> {
            for (MessageExt message : pop(producer)) {
                String body = new String(message.getBody(), StandardCharsets.UTF_8);
                popped.add(body);
                if (isDone(body)) {
                    acknowledge(producer, message);
                }
            }
            return popped.stream().filter(body -> body.startsWith(by)).count() == 6;
        });
        producer.shutdown();
    }

    private static boolean isDone(String body) {
        return (body.charAt(body.length() - 1) - '0') % 2 == 0;
    }

    /**
     * Waits until what was left of these comes again, and acknowledges it. After a kill the rest may come again, too: Apache
     * keeps acknowledgements in memory for a while, and either of them the progress of the group.
     */
    private void awaitRevived(String by) throws Exception {
        DefaultMQProducer asker = dress(new DefaultMQProducer("handover_asker"));
        asker.start();
        List<String> revived = new ArrayList<>();
        await(by + " messages are offered again", () -> {
            for (MessageExt message : pop(asker)) {
                revived.add(new String(message.getBody(), StandardCharsets.UTF_8));
                acknowledge(asker, message);
                check(kill || message.getReconsumeTimes() == 1, revived + " is not a retry");
            }
            return revived.containsAll(Arrays.asList(by + " popped 1", by + " popped 3", by + " popped 5"));
        });
        check(kill || revived.size() == 3, "offered again: " + revived);
        asker.shutdown();
    }

    private List<MessageExt> pop(DefaultMQProducer client) throws Exception {
        PopMessageRequestHeader header = new PopMessageRequestHeader();
        header.setConsumerGroup(POP_GROUP);
        header.setTopic("Popped");
        header.setQueueId(-1);
        header.setMaxMsgNums(32);
        header.setInvisibleTime(INVISIBLE_MS);
        header.setPollTime(1_000);
        header.setBornTime(System.currentTimeMillis());
        header.setInitMode(0);
        CompletableFuture<PopResult> answer = new CompletableFuture<>();
        String brokerName = client.fetchPublishMessageQueues("Popped").get(0).getBrokerName();
        api(client).popMessageAsync(brokerName, "127.0.0.1:" + broker, header, 20_000, new PopCallback() {
            @Override
            public void onSuccess(PopResult result) {
                answer.complete(result);
            }

            @Override
            public void onException(Throwable cause) {
                answer.completeExceptionally(cause);
            }
        });
        PopResult result = answer.get(30, TimeUnit.SECONDS);
        return result.getPopStatus() == PopStatus.FOUND ? result.getMsgFoundList() : new ArrayList<>();
    }

    private void acknowledge(DefaultMQProducer client, MessageExt message) throws Exception {
        String receipt = message.getProperty(MessageConst.PROPERTY_POP_CK);
        String[] items = ExtraInfoUtil.split(receipt);
        AckMessageRequestHeader header = new AckMessageRequestHeader();
        header.setConsumerGroup(POP_GROUP);
        header.setTopic(ExtraInfoUtil.getRealTopic(items, "Popped", POP_GROUP));
        header.setQueueId(ExtraInfoUtil.getQueueId(items));
        header.setOffset(ExtraInfoUtil.getQueueOffset(items));
        header.setExtraInfo(receipt);
        CompletableFuture<AckResult> answer = new CompletableFuture<>();
        api(client).ackMessageAsync("127.0.0.1:" + broker, 20_000, new AckCallback() {
            @Override
            public void onSuccess(AckResult result) {
                answer.complete(result);
            }

            @Override
            public void onException(Throwable cause) {
                answer.completeExceptionally(cause);
            }
        }, header);
        check(answer.get(30, TimeUnit.SECONDS).getStatus() == AckStatus.OK, "not acknowledged: " + receipt);
    }

    private static MQClientAPIImpl api(DefaultMQProducer client) {
        return client.getDefaultMQProducerImpl().getMqClientFactory().getMQClientAPIImpl();
    }

    /** Waits until these messages that waited have come, none of them twice but after a kill; on a slow machine others may have come, too. */
    private void awaitDelivered(String... wanted) throws Exception {
        List<String> found = new ArrayList<>();
        await("delivered: " + Arrays.toString(wanted), () -> {
            found.clear();
            found.addAll(bodies("Waiting"));
            return found.containsAll(Arrays.asList(wanted));
        });
        check(kill || found.stream().distinct().count() == found.size(), "of " + Arrays.toString(wanted) + " came " + found);
    }

    private List<String> bodies(String topic) throws Exception {
        List<String> found = new ArrayList<>();
        DefaultMQPullConsumer puller = puller("handover_reader");
        try {
            for (MessageQueue queue : puller.fetchSubscribeMessageQueues(topic)) {
                long next = 0;
                for (PullResult result = puller.pull(queue, "*", next, 32); result.getPullStatus() == PullStatus.FOUND; result = puller.pull(queue, "*", next, 32)) {
                    result.getMsgFoundList().forEach(message -> found.add(new String(message.getBody(), StandardCharsets.UTF_8)));
                    next = result.getNextBeginOffset();
                }
            }
        } finally {
            puller.shutdown();
        }
        return found;
    }

    private static SendResult sent(SendResult result) {
        check(result.getSendStatus() == SendStatus.SEND_OK, result.toString());
        return result;
    }

    private void bench(String... more) throws Exception {
        List<String> command = new ArrayList<>(Arrays.asList(lite, "bench", "producer", "-n", "127.0.0.1:" + namesrv, "-t", "Bench",
            "--size", "100", "--quiet"));
        command.addAll(Arrays.asList(more));
        Process process = background("bench", command);
        check(process.waitFor(60, TimeUnit.SECONDS) && process.exitValue() == 0, "rmq-lite bench failed");
    }

    /** Every message of these topics by its place, with all that a reader can see of it. */
    private Map<String, String> snapshot(String... topics) throws Exception {
        Map<String, String> found = new TreeMap<>();
        DefaultMQPullConsumer puller = puller("handover_reader");
        for (String topic : topics) {
            for (MessageQueue queue : puller.fetchSubscribeMessageQueues(topic)) {
                long end = puller.maxOffset(queue);
                check(puller.minOffset(queue) == 0, queue + " begins at " + puller.minOffset(queue));
                for (long at = 0; at < end; ) {
                    PullResult result = puller.pull(queue, "*", at, 32);
                    check(result.getPullStatus() == PullStatus.FOUND, queue + " at " + at + ": " + result);
                    for (MessageExt message : result.getMsgFoundList()) {
                        check(message.getQueueOffset() == at++, "a gap in " + queue + " at " + at);
                        found.put(topic + "/" + queue.getQueueId() + "/" + message.getQueueOffset(), describe(message));
                    }
                }
            }
        }
        puller.shutdown();
        return found;
    }

    private void checkSame(Map<String, String> wanted, Map<String, String> found, String who) {
        for (Map.Entry<String, String> entry : wanted.entrySet()) {
            String other = found.get(entry.getKey());
            check(entry.getValue().equals(other), who + " serves " + entry.getKey() + " as\n  " + other + "\nand not as\n  " + entry.getValue());
        }
        check(kill || found.size() == wanted.size(), who + " serves " + found.size() + " messages and not " + wanted.size());
    }

    /** Offsets are saved a moment after they are committed; a kill before that is another test. */
    private void awaitSaved(String topic, long offset) throws Exception {
        Path file = data.resolve("broker/config/consumerOffset.json");
        Pattern saved = Pattern.compile('"' + topic + "@" + GROUP + "\":\\{[^}]*0:" + offset + "[,\\s}]");
        await("the offset in " + file.getFileName(), () -> Files.exists(file) && saved.matcher(Files.readString(file)).find());
    }

    /** Every keyed message so far is found by its key, by its unique key, and by its place. */
    private void checkKeys(String who) throws Exception {
        DefaultMQProducer asker = dress(new DefaultMQProducer("handover_asker"));
        asker.start();
        for (int i = 0; i < keyed.size(); i += 5) {
            SendResult result = keyed.get(i);
            MessageExt message = asker.viewMessage("Plain", result.getOffsetMsgId());
            check(message.getQueueOffset() == result.getQueueOffset(), who + " finds another message at " + result.getOffsetMsgId());
            QueryResult found = asker.queryMessage("Plain", message.getKeys(), 10, 0, Long.MAX_VALUE);
            check(found.getMessageList().size() == 1, who + " finds " + found.getMessageList().size() + " messages by " + message.getKeys());
            check(asker.viewMessage("Plain", result.getMsgId()).getQueueOffset() == result.getQueueOffset(), who + " by " + result.getMsgId());
        }
        asker.shutdown();
    }

    private static byte[] body(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    // Processes.

    /** Starts a server on the directory, always at the same address, so that message ids stay valid. */
    private Process start(String executable, String name) throws Exception {
        Path ports = work.resolve(name + ".json");
        List<String> command = new ArrayList<>(Arrays.asList(executable, "start", "--headless", "--data-dir", data.toString(),
            "--namesrv-port", Integer.toString(namesrv), "--broker-port", Integer.toString(broker), "--ports-file", ports.toString()));
        Map<String, String> keys = new TreeMap<>();
        keys.put("mappedFileSizeCommitLog", kill ? "1073741824" : "1048576");
        if (!kill) {
            keys.put("mappedFileSizeConsumeQueue", "2000");
            keys.put("maxHashSlotNum", "1000");
            keys.put("maxIndexNum", "4000");
        }
        keys.put("transactionTimeOut", "1000");
        keys.put("transactionCheckInterval", "2000");
        keys.put("transactionCheckMax", "1000");
        if (executable.equals(apache)) {
            keys.put("flushConsumerOffsetInterval", "500");
            // A check within this time of a commit asks once more, and Apache delivers once more.
            keys.put("transactionOpBatchInterval", "100");
        }
        keys.forEach((key, value) -> command.addAll(Arrays.asList("--set", key + "=" + value)));
        Process process = background(name, command);
        await(name + " is ready", () -> {
            check(process.isAlive(), name + " ended with " + (process.isAlive() ? 0 : process.exitValue()));
            return Files.exists(ports);
        });
        return process;
    }

    private void await(String what, Condition condition) throws Exception {
        await(what, 60, condition);
    }

    private void stop(Process process) throws Exception {
        if (kill) {
            process.destroyForcibly();
        } else {
            process.destroy();
        }
        awaitEnd(process);
        boolean marked = Files.exists(data.resolve("broker/abort"));
        check(marked || !kill, "the mark of a running store is missing");
        if (marked && !kill) {
            // rmq-lite does not let a slow disk keep it from stopping; then the next start checks the last files.
            step("(the disk was slow, the stop left the mark)");
        }
    }
}
