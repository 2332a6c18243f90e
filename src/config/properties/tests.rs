//! Tests of the properties reader and writer.

use proptest::prelude::*;

use super::*;

fn pairs(text: &str) -> Vec<(String, String)> {
    let properties = parse(text.as_bytes()).unwrap();
    properties.entries.into_iter().map(|entry| (entry.key, entry.value)).collect()
}

fn pair(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

/// The three separators, blanks around them, and the forms without a value read as Java reads them.
#[test]
fn separators() {
    for text in ["k=v", "k:v", "k v", "k\tv", " k = v", "k =v", "k  :  v", "\u{c}k\u{c}v"] {
        assert_eq!(pairs(text), [pair("k", "v")], "{text:?}");
    }
    assert_eq!(pairs("k"), [pair("k", "")]);
    assert_eq!(pairs("k="), [pair("k", "")]);
    assert_eq!(pairs("=v"), [pair("", "v")]);
    assert_eq!(pairs("k==v"), [pair("k", "=v")]);
    assert_eq!(pairs("k = = v"), [pair("k", "= v")]);
    assert_eq!(pairs("a\\=b=c"), [pair("a=b", "c")]);
    assert_eq!(pairs("a\\ b c"), [pair("a b", "c")]);
}

/// Blanks behind a value belong to it: the caller decides whether they matter.
#[test]
fn trailing_blanks_are_kept() {
    assert_eq!(pairs("brokerId=0 \r\nx=1"), [pair("brokerId", "0 "), pair("x", "1")]);
}

/// Comments and empty lines vanish; a comment is not continued; a continuation never is a comment.
#[test]
fn comments_and_continuations() {
    assert_eq!(pairs("# a=b\\\nk=v\n! c\n\n \t\n"), [pair("k", "v")]);
    assert_eq!(pairs("k=a,\\\n   b,\\\r\n\tc"), [pair("k", "a,b,c")]);
    assert_eq!(pairs("k=a\\\n#b"), [pair("k", "a#b")]);
    assert_eq!(pairs("k=a\\\n\nm=b"), [pair("k", "a"), pair("m", "b")]);
    assert_eq!(pairs("k=a\\\\\nm=b"), [pair("k", "a\\"), pair("m", "b")]);
    assert_eq!(pairs("k=a\\"), [pair("k", "a")]);
    assert_eq!(pairs("\\\nk=v"), [pair("k", "v")]);
    assert_eq!(pairs("\\\n#k=v\nm=b"), [pair("m", "b")]);
    assert_eq!(pairs("\\"), []);
    assert_eq!(pairs("k#x=v"), [pair("k#x", "v")]);
}

/// Escapes, surrogate pairs included, become characters; other backslashes vanish.
#[test]
fn escapes() {
    assert_eq!(pairs(r"k=\t\n\r\f\\\:\q"), [pair("k", "\t\n\r\u{c}\\:q")]);
    assert_eq!(pairs(r"k=\u4e2d\u6587 \uD83D\uDE00"), [pair("k", "中文 😀")]);
    assert_eq!(pairs(r"path=C:\store\new"), [pair("path", "C:store\new")]);
}

/// A broken \u stops the reading with the line on which its entry begins.
#[test]
fn malformed_escape() {
    for text in ["a=1\n\nk=\\\n\\u12G4", "a=1\n\nk=\\u12", "a=1\n\nk=\\u"] {
        assert_eq!(parse(text.as_bytes()), Err(MalformedEscape { line: 3 }), "{text:?}");
    }
}

/// The last of repeated keys wins and a person is told, with line numbers.
#[test]
fn repeated_keys() {
    let properties = parse(b"a=1\nb=2\na=3\n").unwrap();
    assert_eq!(properties.get("a"), Some("3"));
    let effective: Vec<_> = properties.effective().map(|entry| (entry.line, &*entry.value)).collect();
    assert_eq!(effective, [(2, "2"), (3, "3")]);
    assert_eq!(properties.remarks.len(), 1);
    assert_eq!(properties.remarks[0].line, 3);
    assert!(properties.remarks[0].text.contains("line 1"), "{:?}", properties.remarks);
}

/// Bytes are ISO-8859-1: harmless in a comment, remarked on in a value.
#[test]
fn latin1() {
    let properties = parse("#中文\nk=é\n".as_bytes()).unwrap();
    assert_eq!(properties.get("k"), Some("Ã©"));
    assert_eq!(properties.remarks.len(), 1);
    assert_eq!(parse(b"k=\xE9").unwrap().get("k"), Some("é"));
    assert_eq!(parse_str("k=é").unwrap().get("k"), Some("é"));
}

/// A byte order mark does not spoil the first key, and is mentioned.
#[test]
fn byte_order_mark() {
    let properties = parse(b"\xEF\xBB\xBFbrokerName=a\n").unwrap();
    assert_eq!(properties.get("brokerName"), Some("a"));
    assert_eq!(properties.remarks.len(), 1);
}

/// Ordinary values are written bare, as the reference prints them; the rest survives a round trip.
#[test]
fn writes_plainly() {
    let text = write([("namesrvAddr", "a:1;b:2"), ("socksProxyConfig", "{}"), ("x", " \\é")]);
    assert_eq!(text, "namesrvAddr=a:1;b:2\nsocksProxyConfig={}\nx=\\ \\\\\\u00E9\n");
}

proptest! {
    /// What is written reads back the same, whatever the characters.
    #[test]
    fn round_trip(entries in proptest::collection::vec((".*", ".*"), 0..8)) {
        let text = write(entries.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        let read: Vec<_> = parse(text.as_bytes()).unwrap().entries
            .into_iter().map(|entry| (entry.key, entry.value)).collect();
        prop_assert_eq!(read, entries);
    }

    /// No bytes make the reader panic, and line numbers stay within the text and in order.
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(
        proptest::sample::select(&b"a=: \t\\\r\n#!u09\xFF\x0c"[..]), 0..200)) {
        if let Ok(properties) = parse(&bytes) {
            let lines = 1 + bytes.iter().filter(|&&byte| byte == b'\n' || byte == b'\r').count();
            prop_assert!(properties.entries.iter().all(|entry| (1..=lines).contains(&(entry.line as usize))));
            prop_assert!(properties.entries.is_sorted_by(|one, next| one.line < next.line));
        }
    }
}

/// A text of a hundred thousand keys, each given twice, is read as quickly as its length lets expect.
#[test]
fn many_keys() {
    let lines: Vec<String> = (0..200_000).map(|number| format!("key{}={number}", number % 100_000)).collect();
    let text = lines.join("\n");
    let read = parse(text.as_bytes()).unwrap();
    assert_eq!((read.entries.len(), read.remarks.len()), (200_000, 100_000));
    assert!(read.effective().zip(100_000_u32..).all(|(entry, number)| entry.value == number.to_string()));
}

/// A text that a person wrote keeps all but the changed keys, wherever and however these stand in it.
#[test]
fn merging() {
    fn same(written: &str) -> &str {
        if written == "other-a" { "a" } else { written }
    }
    for (text, merged) in [
        ("", "a=1\nb=two words\n"),
        ("# mine \u{e9}\r\n a : 0\r\nc=3", "# mine \u{e9}\r\na=1\r\nc=3\nb=two words\n"),
        ("b=\\\n  x\\\n  y\nother-a=0\n\n", "b=two words\na=1\n\n"),
        ("a=5\nb=6\na=7\n", "a=5\nb=two words\na=1\n"),
        ("a=0\nother-a=0\n#b=9", "a=0\na=1\n#b=9\nb=two words\n"),
        ("c=3\\", "c=3\\\n\na=1\nb=two words\n"),
        ("c=3\\\n", "c=3\\\n\na=1\nb=two words\n"),
        ("\u{feff}a=0\n", "\u{feff}a=1\nb=two words\n"),
    ] {
        let found = merge(text.as_bytes(), &[("a", "1"), ("b", "two words")], same).unwrap();
        assert_eq!(String::from_utf8(found).unwrap(), merged, "{text:?}");
    }
    assert!(merge(b"c\\u12=2", &[("a", "1")], same).is_err());
}

proptest! {
    /// Whatever the text, a merged key has its value, and what was said of other keys still holds.
    #[test]
    fn merging_any_bytes(bytes in proptest::collection::vec(
        proptest::sample::select(&b"ab=: \t\\\r\n#!\xFF"[..]), 0..60), value in "[ -~]{0,6}") {
        if let Ok(before) = parse(&bytes) {
            let merged = merge(&bytes, &[("a", value.as_str()), ("new", "n")], |written| written).unwrap();
            let after = parse(&merged).unwrap();
            prop_assert_eq!((after.get("a"), after.get("new")), (Some(&*value), Some("n")));
            for entry in before.effective().filter(|entry| entry.key != "a") {
                prop_assert_eq!(after.get(&entry.key), Some(&*entry.value));
            }
        }
    }
}
