import com.alibaba.fastjson.JSON;
import com.alibaba.fastjson.JSONObject;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.netty.NettyClientConfig;
import org.apache.rocketmq.remoting.netty.NettyRemotingClient;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.RequestCode;

/**
 * A master and its slave, one of them rmq-lite and the other a real Apache RocketMQ, at the slave's kind of NameServer, and both
 * from the same properties file: what a client sends is on both, the logs are the same bytes and the queues have the same entries,
 * tables are copied, and either may be killed. {@code Mixed <rmq-lite> <directory of Apache's jars>}, see run.sh.
 */
@SuppressWarnings("deprecation")
public final class Mixed extends Scene {
    private static final int FILE_BYTES = 1 << 20;
    private static final int ENTRY_BYTES = 20;
    private static final String NEW_GROUP = "mixed_new_group";
    private static final String[] TOPICS = {"Plain", "Created", "Delayed", "Transactions"};
    /** An Apache slave copies tables after its first minute. */
    private static final long LIMIT_SECONDS = 120;

    private static final NettyRemotingClient RAW = new NettyRemotingClient(new NettyClientConfig());

    private final String lite;
    private final String jars;
    private final boolean liteIsMaster;
    private final int masterPort;
    private final int slavePort;
    private Process master;
    private Process slave;
    private int sent;

    private Mixed(String lite, String jars, boolean liteIsMaster) throws Exception {
        // The NameServer's port, and the three of either broker.
        super("mixed-", 20, 0, 2, 4, 5, 7, 9, 10);
        this.lite = lite;
        this.jars = jars;
        this.liteIsMaster = liteIsMaster;
        masterPort = namesrv + 4;
        slavePort = namesrv + 9;
    }

    public static void main(String[] args) throws Exception {
        RAW.start();
        // Apache's slave lets wait for it, so the other pair has its turn meanwhile.
        Mixed apacheSlave = new Mixed(args[0], args[1], true);
        Mixed liteSlave = null;
        Mixed current = apacheSlave;
        int status = 0;
        try {
            apacheSlave.begin();
            liteSlave = current = new Mixed(args[0], args[1], false);
            liteSlave.begin();
            liteSlave.run();
            current = apacheSlave;
            apacheSlave.run();
        } catch (Throwable e) {
            status = 1;
            e.printStackTrace();
            current.showLogs();
        }
        apacheSlave.close();
        if (liteSlave != null) {
            liteSlave.close();
        }
        System.exit(status);
    }

    private String name(boolean isMaster) {
        return isMaster == liteIsMaster ? "rmq-lite" : "Apache";
    }

    private String pair() {
        return name(true) + " master, " + name(false) + " slave";
    }

    private void tell(String text) {
        step(pair() + ": " + text);
    }

    /** Starts the three and sends the first messages. Only our master sends a new slave more than its last file. */
    private void begin() throws Exception {
        startNamesrv();
        if (liteIsMaster) {
            master = startBroker(true);
            send(40, false);
            check(logFiles(true).size() > 1, "the log should have more than one file by now");
            slave = startBroker(false);
        } else {
            slave = startBroker(false);
            master = startBroker(true);
        }
        await("the slave counts as a copy", () -> call(masterPort, RequestCode.GET_BROKER_HA_STATUS).getInteger("inSyncSlaveNums") == 1);
        createTables();
        send(40, true);
        sendKinds();
        commit("Plain", 7);
        tell("all sends are acknowledged by both");
    }

    private void run() throws Exception {
        await("the slave has the master's log", () -> differentLog() == null);
        await("the slave's queues are the master's", () -> differentQueues() == null);
        tell("the logs are the same bytes, the queues the same entries");
        await("the slave has the master's tables", () -> differentTables() == null);
        tell("topics, groups, offsets and delay offsets are the same");
        Map<String, String> served = snapshot();

        kill(master);
        await("the NameServer knows of the master's end", () -> !registered(masterPort));
        Map<String, String> bySlave = snapshot();
        check(served.equals(bySlave), "the slave serves something else: " + firstDifference(served, bySlave));
        checkKeys();
        checkOffset("Plain", 7);
        commit("Plain", 9);
        checkOffset("Plain", 9);
        tell("the slave alone serves all of it, by offset and by key, and knows the group's offset");

        master = startBroker(true);
        awaitBoth();
        if (!liteIsMaster) {
            // Apache's slave forgets what was consumed from it.
            await("the master knows what was consumed from the slave", () -> offset("Plain") == 9);
        }
        send(20, true);
        await("the slave has the master's log", () -> differentLog() == null);
        tell("after kill -9 of the master the slave follows again");

        kill(slave);
        send(2, false); // Apache waits three seconds for each
        slave = startBroker(false);
        awaitBoth();
        send(20, true);
        await("the slave has the master's log", () -> differentLog() == null);
        await("the slave's queues are the master's", () -> differentQueues() == null);
        tell("after kill -9 of the slave it catches up: " + logEnd() + " bytes are the same");
        kill(slave);
        kill(master);
    }

    private void awaitBoth() throws Exception {
        await("the slave counts as a copy", () -> call(masterPort, RequestCode.GET_BROKER_HA_STATUS).getInteger("inSyncSlaveNums") == 1);
        await("both are registered", () -> registered(masterPort) && registered(slavePort));
    }

    // What is sent and read.

    /** Messages of many sizes with keys and tags, large ones that cross the ends of files, and a batch. */
    private void send(int count, boolean slaveIsThere) throws Exception {
        DefaultMQProducer producer = dress(new DefaultMQProducer("mixed_producer"));
        producer.setCompressMsgBodyOverHowmuch(1_000_000);
        producer.start();
        for (int i = 0; i < count; i++, sent++) {
            byte[] body = new byte[i % 4 == 3 ? 150_000 : 1 + i * 37];
            Arrays.fill(body, (byte) sent);
            Message message = new Message("Plain", i % 2 == 0 ? "even" : "odd", "key" + sent, body);
            message.putUserProperty("number", Integer.toString(sent));
            checkSent(producer.send(message), slaveIsThere);
        }
        List<Message> batch = new ArrayList<>();
        for (int i = 0; i < 20; i++) {
            batch.add(new Message("Plain", "batch", ("batch " + sent + " " + i).getBytes(StandardCharsets.UTF_8)));
        }
        checkSent(producer.send(batch), slaveIsThere);
        producer.shutdown();
    }

    private static void checkSent(SendResult result, boolean slaveIsThere) {
        // Without a slave the message is stored, and its sender hears that.
        check(result.getSendStatus() == SendStatus.SEND_OK || !slaveIsThere, result.toString());
    }

    /** A delay level, a timer, a committed and a rolled back transaction. */
    private void sendKinds() throws Exception {
        TransactionMQProducer producer = transactions("mixed_transactions", LocalTransactionState::valueOf, LocalTransactionState::valueOf);
        Message level = new Message("Delayed", "level".getBytes(StandardCharsets.UTF_8));
        level.setDelayTimeLevel(1);
        checkSent(producer.send(level), true);
        Message timer = new Message("Delayed", "timer".getBytes(StandardCharsets.UTF_8));
        timer.setDelayTimeMs(1_500);
        checkSent(producer.send(timer), true);
        for (LocalTransactionState fate : new LocalTransactionState[] {LocalTransactionState.COMMIT_MESSAGE, LocalTransactionState.ROLLBACK_MESSAGE}) {
            producer.sendMessageInTransaction(new Message("Transactions", fate.name().getBytes(StandardCharsets.UTF_8)), null);
        }
        await("the delayed messages and the committed one", () -> end("Delayed") == 2 && end("Transactions") == 1);
        producer.shutdown();
    }

    /** A topic of an unusual shape and a group with a setting, made by an administrator. */
    private void createTables() throws Exception {
        raw(masterPort, RequestCode.UPDATE_AND_CREATE_TOPIC, null, "topic", "Created", "defaultTopic", "TBW102", "readQueueNums", "3",
            "writeQueueNums", "5", "perm", "6", "topicFilterType", "SINGLE_TAG", "topicSysFlag", "0", "order", "false");
        String group = "{\"groupName\":\"" + NEW_GROUP + "\",\"retryMaxTimes\":7,\"consumeEnable\":true,\"retryQueueNums\":2}";
        raw(masterPort, RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, group);
    }

    private long offset(String topic) throws Exception {
        DefaultMQPullConsumer puller = puller(GROUP);
        try {
            long least = Long.MAX_VALUE;
            for (MessageQueue queue : puller.fetchSubscribeMessageQueues(topic)) {
                least = Math.min(least, puller.fetchConsumeOffset(queue, true));
            }
            return least;
        } finally {
            puller.shutdown();
        }
    }

    /** Every message by its place, with all that a reader can see of it. */
    private Map<String, String> snapshot() throws Exception {
        Map<String, String> found = new TreeMap<>();
        DefaultMQPullConsumer puller = puller("mixed_reader");
        for (String topic : TOPICS) {
            for (MessageQueue queue : puller.fetchSubscribeMessageQueues(topic)) {
                // Only a master is asked where a queue ends.
                PullResult result = puller.pull(queue, "*", 0, 32);
                for (; result.getPullStatus() == PullStatus.FOUND; result = puller.pull(queue, "*", result.getNextBeginOffset(), 32)) {
                    for (MessageExt message : result.getMsgFoundList()) {
                        found.put(topic + "/" + queue.getQueueId() + "/" + message.getQueueOffset(), describe(message));
                    }
                }
            }
        }
        puller.shutdown();
        check(found.size() >= sent, "only " + found.size() + " messages");
        return found;
    }

    private static String firstDifference(Map<String, String> wanted, Map<String, String> found) {
        for (Map.Entry<String, String> entry : wanted.entrySet()) {
            String other = found.get(entry.getKey());
            if (!entry.getValue().equals(other)) {
                return entry.getKey() + " is\n  " + other + "\nand not\n  " + entry.getValue();
            }
        }
        return found.size() + " messages and not " + wanted.size();
    }

    private void checkKeys() throws Exception {
        DefaultMQProducer asker = dress(new DefaultMQProducer("mixed_asker"));
        asker.start();
        for (int i = 0; i < sent; i += 9) {
            int found = asker.queryMessage("Plain", "key" + i, 10, 0, Long.MAX_VALUE).getMessageList().size();
            check(found == 1, found + " messages are found by key" + i);
        }
        asker.shutdown();
    }

    // What is compared.

    private Path store(boolean isMaster) {
        return work.resolve(isMaster ? "master" : "slave");
    }

    private Map<Long, Path> logFiles(boolean isMaster) throws IOException {
        try (Stream<Path> files = Files.list(store(isMaster).resolve("commitlog"))) {
            return files.filter(file -> file.getFileName().toString().matches("\\d{20}"))
                .collect(Collectors.toMap(file -> Long.parseLong(file.getFileName().toString()), file -> file, (a, b) -> a, TreeMap::new));
        }
    }

    private long logEnd() throws Exception {
        return call(masterPort, RequestCode.GET_BROKER_HA_STATUS).getLong("masterCommitLogMaxOffset");
    }

    /** Where the slave's log first differs from the master's, up to the master's end; nothing when it does not. */
    private String differentLog() throws Exception {
        long end = logEnd();
        Map<Long, Path> copies = logFiles(false);
        for (Map.Entry<Long, Path> file : logFiles(true).entrySet()) {
            long at = file.getKey();
            if (at >= end) {
                break; // made ahead
            }
            if (!copies.containsKey(at)) {
                return "the slave has no file " + file.getValue().getFileName();
            }
            int bytes = (int) Math.min(FILE_BYTES, end - at);
            int mismatch = ByteBuffer.wrap(Files.readAllBytes(file.getValue()), 0, bytes)
                .mismatch(ByteBuffer.wrap(Files.readAllBytes(copies.get(at)), 0, bytes));
            if (mismatch >= 0) {
                return "the logs differ at " + (at + mismatch) + ", the master's ends at " + end;
            }
        }
        return null;
    }

    /** Which consume queue of the slave differs from the master's and where; nothing when none does. */
    private String differentQueues() throws Exception {
        Path queues = store(true).resolve("consumequeue");
        List<Path> all;
        try (Stream<Path> found = Files.walk(queues, 2)) {
            all = found.filter(path -> queues.relativize(path).getNameCount() == 2).sorted().collect(Collectors.toList());
        }
        check(all.size() > TOPICS.length, "only the queues " + all);
        for (Path queue : all) {
            Path name = queues.relativize(queue);
            byte[] mine = entries(queue);
            byte[] copy = entries(store(false).resolve("consumequeue").resolve(name));
            int mismatch = Arrays.mismatch(mine, copy);
            if (mismatch >= 0) {
                return "the queues " + name + " differ at entry " + mismatch / ENTRY_BYTES + " of " + mine.length / ENTRY_BYTES;
            }
        }
        return null;
    }

    /** The entries of a queue, all files together, up to the first that names no bytes. */
    private static byte[] entries(Path queue) throws IOException {
        if (!Files.isDirectory(queue)) {
            return new byte[0];
        }
        List<Path> files;
        try (Stream<Path> listed = Files.list(queue)) {
            files = listed.sorted().collect(Collectors.toList());
        }
        ByteBuffer all = ByteBuffer.allocate(files.stream().mapToInt(file -> (int) file.toFile().length()).sum());
        for (Path file : files) {
            all.put(Files.readAllBytes(file));
        }
        int end = 0;
        while (end + ENTRY_BYTES <= all.capacity() && all.getInt(end + 8) != 0) {
            end += ENTRY_BYTES;
        }
        return Arrays.copyOf(all.array(), end);
    }

    /** Which table of the slave lacks what the master has; nothing when none does. */
    private String differentTables() throws Exception {
        for (String[] table : new String[][] {{"21", "topicConfigTable"}, {"43", "offsetTable"}, {"45", "offsetTable"},
            {"201", "subscriptionGroupTable"}}) {
            int code = Integer.parseInt(table[0]);
            JSONObject mine = call(masterPort, code).getJSONObject(table[1]);
            JSONObject copy = call(slavePort, code).getJSONObject(table[1]);
            check(!mine.isEmpty() || code == RequestCode.GET_ALL_DELAY_OFFSET, "the master's table " + code + " is empty");
            for (String key : mine.keySet()) {
                if (!different(mine.get(key), copy.get(key)).isEmpty()) {
                    return "table " + code + ", " + key + ": " + different(mine.get(key), copy.get(key));
                }
            }
        }
        return null;
    }

    /** Two rows of a table. The two brokers need not write the same fields: one that is missing has its usual value. */
    private static String different(Object mine, Object copy) {
        if (mine instanceof JSONObject && copy instanceof JSONObject) {
            JSONObject row = (JSONObject) copy;
            for (Map.Entry<String, Object> field : ((JSONObject) mine).entrySet()) {
                Object other = row.get(field.getKey());
                if (other != null && !different(field.getValue(), other).isEmpty()) {
                    return field + " on the master, " + other + " on the slave";
                }
            }
            return "";
        }
        return String.valueOf(mine).equals(String.valueOf(copy)) ? "" : mine + " on the master, " + copy + " on the slave";
    }

    private RemotingCommand raw(int port, int code, String body, String... fields) throws Exception {
        RemotingCommand request = RemotingCommand.createRequestCommand(code, null);
        for (int i = 0; i < fields.length; i += 2) {
            request.addExtField(fields[i], fields[i + 1]);
        }
        if (body != null) {
            request.setBody(body.getBytes(StandardCharsets.UTF_8));
        }
        RemotingCommand answer = RAW.invokeSync("127.0.0.1:" + port, request, 20_000);
        check(answer.getCode() == 0, "request " + code + ": " + answer);
        return answer;
    }

    private JSONObject call(int port, int code) throws Exception {
        return JSON.parseObject(new String(raw(port, code, null).getBody(), StandardCharsets.UTF_8));
    }

    // Processes.

    private void startNamesrv() throws Exception {
        Path file = home("namesrv").resolve("namesrv.properties");
        Files.writeString(file, String.join("\n", "listenPort=" + namesrv, "bindAddress=127.0.0.1",
            "kvConfigPath=" + work.resolve("namesrv/kvConfig.json"), "configStorePath=" + work.resolve("namesrv/saved.properties"), ""));
        start("namesrv", !liteIsMaster, "namesrv", "org.apache.rocketmq.namesrv.NamesrvStartup", "-Xmx64m", file);
        await("the NameServer answers", () -> !isFree(namesrv) && call(namesrv, RequestCode.GET_BROKER_CLUSTER_INFO) != null);
    }

    /** Starts a broker of the pair, by the same file whoever it is. */
    private Process startBroker(boolean isMaster) throws Exception {
        String name = isMaster ? "master" : "slave";
        int port = isMaster ? masterPort : slavePort;
        Path file = home(name).resolve("broker.properties");
        Files.writeString(file, String.join("\n", "brokerClusterName=mixed", "brokerName=mixed", "brokerId=" + (isMaster ? 0 : 1),
            "brokerRole=" + (isMaster ? "SYNC_MASTER" : "SLAVE"), "inSyncReplicas=2", "flushDiskType=SYNC_FLUSH", "slaveReadEnable=true",
            "namesrvAddr=127.0.0.1:" + namesrv, "bindAddress=127.0.0.1", "brokerIP1=127.0.0.1", "brokerIP2=127.0.0.1",
            "listenPort=" + port, "haListenPort=" + (port + 1), "registerNameServerPeriod=10000", "flushConsumerOffsetInterval=500",
            "storePathRootDir=" + store(isMaster), "storePathCommitLog=" + store(isMaster).resolve("commitlog"), "diskMaxUsedSpaceRatio=95",
            "mappedFileSizeCommitLog=" + FILE_BYTES, "mappedFileSizeConsumeQueue=2000", "maxHashSlotNum=1000", "maxIndexNum=4000", ""));
        Process process = start(name, isMaster == liteIsMaster, "broker", "org.apache.rocketmq.broker.BrokerStartup", "-Xmx400m", file);
        await(name + " is registered", () -> {
            check(process.isAlive(), "the " + name + " has ended");
            return registered(port);
        });
        return process;
    }

    private Process start(String name, boolean isLite, String role, String main, String heap, Path file) throws Exception {
        List<String> command = isLite ? List.of(lite, role, "-c", file.toString())
            : List.of("java", heap, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-XX:MaxDirectMemorySize=256m",
                "-Dio.netty.tryReflectionSetAccessible=true", "--add-opens=java.base/java.nio=ALL-UNNAMED",
                "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED", "--add-opens=java.base/jdk.internal.misc=ALL-UNNAMED",
                "-Duser.home=" + work, "-Drocketmq.home.dir=" + home(name), "-cp", home(name).resolve("conf") + ":" + jars + "/*", main, "-c", file.toString());
        return background(name, command);
    }

    /** A home directory for Apache, in which it finds that it should log nothing. */
    private Path home(String name) throws IOException {
        Path conf = Files.createDirectories(work.resolve("home-" + name).resolve("conf"));
        for (String role : new String[] {"namesrv", "broker"}) {
            Files.writeString(conf.resolve("rmq." + role + ".logback.xml"), "<configuration><root level=\"OFF\"/></configuration>");
        }
        return conf.getParent();
    }

    private boolean registered(int port) throws Exception {
        return new String(raw(namesrv, RequestCode.GET_BROKER_CLUSTER_INFO, null).getBody(), StandardCharsets.UTF_8).contains("127.0.0.1:" + port + '"');
    }

    private static void kill(Process process) throws Exception {
        process.destroyForcibly();
        awaitEnd(process);
    }

    private void await(String what, Condition condition) throws Exception {
        try {
            await(what, LIMIT_SECONDS, condition);
        } catch (AssertionError e) {
            String found = Files.isDirectory(store(false)) && master != null && master.isAlive() && slave != null && slave.isAlive()
                ? "; " + differentLog() + "; " + differentQueues() + "; " + differentTables() : "";
            throw new AssertionError(pair() + ": " + e.getMessage() + found, e.getCause());
        }
    }
}
