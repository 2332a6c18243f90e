//! Frames read and written, whole and broken.

use proptest::prelude::*;

use super::*;

fn frame(kind: u8, header: &[u8], body: &[u8]) -> BytesMut {
    let mut frame = BytesMut::new();
    frame.put_u32((4 + header.len() + body.len()) as u32);
    frame.put_u32(u32::from(kind) << 24 | header.len() as u32);
    frame.extend_from_slice(header);
    frame.extend_from_slice(body);
    frame
}

fn decode_json(header: &str) -> Result<Command, DecodeError> {
    Command::decode(frame(0, header.as_bytes(), b""))
}

/// What the Java and the Go client send is read, escapes and all, without a tree.
#[test]
fn json_headers_of_clients() {
    let java = r#"{"code":310,"extFields":{"a":"pg","b":"T","e":"0","i":"KEYS\u0001k\u0002\u4e2d\ud83d\ude00","m":"false"},"flag":0,"language":"JAVA","opaque":12,"serializeTypeCurrentRPC":"JSON","version":479}"#;
    let command = Command::decode(frame(0, java.as_bytes(), b"hello")).unwrap();
    assert_eq!(
        (command.code, command.opaque, command.version, &command.body[..]),
        (310, 12, 479, &b"hello"[..])
    );
    assert_eq!(command.fields.get("i"), Some("KEYS\u{1}k\u{2}中😀"));
    assert_eq!(command.fields.get("m"), Some("false"));
    let go = r#"{"code":10,"language":"GO","version":317,"opaque":7,"flag":2,"remark":"","extFields":{}}"#;
    let command = decode_json(go).unwrap();
    assert_eq!(
        (command.language, command.is_oneway(), command.is_response()),
        (LanguageCode::Go, true, false)
    );
    assert!(command.fields.is_empty() && command.remark.is_none());
}

/// fastjson's coercions are accepted: bare values for texts, quoted numbers, an ordinal as language, nulls.
#[test]
fn json_headers_are_coerced() {
    let text = r#" { "code" : "34", "x":[1,{"y":null}], "extFields":{"a":5,"b":true,"c":null}, "language":9, "remark":null } "#;
    let command = decode_json(text).unwrap();
    assert_eq!((command.code, command.language), (34, LanguageCode::Go));
    assert_eq!(command.fields.iter().collect::<Vec<_>>(), [("a", "5"), ("b", "true")]);
}

/// A broken header is an error, never a panic and never a guess.
#[test]
fn broken_json_headers() {
    for text in [
        "",
        "{",
        "[]",
        "nonsense",
        r#"{"code":}"#,
        r#"{"code":"x"}"#,
        r#"{"code":99999999999}"#,
        r#"{"a":"\q"}"#,
        r#"{"a":"\u12"}"#,
        r#"{"a":"b}"#,
        r#"{"extFields":{"a":{}}}"#,
        r#"{"code":1}x"#,
        r#"{"code":1"#,
        r#"{"a":"\"#,
    ] {
        assert!(decode_json(text).is_err(), "{text}");
    }
    let deep = format!(r#"{{"x":{}}}"#, "[".repeat(100_000));
    assert!(decode_json(&deep).is_err());
    assert!(Command::decode(frame(0, b"{\"code\":\xff}", b"")).is_err());
}

/// The binary header: the last of equal keys wins and an empty value is none.
#[test]
fn binary_headers() {
    let mut header = BytesMut::new();
    header.put_i16(11);
    header.put_u8(0);
    header.put_i16(479);
    header.put_i32(-3);
    header.put_i32(2);
    header.put_i32(2);
    header.put_slice(b"hi");
    let mut pairs = BytesMut::new();
    for (key, value) in [("a", "1"), ("b", ""), ("a", "2")] {
        pairs.put_i16(key.len() as i16);
        pairs.put_slice(key.as_bytes());
        pairs.put_i32(value.len() as i32);
        pairs.put_slice(value.as_bytes());
    }
    header.put_i32(pairs.len() as i32);
    header.put_slice(&pairs);
    let command = Command::decode(frame(1, &header, b"xyz")).unwrap();
    assert_eq!((command.code, command.opaque, command.remark.as_deref()), (11, -3, Some("hi")));
    assert_eq!((command.fields.get("a"), command.fields.get("b")), (Some("2"), None));
    assert_eq!(&command.body[..], b"xyz");
    for cut in 0..header.len() {
        assert!(Command::decode(frame(1, &header[..cut], b"")).is_err(), "cut at {cut}");
    }
}

/// Lengths that lie are found before anything is allocated for them.
#[test]
fn frame_lengths() {
    assert_eq!(frame_length(&[0, 0, 0], FRAME_BYTES_MAX).unwrap(), None);
    assert_eq!(frame_length(&[0, 0, 0, 4, 9], FRAME_BYTES_MAX).unwrap(), Some(8));
    assert!(frame_length(&[0, 0, 0, 3], FRAME_BYTES_MAX).is_err());
    assert!(frame_length(&[0xff, 0, 0, 0], FRAME_BYTES_MAX).is_err());
    assert!(frame_length(&(FRAME_BYTES_MAX as u32 - 3).to_be_bytes(), FRAME_BYTES_MAX).is_err());
    assert!(frame_length(&(FRAME_BYTES_MAX as u32 - 4).to_be_bytes(), FRAME_BYTES_MAX).unwrap().is_some());
    let mut lies = frame(0, b"{}", b"");
    lies[7] = 200;
    assert!(Command::decode(lies).is_err());
    assert!(Command::decode(frame(9, b"{}", b"")).is_err());
}

/// What we write is what a Java broker writes, and reads back as itself.
#[test]
fn replies_round_trip() {
    let reply = Reply::success().field("queueId", 3).field("t", "a\"b\\\u{1}".to_owned()).remark("ünicode\n");
    let mut out = BytesMut::new();
    reply.encode_head(12, &mut out);
    assert_eq!(
        std::str::from_utf8(&out[8..]).unwrap(),
        r#"{"code":0,"extFields":{"queueId":"3","t":"a\"b\\\u0001"},"flag":1,"language":"JAVA","opaque":12,"remark":"ünicode\n","serializeTypeCurrentRPC":"JSON","version":479}"#
    );
    assert_eq!(frame_length(&out, FRAME_BYTES_MAX).unwrap(), Some(out.len()));
    let command = Command::decode(out).unwrap();
    assert!(command.is_response());
    assert_eq!(command.fields.get("t"), Some("a\"b\\\u{1}"));
    assert_eq!(command.remark.as_deref(), Some("ünicode\n"));
}

proptest! {
    /// Any bytes at all decode or are refused.
    #[test]
    fn any_bytes(kind in 0u8..4, header in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Command::decode(frame(kind, &header, b"body"));
    }

    /// Any text survives the JSON header.
    #[test]
    fn any_text(text in ".{0,60}") {
        let mut out = BytesMut::new();
        Reply::success().field("t", text.clone()).encode_head(1, &mut out);
        let command = Command::decode(out).unwrap();
        prop_assert_eq!(command.fields.get("t"), Some(text.as_str()));
    }
}
