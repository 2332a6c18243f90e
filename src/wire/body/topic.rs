//! Topics: their configuration, the table of them, and lists of their names.
//!
//! Mirrors `common.TopicConfig`, `TopicConfigSerializeWrapper`, `TopicConfigAndMappingSerializeWrapper`, `TopicList`
//! and the file `topics.json`. Attributes are stored under their plain names; the `+` and `-` of admin requests
//! never get here.

#![allow(missing_docs)] // fields are just the Java names

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::data_version::DataVersion;
use super::mapping::{TopicQueueMappingDetail, TopicQueueMappingInfo};
use crate::wire::{DecodeError, fastjson};

/// Bits of [`TopicConfig::perm`] (`PermName`).
pub mod perm {
    /// New topics may take this one's configuration.
    pub const INHERIT: i32 = 1;
    /// Clients may send.
    pub const WRITE: i32 = 2;
    /// Clients may pull.
    pub const READ: i32 = 4;
    /// Every bit that has a meaning.
    pub const ALL: i32 = 15;
}

/// How many tags a message has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TopicFilterType {
    #[default]
    SingleTag,
    MultiTag,
}

impl TopicFilterType {
    /// Returns the Java name.
    pub fn name(self) -> &'static str {
        match self {
            Self::SingleTag => "SINGLE_TAG",
            Self::MultiTag => "MULTI_TAG",
        }
    }

    /// Finds the type of a Java name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::SingleTag, Self::MultiTag].into_iter().find(|known| known.name() == name)
    }
}

/// A topic at a broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfig {
    /// For example `message.type` to `FIFO`.
    pub attributes: BTreeMap<String, String>,
    pub order: bool,
    /// Bits: 1 inherit, 2 write, 4 read, 8 priority.
    pub perm: i32,
    pub read_queue_nums: i32,
    pub topic_filter_type: TopicFilterType,
    pub topic_name: String,
    pub topic_sys_flag: i32,
    pub write_queue_nums: i32,
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self {
            attributes: BTreeMap::new(),
            order: false,
            perm: 6,
            read_queue_nums: 16,
            topic_filter_type: TopicFilterType::SingleTag,
            topic_name: String::new(),
            topic_sys_flag: 0,
            write_queue_nums: 16,
        }
    }
}

impl TopicConfig {
    /// Makes a topic with `queue_nums` queues to read and to write.
    pub fn new(topic_name: impl Into<String>, queue_nums: i32, perm: i32) -> Self {
        Self {
            topic_name: topic_name.into(),
            read_queue_nums: queue_nums,
            write_queue_nums: queue_nums,
            perm,
            ..Self::default()
        }
    }

    /// Prints the line of a compressed registration: `name read write perm FILTERTYPE {attributes}`.
    ///
    /// It holds neither `order` nor `topic_sys_flag`.
    pub fn to_line(&self) -> String {
        let mut line = format!(
            "{} {} {} {} {} ",
            self.topic_name,
            self.read_queue_nums,
            self.write_queue_nums,
            self.perm,
            self.topic_filter_type.name()
        );
        write!(line, "{}", fastjson::to_string(&self.attributes)).expect("a string takes any text");
        line
    }

    /// Reads the line that [`TopicConfig::to_line`] prints; 4.x brokers leave the attributes out.
    pub fn from_line(line: &str) -> Result<Self, DecodeError> {
        let broken = |problem: String| DecodeError::Body { expected: "a topic's line", problem };
        let parts: Vec<&str> = line.splitn(6, ' ').collect();
        let [name, read, write, perm, filter_type, rest @ ..] = &parts[..] else {
            return Err(broken("it has fewer than five parts".to_owned()));
        };
        let number = |text: &str| text.parse::<i32>().map_err(|_| broken("a number is none".to_owned()));
        let attributes = match rest {
            [text] if !text.is_empty() => {
                fastjson::from_slice(text.as_bytes()).map_err(|error| broken(error.to_string()))?
            }
            _ => BTreeMap::new(),
        };
        Ok(Self {
            attributes,
            read_queue_nums: number(read)?,
            write_queue_nums: number(write)?,
            perm: number(perm)?,
            topic_filter_type: TopicFilterType::from_name(filter_type)
                .ok_or_else(|| broken("its filter type is unknown".to_owned()))?,
            topic_name: (*name).to_owned(),
            ..Self::default()
        })
    }
}

/// The file `topics.json`; also what a 4.x broker registers and answers to GET_ALL_TOPIC_CONFIG (21).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfigSerializeWrapper {
    pub data_version: DataVersion,
    pub topic_config_table: BTreeMap<String, TopicConfig>,
}

/// What a 5.x broker registers and answers to GET_ALL_TOPIC_CONFIG (21).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfigAndMappingSerializeWrapper {
    pub data_version: DataVersion,
    pub mapping_data_version: DataVersion,
    pub topic_config_table: BTreeMap<String, TopicConfig>,
    pub topic_queue_mapping_detail_map: BTreeMap<String, TopicQueueMappingDetail>,
    pub topic_queue_mapping_info_map: BTreeMap<String, TopicQueueMappingInfo>,
}

/// Body of UPDATE_AND_CREATE_TOPIC_LIST (18).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CreateTopicListRequestBody {
    pub topic_config_list: Vec<TopicConfig>,
}

/// Names of topics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicList {
    /// Only with system topics: the address of one broker.
    pub broker_addr: Option<String>,
    pub topic_list: BTreeSet<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A topic is Apache's text, and what is absent or null has Apache's default.
    #[test]
    fn topic_config() {
        let config = TopicConfig { topic_name: "T".into(), ..TopicConfig::default() };
        let text = r#"{"attributes":{},"order":false,"perm":6,"readQueueNums":16,"topicFilterType":"SINGLE_TAG","topicName":"T","topicSysFlag":0,"writeQueueNums":16}"#;
        assert_eq!(fastjson::to_string(&config), text);
        for text in [
            text,
            r"{topicName:'T'}",
            r#"{"topicName":"T","attributes":null,"topicFilterType":0,"perm":"6"}"#,
        ] {
            assert_eq!(fastjson::from_slice::<TopicConfig>(text.as_bytes()).unwrap(), config, "{text}");
        }
    }

    /// The file that Apache writes is read and written alike.
    #[test]
    fn topics_file() {
        let text = "{\n\t\"dataVersion\":{\n\t\t\"counter\":1,\n\t\t\"stateVersion\":0,\n\t\t\"timestamp\":5\n\t},\n\t\"topicConfigTable\":{\n\t\t\"T\":{\n\t\t\t\"attributes\":{\n\t\t\t\t\"message.type\":\"FIFO\"\n\t\t\t},\n\t\t\t\"order\":false,\n\t\t\t\"perm\":6,\n\t\t\t\"readQueueNums\":8,\n\t\t\t\"topicFilterType\":\"SINGLE_TAG\",\n\t\t\t\"topicName\":\"T\",\n\t\t\t\"topicSysFlag\":0,\n\t\t\t\"writeQueueNums\":8\n\t\t}\n\t}\n}";
        let file: TopicConfigSerializeWrapper = fastjson::from_slice(text.as_bytes()).unwrap();
        assert_eq!(file.topic_config_table["T"].attributes["message.type"], "FIFO");
        assert_eq!(fastjson::to_string_pretty(&file), text);
    }

    /// A line comes back as it went out, also with blanks in an attribute, and a bad one is refused.
    #[test]
    fn lines() {
        let mut config = TopicConfig::new("T", 8, 6);
        assert_eq!(config.to_line(), "T 8 8 6 SINGLE_TAG {}");
        config.attributes.insert("a".into(), "b c".into());
        assert_eq!(TopicConfig::from_line(&config.to_line()).unwrap(), config);
        assert_eq!(TopicConfig::from_line("T 8 8 6 SINGLE_TAG").unwrap(), TopicConfig::new("T", 8, 6));
        for line in [
            "",
            "T 8 8 6",
            "T x 8 6 SINGLE_TAG",
            "T 8 8 6 NONE",
            "T 8 8 6 SINGLE_TAG {",
            "T 8 8 99999999999 SINGLE_TAG",
        ] {
            assert!(TopicConfig::from_line(line).is_err(), "{line}");
        }
    }
}
