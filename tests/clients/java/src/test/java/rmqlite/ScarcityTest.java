package rmqlite;

import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.net.InetSocketAddress;
import java.nio.channels.SocketChannel;
import java.nio.file.Files;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendStatus;
import org.junit.jupiter.api.Test;

/** What clients notice when something runs out: room on the disk, connections. */
class ScarcityTest extends ClientTest {
    private static final long MIB = 1 << 20;
    private static final int SILENT = 10_000;

    /** On a full disk a send is refused with the path and the numbers, reading goes on, and room lets sends in again. */
    @Test
    void aFullDisk() throws Exception {
        Server server = closing(Server.onDiskOf(700 * MIB, 320 * MIB));
        String topic = Admin.of(server).createTopic(server, Names.unique("full"), 1);
        DefaultMQProducer producer = producer(server);
        producer.setCompressMsgBodyOverHowmuch(Integer.MAX_VALUE);
        Set<String> acknowledged = new HashSet<>();
        String large = "x".repeat((int) MIB);
        Exception refused = assertThrows(Exception.class, () -> {
            for (int i = 0; i < 300; i++) {
                producer.send(message(topic, large + i), 10_000);
                acknowledged.add(large + i);
            }
        });
        String why = String.valueOf(refused.getCause());
        assertTrue(why.contains("/commitlog has ") && why.contains(" MiB left of 700 MiB"), why);
        assertTrue(acknowledged.size() > 10, acknowledged.size() + " messages fit");
        assertTrue(acknowledged.equals(readAll(server, topic)), "what was acknowledged can be read");

        Files.delete(server.filler());
        Until.holds("a send is acknowledged again", SOON,
            () -> producer.send(message(topic, "again"), 10_000).getSendStatus() == SendStatus.SEND_OK);
    }

    /** Connections that say nothing cost a bounded bit of memory, and clients do not notice them. */
    @Test
    void tenThousandSilentConnections() throws Exception {
        Server server = closing(Server.own());
        String topic = Admin.of(server).createTopic(server, Names.unique("crowd"), 1);
        DefaultMQProducer producer = producer(server);
        Received received = consume(server, Names.unique("g"), topic, "*");
        producer.send(message(topic, "before"));
        long before = server.anonymousBytes();
        String[] address = server.broker().split(":");
        for (int i = 0; i < SILENT; i++) {
            SocketChannel channel = SocketChannel.open(new InetSocketAddress(address[0], Integer.parseInt(address[1])));
            closing(channel);
        }
        producer.send(message(topic, "among them"));
        producer(server).send(message(topic, "newcomer"));
        received.awaitAll(List.of("before", "among them", "newcomer"), SOON);
        long each = (server.anonymousBytes() - before) / SILENT;
        assertTrue(each < 16 * 1024, each + " bytes per connection");
    }
}
