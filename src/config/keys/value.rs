//! The types of configuration values: how Java writes them, and which words the enumerations allow.

use std::fmt;

/// Type of a key's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`, in any case.
    Boolean,
    /// A whole number of 32 bits.
    Int,
    /// A whole number of 64 bits.
    Long,
    /// A number with a fraction.
    Double,
    /// Any text.
    Text,
    /// One of these words, exactly.
    Word(&'static [&'static str]),
}

impl Kind {
    /// Returns the words for what is allowed.
    pub(super) fn allowed(self) -> String {
        match self {
            Self::Boolean => "true or false".to_owned(),
            Self::Int => format!("a whole number from {} to {}", i32::MIN, i32::MAX),
            Self::Long => format!("a whole number from {} to {}", i64::MIN, i64::MAX),
            Self::Double => "a number".to_owned(),
            Self::Text => "any text".to_owned(),
            Self::Word(words) => words.join(", "),
        }
    }

    /// Returns `text` as Java prints the value that it stands for, or `None` when it stands for none.
    pub(super) fn normalize(self, text: &str) -> Option<String> {
        match self {
            Self::Boolean if text.eq_ignore_ascii_case("true") => Some("true".to_owned()),
            Self::Boolean if text.eq_ignore_ascii_case("false") => Some("false".to_owned()),
            Self::Boolean => None,
            Self::Int => text.parse::<i32>().ok()?.to_text(),
            Self::Long => text.parse::<i64>().ok()?.to_text(),
            Self::Double => text.parse::<f64>().ok().filter(|number| number.is_finite())?.to_text(),
            Self::Text => Some(text.to_owned()),
            Self::Word(words) => words.contains(&text).then(|| text.to_owned()),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean => out.write_str("boolean"),
            Self::Int => out.write_str("int"),
            Self::Long => out.write_str("long"),
            Self::Double => out.write_str("double"),
            Self::Text => out.write_str("text"),
            Self::Word(words) => out.write_str(&words.join(", ")),
        }
    }
}

/// A type that a configuration key can have.
pub trait Value: Sized {
    /// Its name and syntax.
    const KIND: Kind;
    /// Reads text that [`Kind`] accepts.
    fn from_text(text: &str) -> Option<Self>;
    /// Writes the value as Java prints it; `None` is Java's null, which is not printed at all.
    fn to_text(&self) -> Option<String>;
}

macro_rules! printed_values {
    ($($type:ty => $kind:expr;)*) => { $(
        impl Value for $type {
            const KIND: Kind = $kind;
            fn from_text(text: &str) -> Option<Self> {
                text.parse().ok()
            }
            fn to_text(&self) -> Option<String> {
                Some(self.to_string())
            }
        }
    )* };
}
printed_values! { bool => Kind::Boolean; i32 => Kind::Int; i64 => Kind::Long; f64 => Kind::Double; String => Kind::Text; }

impl<T: Value> Value for Option<T> {
    const KIND: Kind = T::KIND;
    fn from_text(text: &str) -> Option<Self> {
        T::from_text(text).map(Some)
    }
    fn to_text(&self) -> Option<String> {
        self.as_ref().and_then(T::to_text)
    }
}

macro_rules! words {
    ($($(#[$meta:meta])* $name:ident { $($(#[$word_meta:meta])* $variant:ident = $word:literal,)* })*) => { $(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$word_meta])* $variant,)* }

        impl $name {
            /// Returns the word that configuration files and Java use for it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl Value for $name {
            const KIND: Kind = Kind::Word(&[$($word),*]);
            fn from_text(text: &str) -> Option<Self> {
                match text { $($word => Some(Self::$variant),)* _ => None }
            }
            fn to_text(&self) -> Option<String> {
                Some(self.as_str().to_owned())
            }
        }
    )* };
}

words! {
    /// What a broker is in its group.
    BrokerRole {
        /// A master that does not wait for its slaves.
        AsyncMaster = "ASYNC_MASTER",
        /// A master that may wait for its slaves.
        SyncMaster = "SYNC_MASTER",
        /// A copy of a master.
        Slave = "SLAVE",
    }
    /// When a send is acknowledged.
    FlushDiskType {
        /// After the message is on the disk.
        SyncFlush = "SYNC_FLUSH",
        /// When the message is in the page cache; the disk follows.
        AsyncFlush = "ASYNC_FLUSH",
    }
    /// How consumers of a group ask for messages unless told otherwise.
    MessageRequestMode {
        /// Each consumer owns queues and pulls from them.
        Pull = "PULL",
        /// Consumers share queues and pop single messages.
        Pop = "POP",
    }
    /// Where Apache's broker sends its metrics.
    MetricsExporterType {
        /// Nowhere.
        Disable = "DISABLE",
        /// To an OpenTelemetry collector.
        OtlpGrpc = "OTLP_GRPC",
        /// To whoever scrapes it.
        Prom = "PROM",
        /// To the log.
        Log = "LOG",
    }
}
