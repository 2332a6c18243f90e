package rmqlite;

import java.time.Duration;
import java.util.concurrent.Callable;
import java.util.concurrent.locks.LockSupport;

/** Waiting with a bound: a condition is looked at again and again until it holds or its time is over. */
final class Until {
    private static final long PAUSE_NS = 5_000_000;

    private Until() {
    }

    /** Waits until the condition holds; an exception counts as "not yet" and is told when time is over. */
    static void holds(String what, Duration bound, Callable<Boolean> condition) {
        long end = System.nanoTime() + bound.toNanos();
        Throwable last = null;
        do {
            try {
                if (condition.call()) {
                    return;
                }
                last = null;
            } catch (Exception notYet) {
                last = notYet;
            }
            LockSupport.parkNanos(PAUSE_NS);
            if (Thread.currentThread().isInterrupted()) {
                throw new AssertionError("interrupted while waiting until " + what);
            }
        } while (System.nanoTime() < end);
        throw new AssertionError("not within " + bound.toMillis() + " ms: " + what, last);
    }
}
