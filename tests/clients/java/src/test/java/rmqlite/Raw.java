package rmqlite;

import java.nio.charset.StandardCharsets;
import org.apache.rocketmq.remoting.netty.NettyClientConfig;
import org.apache.rocketmq.remoting.netty.NettyRemotingClient;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;

/** Single requests in Apache's own remoting client, for moments that a whole client does not let a test choose. */
final class Raw implements AutoCloseable {
    static final int PULL_MESSAGE = 11;
    static final int QUERY_CONSUMER_OFFSET = 14;
    static final int UPDATE_CONSUMER_OFFSET = 15;
    static final int GET_MAX_OFFSET = 30;
    static final int HEART_BEAT = 34;
    static final int GET_BROKER_CLUSTER_INFO = 106;
    static final int GET_BROKER_HA_STATUS = 907;
    static final int GET_TOPIC_CONFIG = 351;

    private final NettyRemotingClient client = new NettyRemotingClient(new NettyClientConfig());
    private final String address;

    Raw(String address) {
        this.address = address;
        client.start();
    }

    /** One request over connections that stay: closing a 5.x client can take three seconds. */
    static RemotingCommand once(String address, int code, Object... fields) throws Exception {
        return Kept.CLIENT.invokeSync(address, request(code, null, fields), 30_000);
    }

    private static final class Kept {
        static final NettyRemotingClient CLIENT = new NettyRemotingClient(new NettyClientConfig());

        static {
            CLIENT.start();
        }
    }

    /** Sends one request with the given header fields (name, value, name, value, …) and gives its answer. */
    RemotingCommand call(int code, String body, Object... fields) throws Exception {
        return client.invokeSync(address, request(code, body, fields), 30_000);
    }

    private static RemotingCommand request(int code, String body, Object... fields) {
        RemotingCommand request = RemotingCommand.createRequestCommand(code, null);
        for (int i = 0; i < fields.length; i += 2) {
            request.addExtField((String) fields[i], String.valueOf(fields[i + 1]));
        }
        if (body != null) {
            request.setBody(body.getBytes(StandardCharsets.UTF_8));
        }
        return request;
    }

    @Override
    public void close() {
        client.shutdown();
    }
}
