package rmqlite;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.DataInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.OutputStream;
import java.net.Socket;
import java.net.SocketException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/**
 * Kill -9 under load, again and again: {@code mvn -q -B test -Dtest=KillLoop -Dkill.rounds=50 [-Dkill.seed=N]}. {@code mvn test}
 * leaves it out, {@code make test} runs it. Producers are plain sockets with many sends in flight, so that the kill meets a
 * broker in full work.
 */
class KillLoop extends ClientTest {
    private static final int ROUNDS = Integer.getInteger("kill.rounds", 50);
    private static final long SEED = Long.getLong("kill.seed", System.nanoTime());
    private static final int QUEUES = 4;
    private static final int CONNECTIONS = 4;
    private static final int IN_FLIGHT = 64;
    private static final String FILLER = "x".repeat(500);

    /** In every round each acknowledged message is, after the next start, at the very queue offset that was acknowledged. */
    @Test
    @Timeout(value = 2, unit = TimeUnit.HOURS)
    void nothingAcknowledgedIsLost() throws Exception {
        System.out.println("kill loop: " + ROUNDS + " rounds, -Dkill.seed=" + SEED);
        Random random = new Random(SEED);
        Server server = closing(Server.own());
        String topic = Admin.of(server).createTopic(server, Names.unique("kill"), QUEUES);
        Map<String, String> acknowledged = new ConcurrentHashMap<>(); // "queue/offset" to body
        Map<Integer, Long> verified = new HashMap<>(); // queue to the offset behind the last message that was looked at
        long total = 0;
        for (int round = 0; round < ROUNDS; round++) {
            acknowledged.clear();
            List<Producer> producers = new ArrayList<>();
            for (int c = 0; c < CONNECTIONS; c++) {
                producers.add(new Producer(server.broker(), topic, "r" + round + "c" + c + "-", acknowledged));
            }
            int enough = 1 + random.nextInt(20_000);
            Until.holds(enough + " messages are acknowledged", SOON.plusSeconds(30), () -> {
                for (Producer producer : producers) {
                    producer.check();
                }
                return acknowledged.size() >= enough;
            });
            server.kill9();
            for (Producer producer : producers) {
                producer.close();
            }
            server.startAgain();
            Admin.of(server).awaitRoute(topic);

            Map<String, String> missing = new HashMap<>(acknowledged);
            DefaultMQPullConsumer reader = pullConsumer(server, Names.unique("reader"));
            for (MessageQueue queue : reader.fetchSubscribeMessageQueues(topic)) {
                long from = verified.getOrDefault(queue.getQueueId(), 0L);
                long next = from;
                for (MessageExt message : read(reader, queue, from)) {
                    assertEquals(next++, message.getQueueOffset(), "no gap in " + queue);
                    String body = text(message);
                    assertTrue(body.startsWith("r" + round + "c") && body.endsWith(FILLER), "a whole message of this round: " + body);
                    String wanted = missing.remove(queue.getQueueId() + "/" + message.getQueueOffset());
                    if (wanted != null) {
                        assertEquals(wanted, body, "what was acknowledged at this offset");
                    }
                }
                assertEquals(next, reader.maxOffset(queue), "all of " + queue + " is read");
                verified.put(queue.getQueueId(), next);
            }
            reader.shutdown();
            assertEquals(Map.of(), missing, "acknowledged and lost in round " + round + ", seed " + SEED);
            total += acknowledged.size();
        }
        long stored = verified.values().stream().mapToLong(Long::longValue).sum();
        DefaultMQPullConsumer reader = pullConsumer(server, Names.unique("reader"));
        long there = 0;
        for (MessageQueue queue : reader.fetchSubscribeMessageQueues(topic)) {
            there += read(reader, queue, 0).size();
        }
        assertEquals(stored, there, "all rounds' messages are still there at the end");
        System.out.println("kill loop: " + ROUNDS + " kills, " + total + " messages acknowledged, none lost");
    }

    /** One connection that keeps a window of sends in flight and notes what is acknowledged. */
    private static final class Producer implements AutoCloseable {
        private static final int SEND_MESSAGE_V2 = 310;
        private static final int SYSTEM_BUSY = 2;

        private final Socket socket;
        private final Map<Integer, String> sent = new ConcurrentHashMap<>();
        private final Semaphore window = new Semaphore(IN_FLIGHT);
        private final Thread writer;
        private final Thread reader;
        private volatile Throwable failure;
        private volatile boolean closing;

        Producer(String broker, String topic, String name, Map<String, String> acknowledged) throws IOException {
            int colon = broker.lastIndexOf(':');
            socket = new Socket(broker.substring(0, colon), Integer.parseInt(broker.substring(colon + 1)));
            socket.setTcpNoDelay(true);
            writer = new Thread(() -> guarded(() -> write(topic, name)), "kill writer");
            reader = new Thread(() -> guarded(() -> read(acknowledged)), "kill reader");
            writer.start();
            reader.start();
        }

        private interface Work {
            void run() throws Exception;
        }

        private void guarded(Work work) {
            try {
                work.run();
            } catch (SocketException | EOFException | InterruptedException killed) {
                // the server is gone: what this loop is about
            } catch (Throwable e) {
                failure = e;
            }
        }

        private void write(String topic, String name) throws Exception {
            OutputStream out = socket.getOutputStream();
            for (int i = 0; !closing; i++) {
                window.acquire();
                String body = name + i + FILLER;
                RemotingCommand request = RemotingCommand.createRequestCommand(SEND_MESSAGE_V2, null);
                request.addExtField("a", "kill_producer");
                request.addExtField("b", topic);
                request.addExtField("c", "TBW102");
                request.addExtField("d", "4");
                request.addExtField("e", Integer.toString(i % QUEUES));
                request.addExtField("f", "0");
                request.addExtField("g", Long.toString(System.currentTimeMillis()));
                request.addExtField("h", "0");
                request.addExtField("i", "");
                request.addExtField("j", "0");
                request.addExtField("k", "false");
                request.addExtField("m", "false");
                request.setBody(body.getBytes(StandardCharsets.UTF_8));
                sent.put(request.getOpaque(), body);
                ByteBuffer frame = request.encode();
                out.write(frame.array(), frame.arrayOffset() + frame.position(), frame.remaining());
            }
        }

        private void read(Map<String, String> acknowledged) throws Exception {
            DataInputStream in = new DataInputStream(socket.getInputStream());
            for (;;) {
                byte[] frame = new byte[in.readInt()];
                in.readFully(frame);
                RemotingCommand answer = RemotingCommand.decode(ByteBuffer.wrap(frame));
                if (!answer.isResponseType()) {
                    continue;
                }
                String body = sent.remove(answer.getOpaque());
                if (answer.getCode() == SYSTEM_BUSY) { // not stored, and so it was told
                    window.release();
                    continue;
                }
                assertEquals(0, answer.getCode(), answer.getRemark());
                Map<String, String> fields = answer.getExtFields();
                String other = acknowledged.put(fields.get("queueId") + "/" + fields.get("queueOffset"), body);
                assertEquals(null, other, "one offset for two messages");
                window.release();
            }
        }

        void check() {
            if (failure != null) {
                throw new AssertionError("a producer failed", failure);
            }
        }

        @Override
        public void close() throws Exception {
            closing = true;
            reader.join(20_000); // it reads what the server wrote before its end
            socket.close();
            writer.interrupt();
            writer.join(20_000);
            check();
            assertTrue(!reader.isAlive() && !writer.isAlive(), "the connection ends with the server");
        }
    }
}
