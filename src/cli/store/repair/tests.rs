//! Tests of the repair: what can still be read is served afterwards, what was taken out is beside the store, and a second
//! look finds nothing.

use super::*;
use crate::cli::store::check::tests::{SECOND_LOG, damages, made, open, third, write_at};
use crate::cli::store::tests::contents;
use crate::store::{QueueOffset, ReadLimits};

/// Repairs, starts the store, and returns how many messages its queues serve.
fn repaired(options: &StoreOptions) -> (Repaired, usize) {
    let report = check::check(options).unwrap();
    assert!(!report.clean);
    let done = repair(options, &report, 1_700_000_000_000).unwrap();
    assert!(!contents(&done.backup).is_empty());
    let store = open(options).unwrap();
    let mut served = 0;
    for (topic, ids) in store.topics_with_queues() {
        for id in ids {
            let mut at = store.min_offset_in_queue(&topic, id).0;
            while at < store.max_offset_in_queue(&topic, id).0 {
                let limits = ReadLimits::messages(1);
                let read = store.read(&topic, id, QueueOffset(at), &limits, &|_| true, None);
                served += read.message_count;
                at = read.next_begin_offset.0.max(at + 1);
            }
        }
    }
    store.stop();
    drop(store);
    let report = check::check(options).unwrap();
    assert!(report.clean, "{:#?}", damages(&report));
    (done, served)
}

/// One spoiled message in the middle costs this message; the others keep their offsets.
#[test]
fn damage_in_the_middle_costs_what_is_damaged() {
    let (dir, options) = made();
    let (at, size) = third(&options);
    write_at(&dir.path().join(SECOND_LOG), at + 88, &[0x55; 20]);
    let (done, served) = repaired(&options);
    assert_eq!(served, 299);
    let kept = contents(&done.backup);
    let copy = kept.iter().find(|(name, _)| name.to_string_lossy().contains(".bytes-")).unwrap();
    assert_eq!((copy.1.len(), &copy.1[88..108]), (size as usize, [0x55; 20].as_slice()));
    assert!(kept.keys().any(|name| name.starts_with("consumequeue")));
    std::fs::remove_dir_all(done.backup).unwrap();
}

/// A file that is gone, cut short or of another kind costs its messages only; a stranger goes out.
#[test]
fn damaged_files_cost_their_messages() {
    type Spoil = fn(&Path);
    let spoils: [(Spoil, std::ops::Range<usize>); 4] = [
        (|path| std::fs::remove_file(path).unwrap(), 200..260),
        (|path| File::options().write(true).open(path).unwrap().set_len(6_000).unwrap(), 200..290),
        (|path| std::fs::write(path, vec![b'x'; 16 << 10]).unwrap(), 200..260),
        (|path| std::fs::write(path.with_file_name("notes.txt"), "x").unwrap(), 300..301),
    ];
    for (spoil, expected) in spoils {
        let (dir, options) = made();
        spoil(&dir.path().join(SECOND_LOG));
        let (done, served) = repaired(&options);
        assert!(expected.contains(&served), "{served}: {:?}", done.steps);
        std::fs::remove_dir_all(done.backup).unwrap();
    }
}

/// Without a good message behind the damage the log is cut, and what was cut is kept.
#[test]
fn a_damaged_end_is_cut() {
    let (dir, options) = made();
    let store = open(&options).unwrap();
    let end = store.max_physical_offset().0 as u64;
    drop(store);
    let path = dir.path().join(format!("commitlog/{:020}", end - end % (16 << 10)));
    write_at(&path, end % (16 << 10), b"no message at all");
    let (done, served) = repaired(&options);
    assert_eq!(served, 300);
    let kept = contents(&done.backup);
    assert!(kept.values().any(|bytes| bytes.starts_with(b"no message at all")));
    std::fs::remove_dir_all(done.backup).unwrap();
}

/// Queues that are gone are made again from the log.
#[test]
fn lost_queues_are_built_again() {
    let (dir, options) = made();
    std::fs::remove_dir_all(dir.path().join("consumequeue/Orders")).unwrap();
    let (done, served) = repaired(&options);
    assert_eq!(served, 300);
    std::fs::remove_dir_all(done.backup).unwrap();
}
