//! The macro that turns a table of keys into a struct with typed fields and the functions over it.

/// Makes a struct of configuration keys from a table; `broker.rs` shows the form of the lines.
macro_rules! key_table {
    (
        $(#[$meta:meta])*
        pub struct $name:ident |$machine:ident| {
            fields { $(
                $field:ident: $type:ty = $default:expr $(, fast $fast:expr)? $(, limit $limit:expr)?,
                $java:literal, $live:ident, $effect:expr, $help:literal;
            )* }
            texts { $( $text:literal: $text_type:ty = $text_default:expr, $reason:expr; )* }
            aliases { $( $alias:literal => $meant:literal, $why:literal; )* }
            important { $( $important:literal )* }
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $( #[doc = concat!("`", $java, "`: ", $help, ".")] pub $field: $type, )*
            beside: $crate::config::keys::Beside,
        }

        impl $name {
            /// Returns the table: every key that is known, those with a field first.
            pub fn table() -> &'static [$crate::config::keys::Key] {
                static TABLE: &[$crate::config::keys::Key] = &[
                $( $crate::config::keys::Key {
                    name: $java,
                    kind: <$type as $crate::config::keys::Value>::KIND,
                    limit: key_table!(@limit $($limit)?),
                    live: key_table!(@live $live),
                    fast: key_table!(@given $($fast)?),
                    effect: $effect,
                    help: $help,
                }, )*
                $( $crate::config::keys::Key {
                    name: $text,
                    kind: <$text_type as $crate::config::keys::Value>::KIND,
                    limit: $crate::config::keys::Limit::Any,
                    live: false,
                    fast: false,
                    effect: $crate::config::keys::Effect::None($reason),
                    help: "",
                }, )*
            ];
                TABLE
            }

            /// Other spellings that are understood: as written, as meant, and why they are met.
            pub const ALIASES: &'static [(&'static str, &'static str, &'static str)] =
                &[ $( ($alias, $meant, $why), )* ];

            /// Keys that Apache marks as important, for `mqbroker -m`.
            pub const IMPORTANT: &'static [&'static str] = &[ $( $important, )* ];

            /// Returns the defaults on this machine.
            pub fn default_for(timings: $crate::config::keys::Timings) -> Self {
                Self::default_on(&$crate::config::keys::Machine::here(), timings)
            }

            /// Returns the defaults on a given machine.
            pub fn default_on(
                $machine: &$crate::config::keys::Machine,
                timings: $crate::config::keys::Timings,
            ) -> Self {
                #[allow(unused_mut, reason = "a table without own fast defaults does not change it")]
                let mut keys = Self {
                    $( $field: $default, )*
                    beside: $crate::config::keys::Beside { timings, ..Default::default() },
                };
                if timings == $crate::config::keys::Timings::Fast {
                    $( $( keys.$field = $fast; )? )*
                }
                $(
                    let value: $text_type = $text_default;
                    keys.beside.texts.insert($text, $crate::config::keys::Value::to_text(&value));
                )*
                keys
            }

            /// Returns which defaults these keys started from.
            pub fn timings(&self) -> $crate::config::keys::Timings {
                self.beside.timings
            }

            /// Returns the table's line for a key or another spelling of it.
            pub fn find(key: &str) -> Option<&'static $crate::config::keys::Key> {
                let alias = Self::ALIASES.iter().find(|alias| alias.0 == key);
                let name = alias.map_or(key, |alias| alias.1);
                Self::table().iter().find(|known| known.name == name)
            }

            /// Says whether a running server follows a change of this key.
            pub fn is_live(key: &str) -> bool {
                Self::find(key).is_some_and(|known| known.live)
            }

            /// Sets one key.
            ///
            /// A key that the table does not know is kept, reported by [`Self::to_properties_text`] as Apache
            /// does, and named in the note. Fails, and changes nothing, when the value is not allowed.
            pub fn set(
                &mut self,
                key: &str,
                value: &str,
                origin: $crate::config::keys::Origin,
            ) -> Result<$crate::config::keys::Applied, $crate::config::keys::KeyError> {
                let Some(known) = Self::find(key) else {
                    let former = self.beside.unknown.insert(key.to_owned(), value.to_owned());
                    let names = Self::table().iter().map(|known| known.name);
                    let guess = $crate::config::keys::did_you_mean(key, names);
                    return Ok($crate::config::keys::Applied {
                        key: None,
                        changed: former.as_deref() != Some(value),
                        live: false,
                        note: Some(format!("{origin}: {key} is not a known key and is ignored{guess}")),
                    });
                };
                let Some(text) = known.accept(value) else {
                    let (key, value) = (key.to_owned(), value.to_owned());
                    let allowed = known.allowed();
                    return Err($crate::config::keys::KeyError { origin, key, value, allowed });
                };
                let former = self.get(known.name);
                match known.name {
                    $( $java => {
                        self.$field = <$type as $crate::config::keys::Value>::from_text(&text)
                            .expect("the kind of the key accepted this text");
                    } )*
                    _ => { self.beside.texts.insert(known.name, Some(text.clone())); }
                }
                let alias = Self::ALIASES.iter().find(|alias| alias.0 == key);
                let note = match (known.effect, alias) {
                    ($crate::config::keys::Effect::None(reason), _) => {
                        Some(format!("{origin}: {key} has no effect here: {reason}"))
                    }
                    (_, Some(alias)) => Some(format!("{origin}: {key} is read as {} ({})", alias.1, alias.2)),
                    _ => None,
                };
                self.beside.origins.insert(known.name, origin);
                Ok($crate::config::keys::Applied {
                    key: Some(known.name),
                    changed: former.as_deref() != Some(&text),
                    live: known.live,
                    note,
                })
            }

            /// Sets every entry of a properties text that was read from `path`; returns lines for a person.
            ///
            /// Stops at the first value that is not allowed; what was set before stays set.
            pub fn apply(
                &mut self,
                properties: &$crate::config::properties::Properties,
                path: &std::path::Path,
            ) -> Result<Vec<String>, $crate::config::keys::KeyError> {
                let mut notes = Vec::new();
                for entry in properties.effective() {
                    let origin = $crate::config::keys::Origin::File { path: path.to_owned(), line: entry.line };
                    notes.extend(self.set(&entry.key, &entry.value, origin)?.note);
                }
                Ok(notes)
            }

            /// Returns the value of a key as Java prints it; `None` for a null or a key nobody knows.
            pub fn get(&self, key: &str) -> Option<String> {
                let Some(known) = Self::find(key) else { return self.beside.unknown.get(key).cloned() };
                match known.name {
                    $( $java => $crate::config::keys::Value::to_text(&self.$field), )*
                    other => self.beside.texts.get(other).cloned().flatten(),
                }
            }

            /// Returns where a key got its value; `None` when it still has its default.
            pub fn origin(&self, key: &str) -> Option<&$crate::config::keys::Origin> {
                self.beside.origins.get(Self::find(key)?.name)
            }

            /// Says whether somebody set this key.
            pub fn is_explicit(&self, key: &str) -> bool {
                self.origin(key).is_some()
            }

            /// Returns every key that has a value, sorted, one `key=value` a line, as GET_*_CONFIG answers.
            pub fn to_properties_text(&self) -> String {
                self.text_of(|_| true)
            }

            /// Returns the keys that somebody set, unknown ones included, in the same form: enough to start
            /// the same server again.
            pub fn explicit_properties_text(&self) -> String {
                self.text_of(|key| self.beside.origins.contains_key(key) || self.beside.unknown.contains_key(key))
            }

            /// Returns the keys that Apache marks as important, in the same form.
            pub fn important_properties_text(&self) -> String {
                self.text_of(|key| Self::IMPORTANT.contains(&key))
            }

            fn text_of(&self, wanted: impl Fn(&str) -> bool) -> String {
                let known = Self::table().iter().filter_map(|key| Some((key.name, self.get(key.name)?)));
                let unknown = self.beside.unknown.iter().map(|(key, value)| (key.as_str(), value.clone()));
                let sorted: std::collections::BTreeMap<&str, String> =
                    known.chain(unknown).filter(|(key, _)| wanted(key)).collect();
                $crate::config::properties::write(sorted.iter().map(|(key, value)| (*key, value.as_str())))
            }
        }
    };
    (@limit) => { $crate::config::keys::Limit::Any };
    (@limit $limit:expr) => { $limit };
    (@live live) => { true };
    (@live restart) => { false };
    (@given) => { false };
    (@given $given:expr) => { true };
}
pub(super) use key_table;
