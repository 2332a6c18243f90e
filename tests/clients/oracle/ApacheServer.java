import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.HashMap;
import java.util.Map;
import org.apache.rocketmq.broker.BrokerController;
import org.apache.rocketmq.broker.BrokerStartup;
import org.apache.rocketmq.namesrv.NamesrvStartup;
import org.apache.rocketmq.remoting.RemotingClient;
import org.apache.rocketmq.remoting.netty.NettyClientConfig;
import org.apache.rocketmq.remoting.netty.NettyRemotingClient;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.RequestCode;

/** NameServer and broker of Apache in one JVM, started with the flags of {@code rmq-lite start} that the tests use. */
public final class ApacheServer {
    public static void main(String[] args) throws Exception {
        Map<String, String> flags = new HashMap<>();
        StringBuilder extra = new StringBuilder();
        for (int i = 1; i < args.length; i++) {
            switch (args[i]) {
                case "--ephemeral": case "--headless": case "--json": break;
                case "--set": extra.append(args[++i]).append('\n'); break;
                default: flags.put(args[i], args[++i]);
            }
        }
        Path dir = flags.containsKey("--data-dir") ? Path.of(flags.get("--data-dir")) : Files.createTempDirectory("apache-");
        Files.createDirectories(dir.resolve("conf"));
        System.setProperty("user.home", dir.toString());
        System.setProperty("rocketmq.home.dir", dir.toString());
        // Both find their logback configuration in the class path by these names; here nothing is logged.
        for (String role : new String[] {"namesrv", "broker"}) {
            Files.writeString(dir.resolve("conf/rmq." + role + ".logback.xml"), "<configuration><root level=\"OFF\"/></configuration>");
        }
        int namesrv = port(flags.get("--namesrv-port"), false);
        int broker = port(flags.get("--broker-port"), true);

        Path namesrvConf = dir.resolve("conf/namesrv.conf");
        Files.writeString(namesrvConf, "listenPort=" + namesrv + "\nbindAddress=127.0.0.1\n"
            + "kvConfigPath=" + dir + "/namesrv/kvConfig.json\nconfigStorePath=" + dir + "/namesrv/namesrv.properties\n");
        Path brokerConf = dir.resolve("conf/broker.conf");
        Files.writeString(brokerConf, "brokerClusterName=DefaultCluster\nbrokerName=broker-a\nbrokerId=0\n"
            + "namesrvAddr=127.0.0.1:" + namesrv + "\nbrokerIP1=127.0.0.1\nbrokerIP2=127.0.0.1\nbindAddress=127.0.0.1\n"
            + "listenPort=" + broker + "\nhaListenPort=" + (broker + 1) + "\n"
            + "storePathRootDir=" + dir + "/broker\nstorePathCommitLog=" + dir + "/broker/commitlog\n"
            + "mappedFileSizeCommitLog=134217728\nenablePropertyFilter=true\ntraceTopicEnable=true\ndiskMaxUsedSpaceRatio=95\n" + extra);

        NamesrvStartup.main(new String[] {"-c", namesrvConf.toString()});
        BrokerController controller = BrokerStartup.createBrokerController(new String[] {"-c", brokerConf.toString()});
        BrokerStartup.start(controller);

        RemotingClient client = new NettyRemotingClient(new NettyClientConfig());
        client.start();
        while (!registered(client, "127.0.0.1:" + namesrv)) {
            Thread.sleep(20);
        }

        Path ports = Path.of(flags.get("--ports-file"));
        Path fresh = ports.resolveSibling(ports.getFileName() + ".tmp");
        Files.writeString(fresh, "{\"pid\":" + ProcessHandle.current().pid() + ",\"namesrv\":\"127.0.0.1:" + namesrv
            + "\",\"broker\":\"127.0.0.1:" + broker + "\",\"web\":null,\"oracle\":\"apache\",\"data_dir\":\"" + dir + "\"}");
        Files.move(fresh, ports, StandardCopyOption.ATOMIC_MOVE);
    }

    /** Whether the NameServer knows the broker, which it may do a little after both have started. */
    private static boolean registered(RemotingClient client, String namesrv) throws Exception {
        RemotingCommand ask = RemotingCommand.createRequestCommand(RequestCode.GET_BROKER_CLUSTER_INFO, null);
        byte[] body = client.invokeSync(namesrv, ask, 5_000).getBody();
        return body != null && new String(body, StandardCharsets.UTF_8).contains("broker-a");
    }

    /** The wanted port, or a free one; a broker also needs the ports at -2 and +1. */
    private static int port(String wanted, boolean broker) throws IOException {
        if (wanted != null && !wanted.equals("0")) {
            return Integer.parseInt(wanted);
        }
        for (;;) {
            int candidate;
            try (ServerSocket any = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
                candidate = any.getLocalPort();
            }
            if (!broker || free(candidate - 2) && free(candidate + 1)) {
                return candidate;
            }
        }
    }

    private static boolean free(int port) {
        try (ServerSocket probe = new ServerSocket(port, 1, InetAddress.getLoopbackAddress())) {
            return true;
        } catch (IOException taken) {
            return false;
        }
    }
}
