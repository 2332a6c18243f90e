//! The inputs that fuzzing keeps (`fuzz/corpus-seed`), replayed by a stable compiler.

use std::fs;
use std::path::Path;

#[path = "../../fuzz/targets.rs"]
mod targets;

/// Replays every input of a target, each cut short at every length, too.
fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus-seed").join(target);
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        check(&bytes);
        for end in 0..bytes.len().min(1_000) {
            check(&bytes[..end]);
        }
        count += 1;
    }
    assert!(count > 0, "no inputs for {target}");
}

macro_rules! replayed {
    ($($target:ident),*) => {$(
        /// No input breaks the target of this name.
        #[test]
        fn $target() {
            replay(stringify!($target), targets::$target);
        }
    )*};
}

replayed!(
    frame,
    header_json,
    header_binary,
    record,
    batch,
    message_properties,
    properties_file,
    fastjson,
    sql
);
