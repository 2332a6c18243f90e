//! What fastjson 1.2.83 itself printed and read, round trips, and texts that want to hurt.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::*;

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(clippy::struct_field_names)] // Java's names
struct Queue {
    broker_name: String,
    queue_id: i32,
    topic: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Model {
    #[default]
    Broadcasting,
    Clustering,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Sample {
    double: f64,
    flag: bool,
    ids: BTreeMap<i64, String>,
    list: Vec<i32>,
    model: Model,
    name: Option<String>,
    number: i64,
    offset_table: BTreeMap<Queue, i64>,
}

fn queue() -> Queue {
    Queue { broker_name: "b".into(), queue_id: 0, topic: "T".into() }
}

fn read(text: &str) -> Sample {
    from_slice(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// A value that was printed before is the same text as one that is printed with the rest.
#[test]
fn printed_before() {
    let member = |text: &str| BTreeMap::from([("list".to_owned(), vec![1, 2]), (text.to_owned(), vec![])]);
    let whole = BTreeMap::from([("table", BTreeMap::from([("a", member("\t\"")), ("b", member("null"))]))]);
    let parts = whole["table"].iter().map(|(name, value)| (*name, Printed::pretty(value, 2)));
    let parts = BTreeMap::from([("table", parts.collect::<BTreeMap<_, _>>())]);
    assert_eq!(to_string_pretty(&parts), to_string_pretty(&whole));
}

/// Every control character, quote and slash is escaped as fastjson escapes it, in both alphabets.
#[test]
fn escapes() {
    let mut text: String = (0..0x23u8).map(char::from).collect();
    text.push_str("/\\'\u{7f}\u{80}\u{a0}é\u{2028}中😀<>");
    let start = "\"\\u0000\\u0001\\u0002\\u0003\\u0004\\u0005\\u0006\\u0007\\b\\t\\n\\u000B\\f\\r\\u000E\\u000F\
        \\u0010\\u0011\\u0012\\u0013\\u0014\\u0015\\u0016\\u0017\\u0018\\u0019\\u001A\\u001B\\u001C\\u001D\\u001E\\u001F !\\\"";
    let compact = format!("{start}/\\\\'\\u007F\\u0080\u{a0}é\\u2028中😀<>\"");
    let standard = format!("{start}\\/\\\\'\\u007F\\u0080\\u00A0\\u00E9\\u2028\\u4E2D\\uD83D\\uDE00<>\"");
    assert_eq!(to_string(&text), compact);
    assert_eq!(to_string_standard(&text), standard);
    assert_eq!(from_slice::<String>(compact.as_bytes()).unwrap(), text);
    assert_eq!(from_slice::<String>(standard.as_bytes()).unwrap(), text);
}

/// Keys that are no strings stand bare, or quoted in the standard text; null members are left out.
#[test]
fn keys() {
    let mut sample = Sample { name: None, number: 5, ..Sample::default() };
    sample.ids.insert(0, "a".into());
    sample.ids.insert(1, "b".into());
    sample.offset_table.insert(queue(), 5);
    assert_eq!(
        to_string(&sample),
        r#"{"double":0.0,"flag":false,"ids":{0:"a",1:"b"},"list":[],"model":"BROADCASTING","number":5,"offsetTable":{{"brokerName":"b","queueId":0,"topic":"T"}:5}}"#
    );
    let standard = to_string_standard(&sample);
    assert_eq!(
        standard,
        r#"{"double":0.0,"flag":false,"ids":{"0":"a","1":"b"},"list":[],"model":"BROADCASTING","number":5,"offsetTable":{"{\"brokerName\":\"b\",\"queueId\":0,\"topic\":\"T\"}":5}}"#
    );
    serde_json::from_str::<Value>(&standard).unwrap();
    assert_eq!(read(&to_string(&sample)), sample);
    assert_eq!(read(&standard), sample);
    let nulls: BTreeMap<&str, Option<i32>> = [("a", None), ("b", Some(1)), ("c", None)].into();
    assert_eq!(to_string(&nulls), r#"{"b":1}"#);
    assert_eq!(to_string(&[None, Some(1)]), "[null,1]");
}

/// The pretty text breaks lines before text keys only.
#[test]
fn pretty() {
    let offsets: BTreeMap<&str, BTreeMap<i32, i64>> = [("T@g", [(0, 2), (1, 2)].into())].into();
    let value: BTreeMap<&str, _> = [("empty", BTreeMap::new()), ("offsetTable", offsets)].into();
    assert_eq!(
        to_string_pretty(&value),
        "{\n\t\"empty\":{},\n\t\"offsetTable\":{\n\t\t\"T@g\":{0:2,1:2\n\t\t}\n\t}\n}"
    );
    let objects: BTreeMap<i32, Queue> = [(1, queue()), (2, queue())].into();
    let object = "{\n\t\t\"brokerName\":\"b\",\n\t\t\"queueId\":0,\n\t\t\"topic\":\"T\"\n\t}";
    assert_eq!(to_string_pretty(&objects), format!("{{1:{object},2:{object}\n}}"));
    assert_eq!(to_string_pretty(&["a", "b"]), "[\n\t\"a\",\n\t\"b\"\n]");
    assert_eq!(to_string_pretty(&Vec::<i32>::new()), "[]");
    assert_eq!(from_slice::<BTreeMap<i32, Queue>>(to_string_pretty(&objects).as_bytes()).unwrap(), objects);
}

/// Doubles look as in Java.
#[test]
fn doubles() {
    for (number, text) in [
        (0.0, "0.0"),
        (1.5, "1.5"),
        (-0.001, "-0.001"),
        (1e10, "1.0E10"),
        (12_345_678.9, "1.23456789E7"),
        (0.00001, "1.0E-5"),
        (f64::NAN, "null"),
    ] {
        assert_eq!(to_string(&number), text);
    }
    assert_eq!(to_string(&0.1f32), "0.1");
}

/// The dialect: bare and single-quoted names, type marks, arbitrary commas, object keys.
#[test]
fn dialect() {
    let expected = Sample { number: 7, ids: [(3, "x".into())].into(), ..Sample::default() };
    for text in [
        r#"{"number":7,"ids":{"3":"x"}}"#,
        r"{number:7L,ids:{3:'x'}}",
        r#"{'number':"7","ids":{3L:"x",},}"#,
        r#" { "unknown" : [ {"a":[1,{2:3}]}, 'x' ] ,, "number" : 7.0 , "ids" : { '3' : "x" } } "#,
        r#"{"number":7,"ids":{3:"x",4:null},"name":null,"model":null,"list":null,"double":null,"flag":null}"#,
        r#"{"number":7e0,"ids":{"3":"\u0078"}}"#,
        "{\"number\":+7,\t\"ids\":{3:\"\\x78\"}}\r\n",
    ] {
        assert_eq!(read(text), expected, "{text}");
    }
    let table =
        r"{offsetTable:{{'topic':'T',queueId:'0',brokerName:'b','more':[{}]}:5,{'topic':'gone'}:null}}";
    assert_eq!(read(table).offset_table, [(queue(), 5)].into());
}

/// A scalar stands for another type where fastjson lets it, and only there.
#[test]
fn scalars() {
    assert_eq!(read(r#"{"double":"1.5","flag":1,"list":["1",2,true,""]}"#).list, [1, 2, 1, 0]);
    assert!((read(r#"{"double":"1.5"}"#).double - 1.5).abs() < f64::EPSILON);
    for text in [r#"{"flag":1}"#, r#"{"flag":"1"}"#, r#"{"flag":"true"}"#, r#"{"flag":"TRUE"}"#] {
        assert!(read(text).flag, "{text}");
    }
    for text in [r#"{"flag":0}"#, r#"{"flag":""}"#, r#"{"flag":"false"}"#] {
        assert!(!read(text).flag, "{text}");
    }
    assert_eq!(read(r#"{"name":5}"#).name.as_deref(), Some("5"));
    assert_eq!(read(r#"{"name":5.25}"#).name.as_deref(), Some("5.25"));
    assert_eq!(read(r#"{"name":true}"#).name.as_deref(), Some("true"));
    assert_eq!(read(r#"{"model":1}"#).model, Model::Clustering);
    assert_eq!(read(r#"{"model":"CLUSTERING"}"#).model, Model::Clustering);
    assert_eq!(read(r#"{"number":-9223372036854775808}"#).number, i64::MIN);
    for text in [
        r#"{"number":9223372036854775808}"#,
        r#"{"number":1.5}"#,
        r#"{"number":1e300}"#,
        r#"{"number":"x"}"#,
        r#"{"number":[]}"#,
        r#"{"number":{}}"#,
        r#"{"list":[2147483648]}"#,
        r#"{"list":{}}"#,
        r#"{"list":3}"#,
        r#"{"list":[null]}"#,
        r#"{"double":1e999}"#,
        r#"{"double":"nan"}"#,
        r#"{"flag":"yes"}"#,
        r#"{"flag":2}"#,
        r#"{"model":9}"#,
        r#"{"model":-1}"#,
        r#"{"model":"NONE"}"#,
        r#"{"model":{"CLUSTERING":1}}"#,
        r#"{"ids":[]}"#,
        r#"{"ids":"x"}"#,
        r#"{"ids":{"x":"y"}}"#,
        r#"{"offsetTable":{"T":5}}"#,
        r#"{"name":[]}"#,
        "[]",
        "1",
        "null",
    ] {
        assert!(from_slice::<Sample>(text.as_bytes()).is_err(), "{text}");
    }
}

/// Text that is cut off, nested without end or simply wrong is refused with a short reason and a place.
#[test]
fn hostile() {
    let deep = [("[", "]"), ("{\"a\":", "}"), ("{{", "}:1}"), ("{a:[", "]}")]
        .map(|(open, close)| [open.repeat(10_000), open.repeat(10_000) + "1" + &close.repeat(10_000)]);
    let long_word = "x".repeat(1 << 20);
    let digits = "9".repeat(1 << 20);
    let mut texts: Vec<String> = deep.into_iter().flatten().collect();
    texts.extend([
        long_word.clone(),
        format!("{{\"model\":\"{long_word}\"}}"),
        format!("{{\"number\":{digits}}}"),
        format!("{{\"number\":\"{digits}\"}}"),
    ]);
    texts.extend(
        [
            "",
            " ",
            "{",
            "}",
            "[",
            "\"",
            "'",
            "{\"",
            "{\"a",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":1",
            "{\"a\":1,",
            "{a}",
            "{:1}",
            "{1 2}",
            "{\"number\":1 \"list\":[]}",
            "{\"list\":[1 2]}",
            "{\"list\":[1",
            "{}{}",
            "{}x",
            "{\"number\":-}",
            "{\"number\":1x}",
            "{\"name\":\"\\",
            "{\"name\":\"\\u",
            "{\"name\":\"\\u12\"}",
            "{\"name\":\"\\uzzzz\"}",
            "{\"name\":\"\\q\"}",
            "{\"name\":\"\\u中\"}",
            "{\"name\":nul}",
            "{\"a\":NaN1}",
            "{null:}",
            "{/*c*/}",
            "{\"a\":tru}",
            "{\"offsetTable\":{{:5}}",
            "{\"offsetTable\":{\"{\":5}}",
        ]
        .map(str::to_owned),
    );
    for text in texts {
        let error = from_slice::<Sample>(text.as_bytes()).expect_err(&text[..text.len().min(80)]);
        assert!(error.to_string().len() < 300, "{error}");
        // A value of any shape must not recurse without limit either.
        let _ = from_slice::<Value>(text.as_bytes());
    }
    assert_eq!(from_slice::<Value>(b"\"\xff\"").unwrap_err().to_string(), "is not UTF-8 at byte 1");
    assert_eq!(
        from_slice::<Sample>(b"{\"number\":1 2}").unwrap_err().to_string(),
        "',' or '}' is missing before '2' at byte 12"
    );
    assert_eq!(
        from_slice::<String>(br#""\ud83d\u0041\ude00 \ud83d\ude00 \ud83d""#).unwrap(),
        "\u{fffd}A\u{fffd} 😀 \u{fffd}"
    );
}

/// Any value comes back from strict JSON and from our own texts; only null members are lost.
#[test]
fn any_shape() {
    let value =
        json!({"a": [1, -2, 2.5, "x\u{0}", true, null, {}], "b": {"c": 18_446_744_073_709_551_615_u64}});
    for text in [value.to_string(), to_string(&value), to_string_standard(&value), to_string_pretty(&value)] {
        assert_eq!(from_slice::<Value>(text.as_bytes()).unwrap(), value);
    }
}

prop_compose! {
    fn samples()(
        double in any::<f64>().prop_filter("finite", |number| number.is_finite()),
        flag: bool,
        ids in prop::collection::btree_map(any::<i64>(), ".*", 0..4),
        list: Vec<i32>,
        model in prop::sample::select(vec![Model::Broadcasting, Model::Clustering]),
        name in prop::option::of(".*"),
        number: i64,
        offset_table in prop::collection::btree_map(
            (".*", any::<i32>(), ".*").prop_map(|(broker_name, queue_id, topic)| Queue { broker_name, queue_id, topic }),
            any::<i64>(),
            0..4,
        ),
    ) -> Sample {
        Sample { double, flag, ids, list, model, name, number, offset_table }
    }
}

proptest! {
    /// What is printed is read back, whichever text it is.
    #[test]
    fn round_trip(sample in samples()) {
        for text in [to_string(&sample), to_string_standard(&sample), to_string_pretty(&sample)] {
            prop_assert_eq!(&from_slice::<Sample>(text.as_bytes()).unwrap(), &sample, "{}", text);
        }
        let standard = to_string_standard(&sample);
        prop_assert!(standard.is_ascii());
        prop_assert!(serde_json::from_str::<Value>(&standard).is_ok(), "{}", standard);
    }

    /// No text makes the reader panic.
    #[test]
    fn never_panics(bytes: Vec<u8>, text in r#"[\[\]{}:,"'\\ue0-9a-cLnNt. \u{0}中-]*"#) {
        let _ = from_slice::<Sample>(&bytes);
        let _ = from_slice::<Value>(text.as_bytes());
        let _ = from_slice::<Sample>(text.as_bytes());
    }
}
