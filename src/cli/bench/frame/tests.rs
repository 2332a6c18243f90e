//! What the load generator writes must be a frame that any JSON reader understands, and what it reads must
//! be judged by code and opaque alone, however hostile the rest is.

use super::*;

fn header_of(frame: &[u8]) -> serde_json::Value {
    let total = u32::from_be_bytes(frame[..4].try_into().unwrap()) as usize;
    let header = u32::from_be_bytes(frame[4..8].try_into().unwrap()) as usize;
    assert_eq!(total, frame.len() - 4);
    serde_json::from_slice(&frame[8..8 + header]).unwrap()
}

fn answer_frame(header: &str, body: &[u8]) -> Vec<u8> {
    let mut frame = ((4 + header.len() + body.len()) as u32).to_be_bytes().to_vec();
    frame.extend((header.len() as u32).to_be_bytes());
    frame.extend(header.as_bytes());
    frame.extend(body);
    frame
}

fn record(body: &[u8], sys_flag: u32) -> Vec<u8> {
    let hosts = 16 + if sys_flag & 0x10 == 0 { 0 } else { 12 } + if sys_flag & 0x20 == 0 { 0 } else { 12 };
    let mut record = vec![0; 72 + hosts];
    record[4..8].copy_from_slice(&0xDAA3_20A7_u32.to_be_bytes());
    record[36..40].copy_from_slice(&sys_flag.to_be_bytes());
    record[68 + hosts..].copy_from_slice(&(body.len() as u32).to_be_bytes());
    record.extend(body);
    record.extend(b"\x05topic\0\0");
    let size = (record.len() as u32).to_be_bytes();
    record[..4].copy_from_slice(&size);
    record
}

#[test]
fn a_patched_send_frame_carries_the_values_it_was_given() {
    let frame = SendFrame::new("load", 2_000, 8, 8, 1_024);
    let mut copy = frame.bytes().to_vec();
    let to = Varying { slot: 31, topic: 1_999, queue_id: 7, born_ms: 1_755_555_555_555, sequence: 42 };
    frame.patch(&mut copy, to);
    let header = header_of(&copy);
    assert_eq!(header["code"], 310);
    assert_eq!(header["opaque"], 1_000_000_031);
    let fields = &header["extFields"];
    assert_eq!((fields["b"].as_str(), fields["e"].as_str()), (Some("load-01999"), Some("7")));
    assert_eq!((fields["d"].as_str(), fields["g"].as_str()), (Some("8"), Some("1755555555555")));
    let key = format!("UNIQ_KEY\u{1}{:032}\u{2}WAIT\u{1}true\u{2}", 42);
    assert_eq!(fields["i"].as_str(), Some(key.as_str()));
    assert_eq!((frame.body().len(), copy.len()), (1_024, frame.body().end));
}

#[test]
fn one_topic_keeps_its_bare_name_and_many_queues_keep_their_width() {
    let frame = SendFrame::new("load", 1, 16, 4, 1);
    let mut copy = frame.bytes().to_vec();
    frame.patch(&mut copy, Varying { slot: 0, topic: 0, queue_id: 9, born_ms: 1, sequence: 0 });
    let header = header_of(&copy);
    assert_eq!(header["extFields"]["b"].as_str(), Some("load"));
    assert_eq!(header["extFields"]["e"].as_str(), Some("09"));
}

#[test]
fn an_answer_is_recognised_in_any_key_order_and_only_when_whole() {
    let apache = "{\"code\":0,\"extFields\":{\"queueId\":\"3\",\"nextBeginOffset\":\"64\"},\"flag\":1,\
                  \"language\":\"JAVA\",\"opaque\":1000000005,\"version\":479}";
    let other = "{\"opaque\": 1000000006, \"remark\":\"no \\\"such\\\" topic\", \"code\": 17}";
    let mut input = answer_frame(apache, b"body");
    let first = input.len();
    input.extend(answer_frame(other, b""));

    let (answer, used) = next_answer(&input).unwrap().unwrap();
    assert_eq!((answer.code, answer.slot, answer.body, used), (0, Some(5), &b"body"[..], first));
    assert_eq!((answer.number("nextBeginOffset"), answer.number("minOffset")), (Some(64), None));
    let (answer, used) = next_answer(&input[first..]).unwrap().unwrap();
    assert_eq!((answer.code, answer.slot, used), (17, Some(6), input.len() - first));
    assert_eq!(answer.remark(), "no \"such\" topic");
    assert_eq!(answer.refusal(), "code 17: no \"such\" topic");
    for cut in 0..first {
        assert!(next_answer(&input[..cut]).unwrap().is_none(), "a frame cut at {cut} was taken for whole");
    }
}

#[test]
fn refusals_that_differ_in_numbers_are_one_kind() {
    let frame = answer_frame("{\"code\":2,\"opaque\":1000000001,\"remark\":\"busy 569ms, size 84\"}", b"");
    assert_eq!(next_answer(&frame).unwrap().unwrap().0.refusal(), "code 2: busy #ms, size #");
}

#[test]
fn a_request_of_the_server_answers_nothing_of_ours() {
    let frame = answer_frame("{\"code\":40,\"flag\":2,\"opaque\":7}", b"");
    assert_eq!(next_answer(&frame).unwrap().unwrap().0.slot, None);
}

#[test]
fn bytes_that_are_no_answer_are_refused() {
    let huge = [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0];
    assert_eq!(next_answer(&huge).unwrap_err(), FrameError::Length(0x7fff_ffff));
    let header_past_the_end = [0, 0, 0, 5, 0, 0, 0, 9];
    assert_eq!(next_answer(&header_past_the_end).unwrap_err(), FrameError::Length(5));
    let binary = [0, 0, 0, 25, 1, 0, 0, 21];
    assert_eq!(next_answer(&binary).unwrap_err(), FrameError::Header);
    let no_opaque = answer_frame("{\"code\":0}", b"");
    assert_eq!(next_answer(&no_opaque).unwrap_err(), FrameError::Header);
    let not_a_number = answer_frame("{\"code\":zero,\"opaque\":1000000001}", b"");
    assert_eq!(next_answer(&not_a_number).unwrap_err(), FrameError::Header);
    let endless = answer_frame(&format!("{{\"code\":0,\"opaque\":{}}}", "9".repeat(40)), b"");
    assert_eq!(next_answer(&endless).unwrap_err(), FrameError::Header);
}

#[test]
fn records_yield_their_bodies_with_short_and_long_hosts() {
    let mut input = record(b"one", 0);
    input.extend(record(b"two", 0x10));
    input.extend(record(b"", 0x30));
    let bodies: Vec<_> = records(&input).map(Result::unwrap).collect();
    assert_eq!(bodies, [&b"one"[..], b"two", b""]);
}

#[test]
fn a_record_that_lies_about_its_length_ends_the_walk_with_one_error() {
    let good = record(b"one", 0);
    for (at, value) in [(0, 0_u32), (0, 3), (0, u32::MAX), (4, 0xCBD4_3194), (84, u32::MAX)] {
        let mut bad = record(b"two", 0);
        bad[at..at + 4].copy_from_slice(&value.to_be_bytes());
        let input = [good.clone(), bad].concat();
        let found: Vec<_> = records(&input).collect();
        assert_eq!(found, [Ok(&b"one"[..]), Err(TornRecord)], "{value:#x} at {at}");
    }
}
