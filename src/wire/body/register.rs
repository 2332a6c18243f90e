//! `RegisterBrokerBody`: what a broker registers at a NameServer, as JSON or compressed.
//!
//! The compressed form is a zlib stream of (integers are big-endian):
//!
//! | bytes | field |
//! |---|---|
//! | 4 + n | length and JSON of the DataVersion |
//! | 4 | number of topics |
//! | 4 + n each | length and [line](TopicConfig::to_line) of a topic |
//! | 4 + n | length and JSON of the filter server list |
//! | 4 | number of mappings; from release 5.0.0 on |
//! | 4 + n each | length and JSON of a TopicQueueMappingInfo |
//!
//! Mirrors `remoting.protocol.body.RegisterBrokerBody`. Bodies of releases before 3.0.11 are not read.

use std::io::{Read, Write};

use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};
use serde::{Deserialize, Serialize};

use super::topic::{TopicConfig, TopicConfigAndMappingSerializeWrapper};
use crate::wire::{DecodeError, body, fastjson};

/// Longest text that a compressed body may hold; a hundred thousand topics take a tenth of it.
const INFLATED_BYTES_MAX: u64 = 64 << 20;

/// First version that writes the mappings (`V5_0_0`).
const VERSION_WITH_MAPPINGS: i32 = 413;

const EXPECTED: &str = "a broker's registration";

/// Body of REGISTER_BROKER (103).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RegisterBrokerBody {
    /// Addresses of filter servers, which no longer exist.
    pub filter_server_list: Vec<String>,
    /// The topics.
    pub topic_config_serialize_wrapper: TopicConfigAndMappingSerializeWrapper,
}

impl RegisterBrokerBody {
    /// Reads a body as the request's header says; `version` is that of the request.
    pub fn decode(bytes: &[u8], compressed: bool, version: i32) -> Result<Self, DecodeError> {
        if !compressed {
            return body::decode(EXPECTED, bytes);
        }
        let mut text = Vec::new();
        ZlibDecoder::new(bytes)
            .take(INFLATED_BYTES_MAX + 1)
            .read_to_end(&mut text)
            .map_err(|_| broken("it cannot be inflated"))?;
        if text.len() as u64 > INFLATED_BYTES_MAX {
            return Err(broken("it is too long when inflated"));
        }
        let mut rest = &text[..];
        let mut body = Self::default();
        let wrapper = &mut body.topic_config_serialize_wrapper;
        wrapper.data_version = body::decode(EXPECTED, piece(&mut rest)?)?;
        for _ in 0..number(&mut rest)? {
            let line = std::str::from_utf8(piece(&mut rest)?).map_err(|_| broken("a topic is not UTF-8"))?;
            let topic = TopicConfig::from_line(line)?;
            wrapper.topic_config_table.insert(topic.topic_name.clone(), topic);
        }
        body.filter_server_list = body::decode(EXPECTED, piece(&mut rest)?)?;
        if version >= VERSION_WITH_MAPPINGS {
            for _ in 0..number(&mut rest)? {
                let mapping: super::mapping::TopicQueueMappingInfo =
                    body::decode(EXPECTED, piece(&mut rest)?)?;
                wrapper.topic_queue_mapping_info_map.insert(mapping.topic.clone(), mapping);
            }
        }
        Ok(body)
    }

    /// Writes the body; the request's header must say whether it is compressed.
    pub fn encode(&self, compressed: bool) -> Vec<u8> {
        if !compressed {
            return fastjson::to_string(self).into_bytes();
        }
        let wrapper = &self.topic_config_serialize_wrapper;
        let mut text = Vec::new();
        put_piece(&mut text, &fastjson::to_string(&wrapper.data_version));
        put_number(&mut text, wrapper.topic_config_table.len());
        for topic in wrapper.topic_config_table.values() {
            put_piece(&mut text, &topic.to_line());
        }
        put_piece(&mut text, &fastjson::to_string(&self.filter_server_list));
        put_number(&mut text, wrapper.topic_queue_mapping_info_map.len());
        for mapping in wrapper.topic_queue_mapping_info_map.values() {
            put_piece(&mut text, &fastjson::to_string(mapping));
        }
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&text).and_then(|()| encoder.finish()).expect("memory takes all that is written")
    }
}

fn broken(problem: &str) -> DecodeError {
    DecodeError::Body { expected: EXPECTED, problem: problem.to_owned() }
}

fn number(rest: &mut &[u8]) -> Result<usize, DecodeError> {
    let bytes = rest.split_off(..4).ok_or_else(|| broken("it ends early"))?;
    let number = bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
    i32::try_from(number).map(|number| number as usize).map_err(|_| broken("a number is negative"))
}

fn piece<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], DecodeError> {
    let length = number(rest)?;
    rest.split_off(..length).ok_or_else(|| broken("it ends early"))
}

fn put_number(out: &mut Vec<u8>, number: usize) {
    let number = i32::try_from(number).expect("no table has two billion rows");
    out.extend_from_slice(&number.to_be_bytes());
}

fn put_piece(out: &mut Vec<u8>, text: &str) {
    put_number(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::body::data_version::DataVersion;
    use crate::wire::body::mapping::TopicQueueMappingInfo;

    fn sample() -> RegisterBrokerBody {
        let mut body = RegisterBrokerBody::default();
        let wrapper = &mut body.topic_config_serialize_wrapper;
        wrapper.data_version = DataVersion { counter: 3, state_version: 0, timestamp: 5 };
        for topic in [TopicConfig::new("T", 8, 6), TopicConfig::new("U", 1, 4)] {
            wrapper.topic_config_table.insert(topic.topic_name.clone(), topic);
        }
        let mapping = TopicQueueMappingInfo { topic: "S".into(), bname: "b".into(), ..Default::default() };
        wrapper.topic_queue_mapping_info_map.insert("S".into(), mapping);
        body
    }

    /// Both forms come back; an old broker's body has no mappings to read.
    #[test]
    fn round_trip() {
        let body = sample();
        for compressed in [false, true] {
            assert_eq!(RegisterBrokerBody::decode(&body.encode(compressed), compressed, 479).unwrap(), body);
        }
        let old = RegisterBrokerBody::decode(&body.encode(true), true, 409).unwrap();
        assert!(old.topic_config_serialize_wrapper.topic_queue_mapping_info_map.is_empty());
        assert_eq!(old.topic_config_serialize_wrapper.topic_config_table.len(), 2);
    }

    /// What the jars of release 5.3.3 wrote is read.
    #[test]
    fn apache_bytes() {
        let hex = "78da2d8ecd0ac2301084a34f52e62841145124370f2a057f90162f22218dab16daa624e9a194bebb69916560999d6f58c618efa04d5379b2102b0ee795a73b59979b0a62c1e1f3928259d610eb9e3136099aa5d136cc264ae2cbf1b497e9ee18750839a73e34f76d4d1038c4872b0662fa78fe39ea9055aa1cae193874636dfc3aab50ddf51cafdcfa16e2ad0a471c541bfd1d3f70da8c85527e0a93a942cac07a53e73a98c9b87b55dc1a6ac8412cfb1fe7d63ddd";
        let bytes: Vec<u8> =
            (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect();
        let body = RegisterBrokerBody::decode(&bytes, true, 479).unwrap();
        let wrapper = &body.topic_config_serialize_wrapper;
        assert_eq!(wrapper.data_version, DataVersion { counter: 3, state_version: 0, timestamp: 5 });
        let mut topic = TopicConfig::new("T", 8, 6);
        topic.attributes.insert("message.type".into(), "FIFO".into());
        assert_eq!(wrapper.topic_config_table, [("T".to_owned(), topic)].into());
        assert_eq!(wrapper.topic_queue_mapping_info_map["S"].bname, "b");
    }

    fn deflate(text: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    /// No cut, no wrong length and no bomb passes or panics.
    #[test]
    fn hostile() {
        let whole = sample().encode(true);
        for end in 0..whole.len() - 6 {
            assert!(RegisterBrokerBody::decode(&whole[..end], true, 479).is_err(), "cut at {end}");
        }
        let version = b"\0\0\0\x02{}";
        for text in [
            b"\xff\xff\xff\xff".to_vec(),
            b"\x7f\xff\xff\xff".to_vec(),
            [&version[..], b"\x7f\xff\xff\xff"].concat(),
            [&version[..], b"\xff\xff\xff\xff"].concat(),
            [&version[..], b"\0\0\0\x01\0\0\0\x01\xff"].concat(),
            [&version[..], b"\0\0\0\0\0\0\0\x01{"].concat(),
        ] {
            assert!(RegisterBrokerBody::decode(&deflate(&text), true, 479).is_err(), "{text:?}");
        }
        let bomb = deflate(&vec![b' '; (INFLATED_BYTES_MAX + 2) as usize]);
        assert!(bomb.len() < 1 << 20);
        let error = RegisterBrokerBody::decode(&bomb, true, 479).unwrap_err();
        assert!(error.to_string().contains("too long"), "{error}");
        for text in ["", "[]", "{\"topicConfigSerializeWrapper\":[]}", "{\"filterServerList\":{}}"] {
            assert!(RegisterBrokerBody::decode(text.as_bytes(), false, 479).is_err(), "{text}");
        }
    }
}
