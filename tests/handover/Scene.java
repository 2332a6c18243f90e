import java.io.File;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.UtilAll;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * What the tests beside a real Apache RocketMQ have in common: a directory of their own, processes that end with them, clients of
 * their NameServer, and waiting. Of HandOver, and of Mixed in ../mixed.
 */
@SuppressWarnings("deprecation")
abstract class Scene {
    static final String GROUP = "scene_group";
    /** What a reader adds to the properties of a message, or what differs with the moment of reading. */
    private static final List<String> OF_THE_READER = Arrays.asList(MessageConst.PROPERTY_MIN_OFFSET, MessageConst.PROPERTY_MAX_OFFSET);
    private static final long BEGAN = System.nanoTime();

    private static int clients;

    final Path work;
    final int namesrv;
    private final List<Process> running = new ArrayList<>();

    /** A scene at the first of so many ports in a row of which those at these places are free; its NameServer has the first. */
    Scene(String name, int ports, int... places) throws IOException {
        work = Files.createTempDirectory(name);
        // Below the ports that systems give to clients, of which any may be taken when the next server starts.
        int first = 20_000 + (int) (ProcessHandle.current().pid() % (10_000 / ports)) * ports;
        while (!isFree(first, places)) {
            first += ports;
        }
        namesrv = first;
    }

    private static boolean isFree(int first, int... places) {
        return IntStream.of(places).allMatch(place -> isFree(first + place));
    }

    static boolean isFree(int port) {
        try (ServerSocket probe = new ServerSocket()) {
            probe.setReuseAddress(true);
            probe.bind(new InetSocketAddress("127.0.0.1", port));
            return true;
        } catch (IOException taken) {
            return false;
        }
    }

    // Clients.

    final <P extends DefaultMQProducer> P dress(P producer) {
        producer.setNamesrvAddr("127.0.0.1:" + namesrv);
        producer.setInstanceName("client-" + clients++);
        producer.setSendMsgTimeout(20_000);
        return producer;
    }

    /** A started producer that decides about a transaction, at once and when it is asked, by the message's body. */
    final TransactionMQProducer transactions(String group, Function<String, LocalTransactionState> local,
        Function<String, LocalTransactionState> check) throws Exception {
        TransactionMQProducer producer = dress(new TransactionMQProducer(group));
        producer.setTransactionListener(new TransactionListener() {
            @Override
            public LocalTransactionState executeLocalTransaction(Message message, Object state) {
                return local.apply(new String(message.getBody(), StandardCharsets.UTF_8));
            }

            @Override
            public LocalTransactionState checkLocalTransaction(MessageExt message) {
                return check.apply(new String(message.getBody(), StandardCharsets.UTF_8));
            }
        });
        producer.start();
        return producer;
    }

    final DefaultMQPullConsumer puller(String group) throws Exception {
        DefaultMQPullConsumer puller = new DefaultMQPullConsumer(group);
        puller.setNamesrvAddr("127.0.0.1:" + namesrv);
        puller.setInstanceName("client-" + clients++);
        puller.setConsumerPullTimeoutMillis(20_000);
        puller.start();
        return puller;
    }

    /** Commits this offset for the group in every queue. */
    final void commit(String topic, long offset) throws Exception {
        DefaultMQPullConsumer puller = puller(GROUP);
        for (MessageQueue queue : puller.fetchSubscribeMessageQueues(topic)) {
            puller.pull(queue, "*", 0, 1); // makes the group known, which a heartbeat may do too late
            puller.getOffsetStore().updateConsumeOffsetToBroker(queue, offset, false);
        }
        puller.shutdown();
    }

    final void checkOffset(String topic, long offset) throws Exception {
        DefaultMQPullConsumer puller = puller(GROUP);
        for (MessageQueue queue : puller.fetchSubscribeMessageQueues(topic)) {
            check(puller.fetchConsumeOffset(queue, true) == offset, queue + " of the group is at " + puller.fetchConsumeOffset(queue, true));
        }
        puller.shutdown();
    }

    /** How many messages the queues of a topic have had, all together. */
    final long end(String topic) throws Exception {
        DefaultMQPullConsumer puller = puller("scene_reader");
        try {
            long end = 0;
            for (MessageQueue queue : puller.fetchSubscribeMessageQueues(topic)) {
                end += puller.maxOffset(queue);
            }
            return end;
        } finally {
            puller.shutdown();
        }
    }

    /** All that a reader can see of a message. */
    static String describe(MessageExt message) {
        Map<String, String> properties = new TreeMap<>(message.getProperties());
        OF_THE_READER.forEach(properties::remove);
        byte[] body = message.getBody();
        String text = body.length > 200 ? body.length + " bytes, CRC " + UtilAll.crc32(body) : Base64.getEncoder().encodeToString(body);
        return String.join(" ", text, properties.toString(), "at " + message.getCommitLogOffset(), "flag " + message.getFlag(),
            "system flag " + message.getSysFlag(), "born " + message.getBornTimestamp() + message.getBornHost(),
            "stored " + message.getStoreTimestamp() + message.getStoreHost(), "reconsumed " + message.getReconsumeTimes(),
            "prepared " + message.getPreparedTransactionOffset());
    }

    // Processes.

    /** Starts a process that ends with the scene; what it prints goes to the end of the log of this name. */
    final Process background(String name, List<String> command) throws IOException {
        File log = work.resolve(name + ".log").toFile();
        Process process = new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(ProcessBuilder.Redirect.appendTo(log)).start();
        running.add(process);
        return process;
    }

    static void awaitEnd(Process process) throws Exception {
        check(process.waitFor(60, TimeUnit.SECONDS), "the server does not end");
    }

    final void showLogs() throws Exception {
        List<Path> logs;
        try (Stream<Path> listed = Files.list(work)) {
            logs = listed.filter(path -> path.toString().endsWith(".log")).sorted().collect(Collectors.toList());
        }
        for (Path log : logs) {
            List<String> lines = Files.readAllLines(log);
            System.err.println("== " + log.getFileName());
            lines.subList(Math.max(0, lines.size() - 30), lines.size()).forEach(System.err::println);
        }
    }

    final void close() throws Exception {
        running.forEach(Process::destroyForcibly);
        for (Process process : running) {
            process.waitFor();
        }
        try (Stream<Path> walked = Files.walk(work)) {
            walked.sorted(Comparator.reverseOrder()).forEach(path -> path.toFile().delete());
        }
    }

    // Waiting and telling.

    interface Condition {
        boolean holds() throws Exception;
    }

    /** Waits until the condition holds, at most so long; what it throws, such as for a route that is not there yet, is a no. */
    final void await(String what, long limitSeconds, Condition condition) throws Exception {
        long limit = System.nanoTime() + TimeUnit.SECONDS.toNanos(limitSeconds);
        for (;;) {
            Exception last = null;
            try {
                if (condition.holds()) {
                    return;
                }
            } catch (Exception e) {
                last = e;
            }
            if (System.nanoTime() > limit) {
                throw new AssertionError("waited in vain until " + what, last);
            }
            Thread.sleep(50);
        }
    }

    static void check(boolean holds, String otherwise) {
        if (!holds) {
            throw new AssertionError(otherwise);
        }
    }

    static void step(String text) {
        System.out.printf("%5.1f s  %s%n", (System.nanoTime() - BEGAN) / 1e9, text);
    }
}
