//! Kills, power cuts and damage: what was there before the cut is there once, nothing torn is.

use super::*;

/// After kill -9 everything is there, though nothing was flushed, stopped or written to the checkpoint.
#[test]
fn a_killed_store_keeps_everything() {
    let (dir, store) = fresh();
    for number in 0..100 {
        put(&store, "T", number % 3, &format!("{number}"));
    }
    let store = reopen_killed(&dir, store);
    for queue in 0..3 {
        let expected: Vec<_> = (0..100).filter(|n| n % 3 == queue).map(|n| n.to_string()).collect();
        assert_eq!(queue_bodies(&store, "T", queue), expected);
    }
    assert_eq!(put(&store, "T", 0, "after").queue_offset, QueueOffset(34));
}
