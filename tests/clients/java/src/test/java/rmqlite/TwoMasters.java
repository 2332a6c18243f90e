package rmqlite;

import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.ThreadLocalRandom;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Assumptions;

/**
 * Two masters, two slaves and two NameServers on two hosts, from the four files in {@code conf/2m-2s-sync} as they are, ports,
 * host names and absolute paths included. A host is an address of the loopback network, and a view of the file system in which
 * the NameServers' names are known and {@code /rocketmq} is a directory of this test; both end with the processes.
 *
 * <p>Host 1 runs broker-a and the slave of broker-b, host 2 runs broker-b and the slave of broker-a.
 */
final class TwoMasters implements AutoCloseable {
    private static final int[] PORTS = {9876, 10909, 10911, 10912, 11009, 11011, 11012};
    /** Arguments: the new root, the hosts file, the directory for /rocketmq; then the command. */
    private static final String NAMESPACE = String.join("\n",
        "root=$1 hosts=$2 rocketmq=$3",
        "shift 3",
        "mount -t tmpfs root \"$root\"",
        "for entry in /*; do",
        "    if [ -L \"$entry\" ]; then cp -P \"$entry\" \"$root$entry\"",
        "    elif [ -d \"$entry\" ]; then mkdir \"$root$entry\"; mount --rbind \"$entry\" \"$root$entry\"",
        "    fi",
        "done",
        "mkdir -p \"$root/rocketmq\"",
        "mount --bind \"$rocketmq\" \"$root/rocketmq\"",
        "mount --bind \"$hosts\" \"$root/etc/hosts\"",
        "exec chroot \"$root\" \"$@\"");

    final List<Server> namesrvs = new ArrayList<>();
    final Server masterA;
    final Server slaveA;
    final Server masterB;
    final Server slaveB;
    private final List<Server> all = new ArrayList<>();
    private final Path dir;
    private final Path hosts;

    TwoMasters() {
        try {
            dir = Files.createTempDirectory("rmq-clients-");
            String[] host = freeHosts();
            hosts = dir.resolve("hosts");
            Files.writeString(hosts, "127.0.0.1 localhost\n" + host[0] + " rocketmq-nameserver1\n" + host[1] + " rocketmq-nameserver2\n");
            String namesrv = host[0] + ":9876;" + host[1] + ":9876";
            for (String at : host) {
                namesrvs.add(start("namesrv-" + at, at, namesrv, "namesrv", "--set", "kvConfigPath=/rocketmq/kvConfig.json"));
            }
            String files = System.getProperty("rocketmq.home.dir") + "/conf/2m-2s-sync/";
            masterA = start("broker-a", host[0], namesrv, "broker", "-c", files + "broker-a.properties");
            slaveA = start("broker-a-s", host[1], namesrv, "broker", "-c", files + "broker-a-s.properties");
            masterB = start("broker-b", host[1], namesrv, "broker", "-c", files + "broker-b.properties");
            slaveB = start("broker-b-s", host[0], namesrv, "broker", "-c", files + "broker-b-s.properties");
        } catch (IOException e) {
            throw new IllegalStateException("no room for the servers", e);
        } catch (Throwable e) {
            close();
            throw e;
        }
        masterA.awaitSlaves(1);
        masterB.awaitSlaves(1);
    }

    private Server start(String name, String host, String namesrv, String... arguments) throws IOException {
        Path own = Files.createDirectories(dir.resolve(name));
        Path root = Files.createDirectory(own.resolve("root"));
        Path rocketmq = Files.createDirectories(dir.resolve("host-" + host));
        List<String> command = new ArrayList<>(List.of(arguments));
        Collections.addAll(command, "--bind", host);
        Server server = Server.with(own, namesrv, List.of("unshare", "-rm", "sh", "-euc", NAMESPACE, "sh", root.toString(),
            hosts.toString(), rocketmq.toString()), command.toArray(new String[0]));
        all.add(server);
        return server;
    }

    /** Number of brokers, slaves included, that a NameServer knows. */
    int brokersAt(Server namesrv) throws Exception {
        byte[] info = Raw.once(namesrv.ownNamesrv(), Raw.GET_BROKER_CLUSTER_INFO).getBody();
        return (int) Pattern.compile("\\d:\"[0-9.]+:\\d+\"").matcher(new String(info, StandardCharsets.UTF_8)).results().count();
    }

    /** Two addresses on which the files' ports are free: another server on this machine may have them on all addresses. */
    private static String[] freeHosts() {
        String network = "127." + ThreadLocalRandom.current().nextInt(1, 255) + "." + ThreadLocalRandom.current().nextInt(1, 255) + ".";
        String[] hosts = {network + "129", network + "130"};
        for (String host : hosts) {
            for (int port : PORTS) {
                try (ServerSocket probe = new ServerSocket()) {
                    probe.setReuseAddress(true);
                    probe.bind(new InetSocketAddress(InetAddress.getByName(host), port));
                } catch (IOException taken) {
                    Assumptions.abort("the documents' port " + port + " is taken on all addresses of this machine");
                }
            }
        }
        return hosts;
    }

    @Override
    public void close() {
        all.forEach(Server::close);
    }
}
