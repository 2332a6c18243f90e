package rmqlite;

import org.junit.jupiter.api.Assumptions;

/** Where rmq-lite does better than Apache 5.3.3, the same test cannot pass on Apache. */
final class Oracle {
    private Oracle() {
    }

    /** Ends the test here when the server is Apache, which fails it for the given reason; on rmq-lite nothing is left out. */
    static void apacheFails(Server server, String reason) {
        Assumptions.assumeFalse(server.isApache(), "Apache 5.3.3 fails here: " + reason);
    }

    /** Whether the client under test is of the 4.x generation. */
    static boolean client4() {
        return System.getProperty("client.version", "5").startsWith("4.");
    }
}
