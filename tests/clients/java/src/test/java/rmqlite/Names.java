package rmqlite;

import java.util.concurrent.atomic.AtomicLong;

/** Names that no other test, and no earlier run against the same server, has used. */
final class Names {
    private static final AtomicLong NEXT = new AtomicLong();
    private static final String RUN = Long.toString(System.currentTimeMillis() % 1_000_000_000L, 36);

    private Names() {
    }

    static String unique(String what) {
        return what + "_" + RUN + "_" + NEXT.incrementAndGet();
    }
}
