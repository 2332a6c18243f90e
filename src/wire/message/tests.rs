//! Golden values from a running Apache broker, round trips, and bytes that are not what they claim.

use proptest::prelude::*;

use super::*;

fn new_record<'a>(topic: &'a str, body: &'a [u8], properties: &'a [&'a str]) -> NewRecord<'a> {
    NewRecord {
        body_crc: body_crc(body),
        queue_id: 0,
        flag: 0,
        queue_offset: 0,
        physical_offset: 0,
        sys_flag: 0,
        born_timestamp: 0x0000_01a1_fc38_f102,
        born_host: "127.0.0.1:56448".parse().unwrap(),
        store_timestamp: 0x0000_01a1_fc38_f144,
        store_host: "127.0.0.1:37911".parse().unwrap(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        topic,
        properties,
    }
}

fn encode(record: &NewRecord<'_>) -> Vec<u8> {
    let total = record.encoded_len().unwrap();
    let mut bytes = vec![0; total];
    record.encode(total, &mut bytes);
    bytes
}

/// The first record of a dumped 5.3.3 commit log comes out byte for byte.
#[test]
fn encodes_as_apache_does() {
    let unique = "UNIQ_KEY\u{1}FE8000000000000000000000000000010000A6B873D16E935B3C5A24\u{2}";
    let pieces = [
        "MSG_REGION\u{1}DefaultRegion\u{2}",
        unique,
        "CLUSTER\u{1}C1\u{2}TAGS\u{1}TagA\u{2}KEYS\u{1}k0 kk0\u{2}",
        "WAIT\u{1}true\u{2}TRACE_ON\u{1}true\u{2}",
    ];
    let bytes = encode(&new_record("TopicA", b"hello0", &pieces));
    assert_eq!(bytes.len(), 0xfb);
    let fixed = "000000FBDAA320A77036E9920000000000000000\
                 0000000000000000000000000000000000000000\
                 000001A1FC38F1027F0000010000DC80000001A1FC38F1447F00000100009417\
                 000000000000000000000000\
                 00000006";
    assert_eq!(upper_hex(&bytes[..88]), fixed);
    assert_eq!(&bytes[88..101], b"hello0\x06TopicA");
    assert_eq!(&bytes[101..103], &[0, 0x94]);
    let record = MessageRecord::decode(&bytes).unwrap();
    assert_eq!(record.property("KEYS"), Some("k0 kk0"));
    assert_eq!(record.check_body(), Ok(()));
    assert_eq!(store_timestamp_position(record.sys_flag), 56);
}

/// Offset ids, tag codes and index hashes have the values seen on disk.
#[test]
fn golden_ids_and_hashes() {
    let host = "127.0.0.1:37911".parse().unwrap();
    assert_eq!(offset_message_id(host, 251), "7F0000010000941700000000000000FB");
    assert_eq!(parse_offset_message_id("7f0000010000941700000000000000FB"), Ok((host, 251)));
    assert_eq!(tags_code("TagA"), 0x0027_A807);
    assert_eq!(tags_code(""), 0);
    assert_eq!(java_string_hash("TopicA#k0"), -1_903_240_650);
    let six = "[2001:db8::7]:10911".parse().unwrap();
    let id = offset_message_id(six, i64::MAX);
    assert_eq!((id.len(), parse_offset_message_id(&id)), (56, Ok((six, i64::MAX))));
    for bad in ["", "7F", "7F0000010000941700000000000000FG", "é0000010000941700000000000000FB"] {
        assert!(parse_offset_message_id(bad).is_err(), "{bad}");
    }
}

/// The hash counts UTF-16 units, so a character beyond the basic plane counts twice.
#[test]
fn hash_is_over_utf16_units() {
    let slow =
        |text: &str| text.encode_utf16().fold(0_i32, |h, u| h.wrapping_mul(31).wrapping_add(i32::from(u)));
    for text in ["", "a", "订单", "😀x", "0123456789abcdef0", "A long key with more than sixteen characters"]
    {
        assert_eq!(java_string_hash(text), slow(text), "{text}");
    }
}

/// A topic over 127 bytes makes a V2 record, an IPv6 host a longer one; both read back.
#[test]
fn v2_and_ipv6_round_trip() {
    let topic = format!("%RETRY%{}", "g".repeat(200));
    let mut record = new_record(&topic, b"x", &[]);
    record.born_host = "[::1]:5".parse().unwrap();
    let bytes = encode(&record);
    assert_eq!(bytes.len(), 91 + 1 + 12 + 1 + topic.len());
    let back = MessageRecord::decode(&bytes).unwrap();
    assert_eq!((back.magic, back.topic, back.born_host), (MAGIC_V2, topic.as_str(), record.born_host));
    assert_eq!(back.sys_flag, sys_flag::BORN_HOST_V6);
    assert_eq!(store_timestamp_position(back.sys_flag), 68);
    record.store_host = record.born_host;
    let bytes = encode(&record);
    let back = MessageRecord::decode(&bytes).unwrap();
    assert_eq!((back.store_host, back.store_timestamp), (record.store_host, record.store_timestamp));
}

/// Properties: the last of equal names wins, an unfinished end is read, empty pieces are dropped.
#[test]
fn properties_are_read_as_apache_reads_them() {
    let text = "A\u{1}1\u{2}\u{1}x\u{2}B\u{1}\u{2}junk\u{2}A\u{1}2\u{1}3";
    assert_eq!(property(text, "A"), Some("2\u{1}3"));
    assert_eq!(property(text, "B"), None);
    assert_eq!(properties(text).count(), 2);
    let mut text = String::from("A\u{1}1");
    append_property(&mut text, "B", "2");
    assert_eq!(text, "A\u{1}1\u{2}B\u{1}2\u{2}");
    assert_eq!(remove_property(&text, "A"), "B\u{1}2\u{2}");
}

/// Limits of the length fields are refused before anything is written.
#[test]
fn over_long_fields_are_refused() {
    let topic = "t".repeat(256);
    assert!(matches!(
        new_record(&topic, b"", &[]).encoded_len(),
        Err(RecordError::TooLong { field: "topic", bytes: 256, .. })
    ));
    let half = "p".repeat(16_384);
    assert!(matches!(
        new_record("T", b"", &[&half, &half]).encoded_len(),
        Err(RecordError::TooLong { field: "properties", bytes: 32_768, .. })
    ));
}

fn batch(entries: &[(i32, &[u8], &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (flag, body, properties) in entries {
        let total = 4 + 4 + 4 + 4 + 4 + body.len() + 2 + properties.len();
        bytes.extend((total as i32).to_be_bytes());
        bytes.extend([0; 8]);
        bytes.extend(flag.to_be_bytes());
        bytes.extend((body.len() as i32).to_be_bytes());
        bytes.extend(*body);
        bytes.extend((properties.len() as i16).to_be_bytes());
        bytes.extend(properties.as_bytes());
    }
    bytes
}

/// A batch is read entry by entry; one that lies about a length is an error, not a panic.
#[test]
fn batches_are_read_and_lies_refused() {
    let bytes = batch(&[(1, b"one", "A\u{1}1\u{2}"), (2, b"", "")]);
    let entries: Vec<_> = batch_entries(&bytes).collect::<Result<_, _>>().unwrap();
    assert_eq!(entries.len(), 2);
    assert_eq!((entries[0].body, entries[0].properties), (&b"one"[..], "A\u{1}1\u{2}"));
    for at in 0..20 {
        let mut lying = bytes.clone();
        lying[at] ^= 0x81;
        // Magic, checksum and flag may be anything.
        let harmless = (4..16).contains(&at);
        assert_eq!(batch_entries(&lying).all(|entry| entry.is_ok()), harmless, "byte {at}");
    }
    assert!(batch_entries(&bytes[..bytes.len() - 1]).any(|entry| entry.is_err()));
    assert!(batch_entries(&[0; 64]).next().unwrap().is_err());
}

proptest! {
    /// What is written is read back, and no single wrong byte makes the reader panic.
    #[test]
    fn round_trip(
        body in proptest::collection::vec(any::<u8>(), 0..300),
        topic in "[a-zA-Z0-9%_-]{1,140}",
        properties in "[a-z\u{1}\u{2}]{0,80}",
        wrong_at in any::<proptest::sample::Index>(),
        wrong in 1_u8..,
    ) {
        let pieces = [properties.as_str(), "MSG_REGION\u{1}R\u{2}"];
        let mut bytes = encode(&new_record(&topic, &body, &pieces));
        let record = MessageRecord::decode(&bytes).unwrap();
        prop_assert_eq!(record.body, &body[..]);
        prop_assert_eq!(record.topic, &topic[..]);
        let joined = pieces.concat();
        prop_assert_eq!(record.properties, joined.as_bytes());
        let at = wrong_at.index(bytes.len());
        bytes[at] ^= wrong;
        let _ = MessageRecord::decode(&bytes).map(|record| record.check_body());
    }

    /// The fast reader of properties finds what plain splitting finds.
    #[test]
    fn properties_are_split(text in "[ab\u{1}\u{2}\u{0}é]{0,60}") {
        let mut found = Vec::new();
        for_each_property(text.as_bytes(), |name, value| found.push((name.to_vec(), value.to_vec())));
        let split: Vec<_> = properties(&text).map(|(name, value)| (name.into(), value.into())).collect();
        prop_assert_eq!(found, split);
    }

    /// Any bytes at all are either a record or an error.
    #[test]
    fn garbage_never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), magic in any::<bool>()) {
        if magic && bytes.len() >= 8 {
            bytes[4..8].copy_from_slice(&MAGIC_V1.to_be_bytes());
        }
        let _ = MessageRecord::decode(&bytes);
        let _ = batch_entries(&bytes).count();
    }
}
