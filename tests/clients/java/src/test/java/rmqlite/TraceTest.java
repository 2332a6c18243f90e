package rmqlite;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** Message traces: clients that trace find the topic for it without anybody creating it, and mqadmin shows what they wrote. */
class TraceTest extends ClientTest {
    private static final String TRACE_TOPIC = "RMQ_SYS_TRACE_TOPIC";
    private final Server server = Server.shared();

    /** Clients that trace share one that is named after the NameServer: whoever starts while it stops gets the stopped one. */
    @AfterEach
    void closeBeforeTheNext() {
        closeAllNow();
    }

    private Received tracingConsumer(String group, String topic) throws Exception {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group, true, null);
        introduce(consumer, server, "c");
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, "*");
        closing(consumer::shutdown);
        Received received = new Received(consumer);
        consumer.start();
        return received;
    }

    /** Who sent a message, who consumed it, and how it went. */
    @Test
    void sentAndConsumed() throws Exception {
        Oracle.apacheFails(server, "its trace topic is off by default");
        String topic = Admin.of(server).createTopic(server, Names.unique("traced"), 2);
        String group = Names.unique("g");
        DefaultMQProducer producer = new DefaultMQProducer(Names.unique("pg"), true, null);
        introduce(producer, server, "p");
        closing(producer::shutdown);
        producer.start();
        Received received = tracingConsumer(group, topic);
        String id = producer.send(message(topic, "traced")).getMsgId();
        received.awaitAll(List.of("traced"), SOON);
        Until.holds("mqadmin shows the trace", SOON.plusSeconds(15), () -> {
            String output = Mqadmin.run(server, "queryMsgTraceById", "-i", id).output;
            return output.contains("Pub ") && output.contains("Sub ");
        });
        Mqadmin.run(server, "queryMsgTraceById", "-i", id)
            .says("^Pub +" + producer.getProducerGroup() + " +\\S+ +.* success", "^Sub +" + group + " +\\S+ +.* success");
        Mqadmin.run(server, "queryMsgTraceById", "-i", id, "-t", TRACE_TOPIC).says("^Pub ");
    }

    /** How a transaction ended. */
    @Test
    void transaction() throws Exception {
        Oracle.apacheFails(server, "its trace topic is off by default");
        String topic = Admin.of(server).createTopic(server, Names.unique("traced"), 1);
        TransactionMQProducer producer = new TransactionMQProducer(null, Names.unique("tx"), null, true, null);
        introduce(producer, server, "tx");
        producer.setTransactionListener(new TransactionListener() {
            @Override
            public LocalTransactionState executeLocalTransaction(Message message, Object arg) {
                return LocalTransactionState.COMMIT_MESSAGE;
            }

            @Override
            public LocalTransactionState checkLocalTransaction(MessageExt message) {
                return LocalTransactionState.UNKNOW;
            }
        });
        closing(producer::shutdown);
        producer.start();
        String id = producer.sendMessageInTransaction(message(topic, "traced"), null).getMsgId();
        Until.holds("the trace tells the end", SOON.plusSeconds(15), () -> {
            List<MessageExt> found = Admin.of(server).api.queryMessage(TRACE_TOPIC, id, 64, 0, Long.MAX_VALUE).getMessageList();
            return found.stream().anyMatch(trace -> text(trace).contains("EndTransaction") && text(trace).contains("COMMIT_MESSAGE"));
        });
        Mqadmin.run(server, "queryMsgTraceById", "-i", id).says("^Pub +" + producer.getProducerGroup());
        assertEquals(1, Admin.of(server).api.examineTopicRouteInfo(TRACE_TOPIC).getQueueDatas().get(0).getReadQueueNums());
        assertTrue(readAll(server, topic).contains("traced"));
    }
}
