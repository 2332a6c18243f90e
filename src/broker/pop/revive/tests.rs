//! The table of check points against a model that does the obvious.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// What may happen to the check points of one queue of the log.
#[derive(Clone, Debug)]
enum Event {
    /// A pop of so many messages, invisible for so long.
    Pop(usize, i64),
    /// The acknowledgement of a message of one of the pops so far.
    Ack(usize, usize),
    /// So much time passes, and what is due is revived, unless reviving fails for some.
    Time(i64, bool),
    /// The log brings the next check point that it has not brought yet.
    Log,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (1..5_usize, 0..30_i64).prop_map(|(count, invisible)| Event::Pop(count, invisible)),
        (0..12_usize, 0..5_usize).prop_map(|(pop, at)| Event::Ack(pop, at)),
        (1..20_i64, any::<bool>()).prop_map(|(passed, fails)| Event::Time(passed, fails)),
        Just(Event::Log),
    ]
}

fn key(number: usize) -> Key {
    Key {
        topic: "T".into(),
        group: "g".into(),
        queue_id: 0,
        start_offset: number as i64 * 10,
        pop_time_ms: number as i64,
    }
}

proptest! {
    /// Every message is acknowledged or revived, once, and not before its time; the log is settled up to the first
    /// check point that is not; and nothing is remembered that the log has brought and that is settled.
    #[test]
    fn agrees_with_the_model(events in prop::collection::vec(event(), 0..60)) {
        let mut points = Points::default();
        let mut now = 0;
        // By pop and place: when it is due, until it is acknowledged or revived.
        let mut out: BTreeMap<(usize, usize), i64> = BTreeMap::new();
        let mut sizes: Vec<usize> = Vec::new();
        let mut logged = 0;
        for event in events {
            match event {
                Event::Pop(count, invisible) => {
                    let number = sizes.len();
                    let offsets: Vec<i64> = (0..count).map(|at| number as i64 * 10 + at as i64).collect();
                    points.add(key(number), &offsets, now + invisible);
                    out.extend((0..count).map(|at| ((number, at), now + invisible)));
                    sizes.push(count);
                }
                Event::Ack(pop, at) => {
                    let offset = pop as i64 * 10 + at as i64;
                    let met = points.meets(&key(pop), offset);
                    let is_out = out.remove(&(pop, at)).is_some();
                    prop_assert_eq!(met == Met::Open, is_out);
                    points.ack(&key(pop), offset);
                }
                Event::Time(passed, fails) => {
                    now += passed;
                    while let Some((key, offsets)) = points.take_due(now, true) {
                        let number = key.pop_time_ms as usize;
                        let rest: Vec<i64> = offsets.iter().copied().filter(|offset| fails && offset % 2 == 1).collect();
                        for offset in &offsets {
                            let place = (number, (offset - key.start_offset) as usize);
                            let due = out.remove(&place);
                            prop_assert!(due.is_some_and(|due| due <= now), "{:?} at {}", place, now);
                            if rest.contains(offset) {
                                out.insert(place, now + 5);
                            }
                        }
                        points.revived(&key, &rest, now + 5);
                    }
                    prop_assert!(out.values().all(|due| *due > now), "{:?} at {}", out, now);
                }
                Event::Log if logged < sizes.len() => {
                    let offsets: Vec<i64> = (0..sizes[logged]).map(|at| logged as i64 * 10 + at as i64).collect();
                    points.log(key(logged), &offsets, now + 5, logged as i64);
                    logged += 1;
                }
                Event::Log => {}
            }
            let first_open = out.keys().map(|(pop, _)| *pop).find(|pop| *pop < logged);
            prop_assert_eq!(points.settled_before(logged as i64), first_open.unwrap_or(logged) as i64);
            let open = (0..logged).filter(|pop| out.keys().any(|(of, _)| of == pop)).count();
            prop_assert_eq!(points.len(), sizes.len() - logged + open);
        }
    }
}

/// A check point that only the log knows, as after a start, waits for its acknowledgements from the log.
#[test]
fn after_a_start() {
    let mut points = Points::default();
    points.log(key(0), &[0, 1, 2], 100, 4);
    points.ack(&key(0), 1);
    assert_eq!(
        (points.take_due(99, true), points.next_due_ms(), points.settled_before(9)),
        (None, Some(100), 4)
    );
    assert_eq!(points.take_due(100, true), Some((key(0), vec![0, 2])));
    points.revived(&key(0), &[], 0);
    assert_eq!((points.len(), points.settled_before(9)), (0, 9));
}

/// A check point that only the log knows is not taken before the log is read up to its time; one of this process is.
#[test]
fn waits_for_acknowledgements_from_before_the_start() {
    let mut points = Points::default();
    points.log(key(0), &[0, 2], 100, 4);
    assert_eq!(points.take_due(100, false), None);
    points.ack(&key(0), 0);
    assert_eq!(points.take_due(100, true), Some((key(0), vec![2])));
    points.add(key(1), &[5], 100);
    assert_eq!(points.take_due(100, false), Some((key(1), vec![5])));
}
