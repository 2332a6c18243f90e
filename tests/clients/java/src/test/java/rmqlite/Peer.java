package rmqlite;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;

/** A client in a process of its own: one that can die without a word, or one that needs other system properties. */
final class Peer implements AutoCloseable {
    private final Process process;
    private final Thread reader;
    private final List<String> lines = Collections.synchronizedList(new ArrayList<>());

    private Peer(Process process) {
        this.process = process;
        reader = new Thread(() -> {
            try (BufferedReader out = new BufferedReader(new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8))) {
                for (String line = out.readLine(); line != null; line = out.readLine()) {
                    lines.add(line);
                }
            } catch (IOException closed) {
                lines.add("its output broke off: " + closed);
            }
        }, "peer output");
        reader.setDaemon(true);
        reader.start();
    }

    /** Starts {@link #main} in a new JVM with further system properties. */
    static Peer start(Map<String, String> properties, String... args) throws IOException {
        List<String> command = new ArrayList<>(List.of(System.getProperty("java.home") + "/bin/java", "-Xmx128m",
            "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData",
            "-Duser.home=" + System.getProperty("user.home"), "-Drocketmq.client.logRoot=" + System.getProperty("rocketmq.client.logRoot"),
            "-cp", System.getProperty("surefire.test.class.path", System.getProperty("java.class.path"))));
        properties.forEach((key, value) -> command.add("-D" + key + "=" + value));
        command.add(Peer.class.getName());
        command.addAll(List.of(args));
        return new Peer(new ProcessBuilder(command).redirectErrorStream(true).start());
    }

    void awaitLine(String line, Duration bound) {
        try {
            Until.holds("the peer says " + line, bound, () -> lines.contains(line));
        } catch (AssertionError late) {
            throw new AssertionError(late.getMessage() + "; it said " + new ArrayList<>(lines), late);
        }
    }

    /** Bodies that the peer has consumed. */
    Set<String> got() {
        Set<String> bodies = new TreeSet<>();
        for (String line : new ArrayList<>(lines)) {
            if (line.startsWith("got ")) {
                bodies.add(line.substring(4));
            }
        }
        return bodies;
    }

    /** Ends the process as {@code kill -9} does: its sockets close, nothing is unregistered. */
    void kill9() throws InterruptedException {
        // Not by Process: that closes our end of the pipe, and with it goes what the peer said last.
        process.toHandle().destroyForcibly();
        if (!process.waitFor(20, TimeUnit.SECONDS)) {
            throw new AssertionError("the peer does not die");
        }
        reader.join(TimeUnit.SECONDS.toMillis(20));
    }

    @Override
    public void close() {
        process.destroyForcibly();
    }

    public static void main(String[] args) throws Exception {
        switch (args[0]) {
            case "consume":
            case "consume-orderly":
                consume(args[0].endsWith("orderly"), args[1], args[2], args[3]);
                break;
            case "round-trip":
                roundTrip(args[1], args[2]);
                break;
            default:
                throw new IllegalArgumentException(args[0]);
        }
    }

    private static void consume(boolean orderly, String namesrv, String group, String topic) throws Exception {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        consumer.setNamesrvAddr(namesrv);
        consumer.setMqClientApiTimeout(10_000);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, "*");
        // Said before the message counts as consumed: whoever kills this process knows of all that it has committed.
        if (orderly) {
            consumer.registerMessageListener((MessageListenerOrderly) (batch, context) -> {
                batch.forEach(message -> System.out.println("got " + Received.text(message)));
                return ConsumeOrderlyStatus.SUCCESS;
            });
        } else {
            consumer.registerMessageListener((MessageListenerConcurrently) (batch, context) -> {
                batch.forEach(message -> System.out.println("got " + Received.text(message)));
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
        }
        consumer.start();
        System.out.println("started");
        new CountDownLatch(1).await(10, TimeUnit.MINUTES); // until it is killed
    }

    private static void roundTrip(String namesrv, String topic) throws Exception {
        System.out.println("serialize type " + RemotingCommand.getSerializeTypeConfigInThisServer());
        DefaultMQProducer producer = new DefaultMQProducer("pg_" + topic);
        producer.setNamesrvAddr(namesrv);
        producer.setMqClientApiTimeout(10_000);
        producer.start();
        List<String> bodies = new ArrayList<>();
        List<Message> batch = new ArrayList<>();
        for (int i = 0; i < 10; i++) {
            bodies.add("single " + i);
            producer.send(new Message(topic, "T", ("single " + i).getBytes(StandardCharsets.UTF_8)));
            bodies.add("batched " + i);
            batch.add(new Message(topic, "T", ("batched " + i).getBytes(StandardCharsets.UTF_8)));
        }
        producer.send(batch);
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer("cg_" + topic);
        consumer.setNamesrvAddr(namesrv);
        consumer.setMqClientApiTimeout(10_000);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, "T || U");
        Received received = new Received(consumer);
        consumer.start();
        received.awaitAll(bodies, Duration.ofSeconds(60));
        String queues = Integer.toString(consumer.fetchSubscribeMessageQueues(topic).size());
        consumer.shutdown();
        producer.shutdown();
        System.out.println("all came, from " + queues + " queues");
    }
}
