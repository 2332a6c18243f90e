//! Tests of `store dump`.

use super::*;
use crate::cli::store::check::tests as kit;

fn dumped(options: &StoreOptions, args: &DumpArgs) -> String {
    let mut out = Vec::new();
    match (args.queues, args.index) {
        (true, _) => queues(options, args, &mut out),
        (_, true) => index(options, args, &mut out),
        _ => messages(options, args, &mut out),
    }
    .unwrap();
    String::from_utf8(out).unwrap()
}

/// Messages of one queue from an offset on, as many as asked for, in text and in JSON; entries and index, too.
#[test]
fn what_is_asked_for() {
    let (_dir, options) = kit::made();
    let args = DumpArgs {
        topic: Some("Orders".to_owned()),
        queue: Some(1),
        from: 10,
        count: 2,
        json: true,
        body: true,
        ..DumpArgs::default()
    };
    let lines = dumped(&options, &args);
    let shown: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(shown.len(), 2);
    assert_eq!((&shown[0]["queueOffset"], &shown[1]["queueOffset"]), (&10.into(), &11.into()));
    let id = shown[0]["msgId"].as_str().unwrap().strip_prefix("id").unwrap();
    assert!(shown[0]["body"].as_str().unwrap().starts_with(&format!("body {id} ")));
    assert_eq!(shown[0]["properties"]["KEYS"], format!("key{id}"));
    let text = dumped(&options, &DumpArgs { json: false, body: false, ..args.clone() });
    assert!(text.starts_with("Orders/1 10  at ") && text.contains(&format!("KEYS=key{id}")), "{text}");
    let entries = dumped(&options, &DumpArgs { json: false, body: false, queues: true, ..args });
    assert_eq!(entries.lines().count(), 2);
    let index = dumped(&options, &DumpArgs { index: true, count: 7, ..DumpArgs::default() });
    assert_eq!(index.lines().count(), 7);
}

/// Nothing that a message holds moves the cursor, and damage is passed over.
#[test]
fn nothing_reaches_the_terminal_as_it_is() {
    assert_eq!(escaped("a\u{1b}[2Jb\r\u{202e}c\td\u{e9}"), "a\\u{1b}[2Jb\\u{d}\\u{202e}c\td\u{e9}");
    let (dir, options) = kit::made();
    let (at, _) = kit::third(&options);
    kit::write_at(&dir.path().join(kit::SECOND_LOG), at, &[0xFF; 40]);
    let all = dumped(&options, &DumpArgs { count: 1_000, json: true, ..DumpArgs::default() });
    assert_eq!(all.lines().count(), 299);
}
