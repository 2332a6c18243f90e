package rmqlite;

import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.lang.reflect.Field;
import java.lang.reflect.Modifier;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.locks.ReentrantLock;
import java.util.regex.Pattern;
import org.apache.rocketmq.tools.command.MQAdminStartup;
import org.apache.rocketmq.tools.command.SubCommand;

/** One run of Apache's {@code mqadmin} of the client version under test, inside this JVM, with what it printed. */
final class Mqadmin {
    private static final ReentrantLock ONE_AT_A_TIME = new ReentrantLock();
    /** What the thread that runs a command, and every thread it starts, prints goes here instead of to the console. */
    private static final InheritableThreadLocal<PrintStream> CAPTURE = new InheritableThreadLocal<>();

    static {
        System.setOut(new Router(System.out));
        System.setErr(new Router(System.err));
    }

    final String output;
    private final String command;

    private Mqadmin(String command, String output) {
        this.command = command;
        this.output = output;
    }

    /** Runs a command to its end, with {@code -n} for the server. */
    static Mqadmin run(Server server, String... args) {
        return run(server, null, args);
    }

    /** Runs a command that never ends by itself until it has printed the text, and interrupts it then. */
    static Mqadmin runUntilItSays(Server server, String text, String... args) {
        return run(server, text, args);
    }

    private static Mqadmin run(Server server, String until, String... args) {
        List<String> all = new ArrayList<>(List.of(args));
        all.add("-n");
        all.add(server.namesrv());
        ByteArrayOutputStream printed = new ByteArrayOutputStream();
        ONE_AT_A_TIME.lock();
        try {
            forgetCommands();
            ThreadGroup threads = new ThreadGroup("mqadmin");
            Thread thread = new Thread(threads, () -> {
                CAPTURE.set(new PrintStream(printed, true, StandardCharsets.UTF_8));
                MQAdminStartup.main0(all.toArray(new String[0]), null);
            }, "mqadmin " + args[0]);
            thread.setDaemon(true);
            thread.start();
            Until.holds("mqadmin " + all + " ends", Duration.ofSeconds(60), () -> {
                hurryUp(thread, threads);
                return !thread.isAlive() || until != null && printed.toString(StandardCharsets.UTF_8).contains(until);
            });
            thread.interrupt();
            Until.holds("mqadmin " + all + " ends when interrupted", Duration.ofSeconds(20), () -> {
                hurryUp(thread, threads);
                return !thread.isAlive();
            });
        } catch (ReflectiveOperationException e) {
            throw new AssertionError(e);
        } finally {
            ONE_AT_A_TIME.unlock();
        }
        return new Mqadmin("mqadmin " + String.join(" ", all), printed.toString(StandardCharsets.UTF_8));
    }

    /** The names of all commands of this version. */
    static List<String> commands() throws ReflectiveOperationException {
        ONE_AT_A_TIME.lock();
        try {
            forgetCommands();
            MQAdminStartup.initCommand();
            List<String> names = new ArrayList<>();
            for (Field field : commandLists()) {
                for (Object command : (List<?>) field.get(null)) {
                    names.add(((SubCommand) command).commandName());
                }
            }
            return names;
        } finally {
            ONE_AT_A_TIME.unlock();
        }
    }

    /** Empties the list of commands, which keep their clients; a fresh process begins with an empty one, too. */
    private static void forgetCommands() throws ReflectiveOperationException {
        for (Field field : commandLists()) {
            ((List<?>) field.get(null)).clear();
        }
    }

    private static List<Field> commandLists() {
        List<Field> lists = new ArrayList<>();
        for (Field field : MQAdminStartup.class.getDeclaredFields()) {
            if (Modifier.isStatic(field.getModifiers()) && field.getType() == List.class) {
                field.setAccessible(true);
                lists.add(field);
            }
        }
        return lists;
    }

    /**
     * A 5.x client that shuts down waits up to three seconds for its idle event thread: with sixty commands most of the time
     * of this test. An interrupt ends that thread's wait, and nothing else.
     */
    private static void hurryUp(Thread command, ThreadGroup threads) {
        for (StackTraceElement frame : command.getStackTrace()) {
            if (frame.getMethodName().equals("shutdown") && frame.getClassName().endsWith(".ServiceThread")) {
                Thread[] all = new Thread[threads.activeCount() + 8];
                int count = threads.enumerate(all);
                for (int i = 0; i < count; i++) {
                    if (all[i].getName().startsWith("NettyEventExecutor")) {
                        all[i].interrupt();
                    }
                }
                return;
            }
        }
    }

    /** Asserts that every pattern is found in the output, and that no exception is. */
    Mqadmin says(String... patterns) {
        assertTrue(!output.contains("Exception"), this::toString);
        return tells(patterns);
    }

    /** Asserts that every pattern is found in the output, which may be that of a failure. */
    Mqadmin tells(String... patterns) {
        for (String pattern : patterns) {
            assertTrue(Pattern.compile(pattern, Pattern.MULTILINE).matcher(output).find(), () -> "no /" + pattern + "/ in " + this);
        }
        return this;
    }

    boolean matches(String pattern) {
        return Pattern.compile(pattern, Pattern.MULTILINE).matcher(output).find();
    }

    @Override
    public String toString() {
        return command + " printed:\n" + output;
    }

    /** A stream that hands each thread's output to where that thread captures it, else to the console. */
    private static final class Router extends PrintStream {
        private final PrintStream console;

        Router(PrintStream console) {
            super(console, true);
            this.console = console;
        }

        private PrintStream target() {
            PrintStream capture = CAPTURE.get();
            return capture == null ? console : capture;
        }

        @Override
        public void write(int b) {
            target().write(b);
        }

        @Override
        public void write(byte[] buf, int off, int len) {
            target().write(buf, off, len);
        }

        @Override
        public void flush() {
            target().flush();
        }

        @Override
        public void print(String s) {
            target().print(s);
        }

        @Override
        public void println(String s) {
            target().println(s);
        }

        @Override
        public void println(Object o) {
            target().println(o);
        }

        @Override
        public void println() {
            target().println();
        }

        @Override
        public PrintStream printf(String format, Object... args) {
            target().printf(format, args);
            return this;
        }

        @Override
        public PrintStream format(String format, Object... args) {
            target().format(format, args);
            return this;
        }
    }
}
