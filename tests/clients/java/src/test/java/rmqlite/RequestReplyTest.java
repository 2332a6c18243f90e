package rmqlite;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.RequestTimeoutException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.RequestCallback;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.junit.jupiter.api.Test;

/** Request and reply: {@code producer.request} waits for what a consumer answers. */
class RequestReplyTest extends ClientTest {
    private final Server server = Server.shared();

    /** A consumer that answers each message but those that say "silence". */
    private void echo(String topic) throws Exception {
        DefaultMQProducer replier = producer(server);
        DefaultMQPushConsumer consumer = newPushConsumer(server, Names.unique("echo"));
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (batch, context) -> {
            for (MessageExt message : batch) {
                if (!text(message).equals("silence")) {
                    try {
                        replier.send(MessageUtil.createReplyMessage(message, ("re: " + text(message)).getBytes()), 10_000);
                    } catch (Exception e) {
                        throw new IllegalStateException(e);
                    }
                }
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
    }

    /**
     * Asks and waits. Of the ways to ask, a 5.3.3 client spoils those without a callback and the one without a queue: it takes
     * the acknowledgement of the send for the reply.
     */
    private static Message ask(DefaultMQProducer producer, Message message, long timeoutMs) throws Exception {
        if (Oracle.client4()) {
            return producer.request(message, timeoutMs);
        }
        return askLater(producer, message, timeoutMs);
    }

    private static Message askLater(DefaultMQProducer producer, Message message, long timeoutMs) throws Exception {
        CompletableFuture<Message> later = new CompletableFuture<>();
        producer.request(message, (queues, request, id) -> queues.get(0), null, new RequestCallback() {
            @Override
            public void onSuccess(Message reply) {
                later.complete(reply);
            }

            @Override
            public void onException(Throwable cause) {
                later.completeExceptionally(cause);
            }
        }, timeoutMs);
        try {
            return later.get(timeoutMs + 10_000, TimeUnit.MILLISECONDS);
        } catch (ExecutionException e) {
            throw (Exception) e.getCause();
        }
    }

    /** Each request gets its own reply, whether its sender waits or is called back. */
    @Test
    void everyRequestGetsItsReply() throws Exception {
        String topic = Admin.of(server).createTopic(server, Names.unique("request"), 2);
        echo(topic);
        DefaultMQProducer producer = producer(server);
        for (int i = 0; i < 5; i++) {
            assertEquals("re: " + i, text(ask(producer, message(topic, Integer.toString(i)), SOON.toMillis())));
        }
        assertEquals("re: later", text(askLater(producer, message(topic, "later"), SOON.toMillis())));
        Set<String> kept = readAll(server, Admin.of(server).cluster() + "_REPLY_TOPIC");
        assertTrue(kept.containsAll(Set.of("re: 0", "re: later")), kept.toString());
    }

    /** A request that nobody answers ends with its time-out. */
    @Test
    void silenceTimesOut() throws Exception {
        String topic = Admin.of(server).createTopic(server, Names.unique("silence"), 1);
        echo(topic);
        DefaultMQProducer producer = producer(server);
        assertThrows(RequestTimeoutException.class, () -> ask(producer, message(topic, "silence"), 1_000));
        assertEquals("re: speech", text(ask(producer, message(topic, "speech"), SOON.toMillis())));
    }
}
