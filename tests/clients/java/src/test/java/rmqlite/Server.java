package rmqlite;

import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Assumptions;

/**
 * The server under test. {@code RMQ_LITE_BIN} names the executable; tests share one throw-away server, and those that stop
 * or kill theirs start their own. With {@code NAMESRV_ADDR} and no executable the shared server is one that already runs,
 * and tests that need their own are left out.
 */
final class Server implements AutoCloseable {
    private static final Duration START = Duration.ofSeconds(150);
    private static final Duration STOP = Duration.ofSeconds(30);
    private static final List<Server> STARTED = Collections.synchronizedList(new ArrayList<>());
    private static Server shared;

    static {
        Runtime.getRuntime().addShutdownHook(new Thread(() -> STARTED.forEach(server -> server.process.destroyForcibly())));
    }

    /**
     * Loopback address of this server alone: while one that starts again is down, another may take its port, but not here.
     * The shared server never starts again, and has the usual one.
     */
    private final String host;
    private final Path dir;
    private final boolean ephemeral;
    private final String[] flags;
    /** What runs the executable and gets its command line; nothing when it runs by itself. */
    private List<String> wrapper = List.of();
    /** The servers beside this one; they end with it. */
    private final List<Server> beside = new ArrayList<>();
    private Process process;
    /** Whether this is a broker without a NameServer, and its flags are keys. */
    private boolean alone;
    /** The whole command line of a server that is none of the usual ones; the NameServers are known without it. */
    private List<String> arguments;
    private String ports = "";
    private String namesrv;
    private String broker;

    private Server(Path dir, boolean ephemeral, String... flags) {
        this.dir = dir;
        this.ephemeral = ephemeral;
        this.flags = flags;
        ThreadLocalRandom random = ThreadLocalRandom.current();
        host = ephemeral ? "127.0.0.1" : "127." + random.nextInt(1, 255) + "." + random.nextInt(1, 255) + "." + random.nextInt(1, 255);
    }

    /** The one server that most tests of this JVM use, each with topics and groups of its own. */
    static synchronized Server shared() {
        if (shared == null) {
            if (executable() != null) {
                shared = start(true);
            } else {
                String address = System.getenv("NAMESRV_ADDR");
                if (address == null) {
                    throw new IllegalStateException("set RMQ_LITE_BIN to the executable, or NAMESRV_ADDR to a running server");
                }
                shared = new Server(null, false);
                shared.namesrv = address;
                shared.ports = System.getenv("RMQ_LITE_ORACLE") == null ? "" : "\"oracle\":\"apache\"";
            }
        }
        return shared;
    }

    /** A server with a data directory of its own, which survives {@link #stop}, {@link #kill9} and {@link #startAgain}. */
    static Server own(String... flags) {
        Assumptions.assumeTrue(executable() != null, "needs a server that the test can stop: set RMQ_LITE_BIN");
        return start(false, flags);
    }

    /**
     * A server whose data directory is a file system of its own with this much room, in a mount namespace that ends with it;
     * {@code filled} bytes of it are taken by the file {@link #filler}.
     */
    static Server onDiskOf(long bytes, long filled) {
        Assumptions.assumeTrue(executable() != null, "needs a server of its own: set RMQ_LITE_BIN");
        try {
            Server server = new Server(Files.createTempDirectory("rmq-clients-"), false);
            Assumptions.assumeFalse(server.isApache(), "Apache writes into its heap directory, too");
            Path data = Files.createDirectory(server.dir.resolve("data"));
            String mount = "mount -t tmpfs -o size=" + bytes + " rmq " + data + " && fallocate -l " + filled + " " + data + "/filler";
            server.wrapper = List.of("unshare", "-rm", "sh", "-ec", mount + " && exec \"$@\"", "sh");
            server.launch("0", "0");
            return server;
        } catch (IOException e) {
            throw new IllegalStateException("no temporary directory for the server", e);
        }
    }

    /**
     * A NameServer, a slave and a master with this key, each a process of its own. What is returned is the master: it is what
     * {@link #kill9} and {@link #startAgain} end and start.
     */
    static Server group(String masterKey) {
        Assumptions.assumeTrue(executable() != null, "needs servers of its own: set RMQ_LITE_BIN");
        Assumptions.assumeFalse(shared().isApache(), "Apache's slave copies topics after a minute");
        try {
            Path dir = Files.createTempDirectory("rmq-clients-");
            Server namesrv = new Server(Files.createDirectory(dir.resolve("namesrv")), false);
            Path namesrvPorts = namesrv.dir.resolve("ports.json");
            namesrv.run(List.of("namesrv", "--bind", namesrv.host, "--port", "0", "--ports-file", namesrvPorts.toString(),
                "--set", "kvConfigPath=" + namesrv.dir.resolve("kv.json")), namesrvPorts);
            Server master = new Server(Files.createDirectory(dir.resolve("master")), false, masterKey);
            Server slave = new Server(Files.createDirectory(dir.resolve("slave")), false, "brokerRole=SLAVE", "brokerId=1");
            for (Server broker : List.of(slave, master)) {
                broker.namesrv = namesrv.namesrv;
                broker.alone = true;
                broker.launch("", "0");
            }
            master.beside.addAll(List.of(slave, namesrv));
            return master;
        } catch (IOException e) {
            throw new IllegalStateException("no group of servers", e);
        }
    }

    /** A server with this command line, run by a wrapper, for clients that ask these NameServers. */
    static Server with(Path dir, String namesrv, List<String> wrapper, String... arguments) {
        Assumptions.assumeTrue(executable() != null, "needs servers of its own: set RMQ_LITE_BIN");
        Assumptions.assumeFalse(shared().isApache(), "the stand-in for Apache takes no properties file");
        Server server = new Server(dir, false);
        server.wrapper = wrapper;
        server.arguments = List.of(arguments);
        server.namesrv = namesrv;
        server.startAgain();
        return server;
    }

    /** The slave beside this master. */
    Server slave() {
        return beside.get(0);
    }

    /** Waits until the slave beside this master has copied a topic. */
    void slaveKnows(String topic) {
        slave().knows(topic);
    }

    /** Waits until this broker has a topic. */
    void knows(String topic) {
        Until.holds("the broker at " + broker + " has the topic " + topic, STOP,
            () -> Raw.once(broker, Raw.GET_TOPIC_CONFIG, "topic", topic).getCode() == 0);
    }

    /** Waits until this master counts so many slaves as copies. */
    void awaitSlaves(int count) {
        Until.holds(count + " slaves of " + broker + " are in sync", STOP, () -> {
            byte[] status = Raw.once(broker, Raw.GET_BROKER_HA_STATUS).getBody();
            return new String(status, StandardCharsets.UTF_8).contains("\"inSyncSlaveNums\":" + count + ",");
        });
    }

    /** A file below the broker's store, of a server with a data directory of its own. */
    Path stored(String name) {
        return dir.resolve("data/broker").resolve(name);
    }

    /** The file that takes room on the server's disk, seen from outside its namespace. */
    Path filler() {
        return Path.of("/proc/" + process.pid() + "/root" + dir.resolve("data/filler"));
    }

    /** Anonymous memory of the server's process, in bytes. */
    long anonymousBytes() {
        try {
            for (String line : Files.readAllLines(Path.of("/proc/" + process.pid() + "/status"))) {
                if (line.startsWith("RssAnon:")) {
                    return Long.parseLong(line.replaceAll("[^0-9]", "")) * 1024;
                }
            }
            throw new AssertionError("no RssAnon");
        } catch (IOException e) {
            throw new AssertionError("the server's memory cannot be read", e);
        }
    }

    private static String executable() {
        String path = System.getenv("RMQ_LITE_BIN");
        return path == null || path.isEmpty() ? null : path;
    }

    private static Server start(boolean ephemeral, String... flags) {
        try {
            Server server = new Server(Files.createTempDirectory("rmq-clients-"), ephemeral, flags);
            server.launch("0", "0");
            return server;
        } catch (IOException e) {
            throw new IllegalStateException("no temporary directory for the server", e);
        }
    }

    private void launch(String namesrvPort, String brokerPort) throws IOException {
        Path file = dir.resolve("ports.json");
        if (arguments != null) {
            List<String> command = new ArrayList<>(arguments);
            command.addAll(List.of("--ports-file", file.toString()));
            run(command, file);
            return;
        }
        if (alone) {
            List<String> command = new ArrayList<>(List.of("broker", "--bind", host, "-n", namesrv, "--ports-file",
                file.toString(), "--set", "brokerName=b", "--set", "listenPort=" + brokerPort,
                "--set", "storePathRootDir=" + dir.resolve("data")));
            for (String key : flags) {
                command.addAll(List.of("--set", key));
            }
            run(command, file);
            return;
        }
        List<String> command = new ArrayList<>(wrapper);
        command.addAll(List.of(executable(), "start", "--bind", host, "--namesrv-port", namesrvPort,
            "--broker-port", brokerPort, "--web-port", "0", "--ports-file", file.toString()));
        if (ephemeral) {
            command.add("--ephemeral");
        } else {
            command.addAll(List.of("--data-dir", dir.resolve("data").toString()));
        }
        command.addAll(List.of(flags));
        run(command.subList(wrapper.size() + 1, command.size()), file);
    }

    /** Starts the executable with these arguments and waits until it has written its ports file. */
    private void run(List<String> arguments, Path file) throws IOException {
        Files.deleteIfExists(file);
        List<String> command = new ArrayList<>(wrapper);
        command.add(executable());
        command.addAll(arguments);
        process = new ProcessBuilder(command).redirectErrorStream(true)
            .redirectOutput(ProcessBuilder.Redirect.appendTo(dir.resolve("server.log").toFile())).start();
        STARTED.add(this);
        try {
            Until.holds("the server writes its ports file " + file + " (its output: " + dir + "/server.log)", START,
                () -> Files.exists(file) || !process.isAlive());
            if (!Files.exists(file)) {
                throw new AssertionError("the server ended with " + process.exitValue() + " before it was ready:\n"
                    + Files.readString(dir.resolve("server.log")));
            }
        } catch (AssertionError notReady) {
            process.destroyForcibly();
            throw notReady;
        }
        ports = Files.readString(file);
        namesrv = namesrv != null && (alone || arguments != null) ? namesrv : field("namesrv");
        broker = field("broker");
    }

    private String field(String name) {
        Matcher matcher = Pattern.compile("\"" + name + "\"\\s*:\\s*\"([^\"]*)\"").matcher(ports);
        return matcher.find() ? matcher.group(1) : null;
    }

    /** Address of the NameServer, for {@code setNamesrvAddr} and {@code mqadmin -n}. */
    String namesrv() {
        return namesrv;
    }

    /** Address of the master broker, from the ports file or, for a server that already ran, from its NameServer. */
    synchronized String broker() {
        if (broker == null) {
            broker = Admin.of(this).masterAddress();
        }
        return broker;
    }

    /** Where this server's own NameServer listens; nothing when it has none. */
    String ownNamesrv() {
        return field("namesrv");
    }

    /** Whether this is Apache's own server, with which the tests prove themselves. */
    boolean isApache() {
        return ports.contains("\"oracle\"");
    }

    /** Ends the test here where the server tells nothing over HTTP. */
    void needsWeb() {
        Assumptions.assumeFalse(isApache(), "Apache has no HTTP API");
    }

    /** What the server tells over HTTP. */
    String get(String path) {
        HttpRequest request = HttpRequest.newBuilder(URI.create(field("web") + path)).build();
        try {
            HttpResponse<String> answer = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
            if (answer.statusCode() != 200) {
                throw new AssertionError(path + ": " + answer.body());
            }
            return answer.body();
        } catch (IOException e) {
            throw new AssertionError(path + " is not told", e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new AssertionError("interrupted while " + path + " is asked for", e);
        }
    }

    /** Lets this much time pass on the server, such as {@code 2h}; returns when what is due by then has happened. */
    void advance(String span) {
        Assumptions.assumeFalse(isApache(), "Apache's time cannot be moved");
        HttpRequest request = HttpRequest.newBuilder(URI.create(field("web") + "/api/v1/clock"))
            .header("Content-Type", "application/json")
            .POST(HttpRequest.BodyPublishers.ofString("{\"advance\":\"" + span + "\"}")).build();
        try {
            HttpResponse<String> answer = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
            if (answer.statusCode() != 200) {
                throw new AssertionError("the clock is not moved: " + answer.body());
            }
        } catch (IOException e) {
            throw new AssertionError("the clock is not moved", e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new AssertionError("interrupted while the clock is moved", e);
        }
    }

    /** Asks the server to end (SIGTERM) and waits until it has. */
    int stop() {
        process.destroy();
        return ended();
    }

    /** Kills the server as {@code kill -9} does, and waits until it is gone. */
    void kill9() {
        process.destroyForcibly();
        ended();
    }

    /** Sends the server's process a signal such as {@code STOP}. */
    void signal(String name) throws IOException, InterruptedException {
        Process kill = new ProcessBuilder("kill", "-" + name, Long.toString(process.pid())).inheritIO().start();
        if (kill.waitFor() != 0) {
            throw new AssertionError("kill -" + name + " of the server fails");
        }
    }

    private int ended() {
        try {
            if (!process.waitFor(STOP.toMillis(), TimeUnit.MILLISECONDS)) {
                throw new AssertionError("the server does not end within " + STOP);
            }
            return process.exitValue();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new AssertionError("interrupted while the server ends", e);
        }
    }

    /** Starts the ended server on the same ports and the same data. */
    void startAgain() {
        try {
            launch(arguments != null ? "" : port(namesrv), arguments != null ? "" : port(broker));
        } catch (IOException e) {
            throw new AssertionError("the server does not start again", e);
        }
    }

    private static String port(String address) {
        return address.substring(address.lastIndexOf(':') + 1);
    }

    /** A loopback address on which nothing listens. */
    static String deadAddress() {
        try (ServerSocket any = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            return "127.0.0.1:" + any.getLocalPort();
        } catch (IOException e) {
            throw new IllegalStateException(e);
        }
    }

    @Override
    public void close() {
        if (process != null && process.isAlive()) {
            kill9();
        }
        beside.forEach(Server::close);
    }
}
