package rmqlite;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.MessageExt;
import org.junit.jupiter.api.Test;

/** Clients that speak TLS, on the ports that plain ones use. */
class TlsTest extends ClientTest {
    /** Small and large messages go both ways, and plain clients see the same topic. */
    @Test
    void encryptedAndPlainClientsShareATopic() throws Exception {
        Server server = Server.shared();
        String topic = Admin.of(server).createTopic(server, Names.unique("tls"), 2);
        DefaultMQProducer producer = newProducer(server);
        producer.setUseTLS(true);
        producer.setCompressMsgBodyOverHowmuch(Integer.MAX_VALUE);
        producer.start();
        Set<String> received = java.util.Collections.synchronizedSet(new HashSet<>());
        DefaultMQPushConsumer consumer = newPushConsumer(server, Names.unique("g"));
        consumer.setUseTLS(true);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt message : messages) {
                received.add(new String(message.getBody()));
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        List<String> sent = new ArrayList<>();
        for (int i = 0; i < 20; i++) {
            String body = i + "x".repeat(i % 4 == 0 ? 1 << 20 : 100);
            assertEquals(SendStatus.SEND_OK, producer.send(message(topic, body)).getSendStatus());
            sent.add(body);
        }
        producer(server).send(message(topic, "plain"));
        sent.add("plain");
        Until.holds("all are received over TLS", SOON, () -> received.containsAll(sent));
        assertEquals(new HashSet<>(sent), readAll(server, topic));
    }
}
