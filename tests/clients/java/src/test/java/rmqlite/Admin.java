package rmqlite;

import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** The admin API of the client under test, one per NameServer address, with the little that tests need of it. */
final class Admin {
    private static final Map<String, Admin> ALL = new ConcurrentHashMap<>();

    final DefaultMQAdminExt api;

    private Admin(String namesrv) {
        api = new DefaultMQAdminExt();
        api.setNamesrvAddr(namesrv);
        api.setInstanceName(Names.unique("admin"));
        try {
            api.start();
        } catch (MQClientException e) {
            throw new IllegalStateException(e);
        }
    }

    static Admin of(Server server) {
        return ALL.computeIfAbsent(server.namesrv(), Admin::new);
    }

    String masterAddress() {
        try {
            var info = api.examineBrokerClusterInfo();
            return info.getBrokerAddrTable().values().iterator().next().getBrokerAddrs().get(0L);
        } catch (Exception e) {
            throw new AssertionError("the NameServer does not tell its broker", e);
        }
    }

    String brokerName() {
        try {
            var info = api.examineBrokerClusterInfo();
            return info.getBrokerAddrTable().keySet().iterator().next();
        } catch (Exception e) {
            throw new AssertionError("the NameServer does not tell its broker", e);
        }
    }

    String cluster() {
        try {
            var info = api.examineBrokerClusterInfo();
            return info.getClusterAddrTable().keySet().iterator().next();
        } catch (Exception e) {
            throw new AssertionError("the NameServer does not tell its cluster", e);
        }
    }

    /** Creates a topic and waits until its route is known. */
    String createTopic(Server server, String topic, int queues) {
        try {
            TopicConfig config = new TopicConfig(topic);
            config.setReadQueueNums(queues);
            config.setWriteQueueNums(queues);
            api.createAndUpdateTopicConfig(server.broker(), config);
        } catch (Exception e) {
            throw new AssertionError("createAndUpdateTopicConfig " + topic, e);
        }
        awaitRoute(topic);
        return topic;
    }

    void awaitRoute(String topic) {
        Until.holds("the route of " + topic + " is known", ClientTest.SOON,
            () -> !api.examineTopicRouteInfo(topic).getQueueDatas().isEmpty());
    }

    /** Number of messages in all queues of a topic. */
    long messages(String topic) throws Exception {
        long sum = 0;
        for (Map.Entry<MessageQueue, ?> queue : api.examineTopicStats(topic).getOffsetTable().entrySet()) {
            sum += api.maxOffset(queue.getKey()) - api.minOffset(queue.getKey());
        }
        return sum;
    }
}
