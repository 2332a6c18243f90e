import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Collections;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** What the clients do while they are recorded: {@code Traffic <NameServer> <name> <full|brief>}. */
public final class Traffic {
    private static String namesrv;
    private static String name;

    public static void main(String[] args) throws Exception {
        namesrv = args[0];
        name = args[1];
        if (args[2].equals("full")) {
            full();
        }
        brief();
        System.exit(0);
    }

    /** Every kind of record: this is what the store is about. */
    private static void full() throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer("golden_producer");
        dress(producer);
        producer.setCompressMsgBodyOverHowmuch(1_000_000);
        producer.start();
        producer.setDefaultTopicQueueNums(4);
        producer.send(new Message("Plain", "", "", body("makes the topic")));
        producer.setDefaultTopicQueueNums(1);
        List<MessageQueue> queues = new ArrayList<>();
        await(() -> queues.addAll(producer.fetchPublishMessageQueues("Plain")));
        Collections.sort(queues);
        for (int i = 0; i < 20; i++) {
            Message message = new Message("Plain", i % 3 == 0 ? "TagA" : i % 3 == 1 ? "TagB" : "", "key" + i + " shared", body("plain " + i));
            message.setFlag(i);
            message.putUserProperty("number", Integer.toString(i));
            producer.send(message, queues.get(i % 4));
        }
        producer.send(new Message("Plain", "Umlaut\u00e4", "\u952e\u952e \ud83d\ude00", body("\u00fcber \ud83d\ude00")), queues.get(0));
        producer.send(new Message("Plain", null, "", new byte[] {0, -1, 127, -128}), queues.get(1));
        Message unwaited = new Message("Plain", "TagA", "unwaited", body("does not wait"));
        unwaited.setWaitStoreMsgOK(false);
        producer.send(unwaited, queues.get(2));
        for (int round = 0; round < 2; round++) { // over 100 entries: the queue's second file
            List<Message> batch = new ArrayList<>();
            for (int i = 0; i < 55; i++) {
                batch.add(new Message("Batch", "TagA", "batchkey" + i, body("batch " + round + " " + i)));
            }
            producer.send(batch, new MessageQueue("Batch", queues.get(0).getBrokerName(), 0));
        }
        // Bodies of one letter: they do not fit one commit-log file, and pack well.
        for (int i = 0; i < 6; i++) {
            byte[] large = new byte[200_000];
            Arrays.fill(large, (byte) ('a' + i));
            producer.send(new Message("Large", "", "large" + i, large));
        }
        DefaultMQProducer packer = new DefaultMQProducer("golden_packer");
        dress(packer);
        packer.setInstanceName("packer");
        packer.start();
        packer.send(new Message("Large", "", "packed", new byte[10_000]));
        packer.shutdown();

        Message soon = new Message("Delayed", "TagA", "soon", body("after a second"));
        soon.setDelayTimeLevel(1);
        producer.send(soon);
        Message late = new Message("Delayed", "TagA", "late", body("after two hours"));
        late.setDelayTimeLevel(18);
        producer.send(late);
        transactions();
        consume("golden_group", false);
        // A group's retry topic of over 127 characters is what makes a record V2.
        consume(String.join("", Collections.nCopies(25, "group")), true);
        producer.shutdown();
    }

    private static void transactions() throws Exception {
        TransactionMQProducer producer = new TransactionMQProducer("golden_transactions");
        dress(producer);
        producer.setInstanceName("transactions");
        CountDownLatch checked = new CountDownLatch(1);
        producer.setTransactionListener(new TransactionListener() {
            @Override
            public LocalTransactionState executeLocalTransaction(Message message, Object state) {
                return (LocalTransactionState) state;
            }

            @Override
            public LocalTransactionState checkLocalTransaction(MessageExt message) {
                checked.countDown();
                return LocalTransactionState.UNKNOW;
            }
        });
        producer.start();
        for (LocalTransactionState state : LocalTransactionState.values()) {
            producer.sendMessageInTransaction(new Message("Transactional", "TagA", state.name(), body("half " + state)), state);
        }
        if (!checked.await(60, TimeUnit.SECONDS)) {
            throw new IllegalStateException("no transaction check came");
        }
        producer.shutdown();
    }

    /** Reads Plain from the beginning; the first message fails once when {@code fails}. */
    private static void consume(String group, boolean fails) throws Exception {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        consumer.setNamesrvAddr(namesrv);
        consumer.setClientIP("127.0.0.1");
        consumer.setInstanceName(name + group.length());
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe("Plain", "TagA || TagB");
        Set<String> seen = ConcurrentHashMap.newKeySet();
        CountDownLatch again = new CountDownLatch(fails ? 1 : 0);
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt message : messages) {
                seen.add(message.getKeys());
                if (fails && message.getKeys().equals("key0 shared")) {
                    if (message.getReconsumeTimes() == 0) {
                        context.setDelayLevelWhenNextConsume(1);
                        return ConsumeConcurrentlyStatus.RECONSUME_LATER;
                    }
                    again.countDown();
                }
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        await(() -> seen.size() == 15);
        if (!again.await(60, TimeUnit.SECONDS)) {
            throw new IllegalStateException("the retry did not come");
        }
        consumer.shutdown(); // commits its offsets
    }

    /** One of every usual request. */
    @SuppressWarnings("deprecation")
    private static void brief() throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer("brief_producer");
        dress(producer);
        producer.setInstanceName(name + "-brief");
        producer.start();
        String topic = "Brief";
        long begin = System.currentTimeMillis() - 3_600_000;
        String id = producer.send(new Message(topic, "TagA", "brief-" + name, body("brief " + name))).getOffsetMsgId();
        CountDownLatch sent = new CountDownLatch(1);
        producer.sendOneway(new Message(topic, "TagB", "oneway", body("oneway " + name)));
        producer.send(Arrays.asList(new Message(topic, "TagA", "b1", body("one")), new Message(topic, "TagB", "b2", body("two"))));
        producer.viewMessage(topic, id);
        await(() -> producer.queryMessage(topic, "brief-" + name, 8, begin, Long.MAX_VALUE).getMessageList().size() == 1);
        DefaultMQPullConsumer puller = new DefaultMQPullConsumer("brief_puller");
        puller.setNamesrvAddr(namesrv);
        puller.setClientIP("127.0.0.1");
        puller.setInstanceName(name + "-puller");
        puller.start();
        for (MessageQueue queue : puller.fetchSubscribeMessageQueues(topic)) {
            puller.maxOffset(queue);
            puller.minOffset(queue);
            puller.earliestMsgStoreTime(queue);
            puller.searchOffset(queue, begin);
            puller.pull(queue, "TagA || TagB", 0, 32);
            puller.updateConsumeOffset(queue, puller.maxOffset(queue));
            puller.fetchConsumeOffset(queue, true);
        }
        puller.shutdown();
        DefaultMQPushConsumer orderly = new DefaultMQPushConsumer("brief_orderly");
        orderly.setNamesrvAddr(namesrv);
        orderly.setClientIP("127.0.0.1");
        orderly.setInstanceName(name + "-orderly");
        orderly.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        orderly.subscribe(topic, "*");
        CountDownLatch seen = new CountDownLatch(1);
        orderly.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            seen.countDown();
            return ConsumeOrderlyStatus.SUCCESS;
        });
        orderly.start();
        if (!seen.await(60, TimeUnit.SECONDS)) {
            throw new IllegalStateException("nothing consumed in order");
        }
        orderly.shutdown();
        producer.shutdown();
    }

    private static void dress(DefaultMQProducer producer) {
        producer.setNamesrvAddr(namesrv);
        producer.setClientIP("127.0.0.1");
        producer.setInstanceName(name);
        producer.setSendMsgTimeout(30_000);
        producer.setDefaultTopicQueueNums(1);
    }

    private static byte[] body(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private interface Condition {
        boolean holds() throws Exception;
    }

    private static void await(Condition condition) throws Exception {
        for (int i = 0; ; i++) {
            try {
                if (condition.holds()) {
                    return;
                }
            } catch (Exception e) {
                if (i > 600) {
                    throw e;
                }
            }
            if (i > 600) {
                throw new IllegalStateException("waited in vain");
            }
            Thread.sleep(100);
        }
    }
}
