package rmqlite;

import java.time.Duration;
import java.util.Map;
import org.junit.jupiter.api.Test;

/** A client that writes its headers in the ROCKETMQ encoding instead of JSON. */
class SerializationTest extends ClientTest {
    /** Sends, a batch, and push consumption work with headers in the ROCKETMQ encoding. */
    @Test
    void rocketmqHeadersWork() throws Exception {
        Peer peer = closing(Peer.start(Map.of("rocketmq.serialize.type", "ROCKETMQ"),
            "round-trip", Server.shared().namesrv(), Names.unique("binary")));
        peer.awaitLine("serialize type ROCKETMQ", Duration.ofSeconds(30));
        peer.awaitLine("all came, from 4 queues", Duration.ofSeconds(30).plus(SOON));
    }
}
