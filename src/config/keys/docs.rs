//! Writes `docs/configuration.md` from the tables, and fails when the file in the tree says something else.
//!
//! `UPDATE_DOCS=1 cargo test configuration_page` rewrites it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use super::{BrokerKeys, Effect, Key, Limit, Machine, NamesrvKeys, Timings};

const INTRODUCTION: &str = "\
# Configuration

<!-- Made from src/config/keys: change the tables there, then run `UPDATE_DOCS=1 cargo test configuration_page`. -->

Nothing has to be configured: `rmq-lite start` works as it is. Every RocketMQ key can be set in a `.properties` file
(`-c broker.conf`, the format of Apache's `broker.conf`), with `--set key=value`, or with a variable such as
`RMQ_LITE_flushDiskType=SYNC_FLUSH`. Whatever is stronger wins:

1. `--set key=value`
2. flags such as `--broker-port`, and their variables such as `RMQ_LITE_BROKER_PORT` (`rmq-lite start --help` lists them)
3. variables such as `RMQ_LITE_listenPort`
4. the file given with `-c`, or, where `rmq-lite start` got none, what `mqadmin updateBrokerConfig` and
   `updateNamesrvConfig` changed in former runs (`broker/config/broker.properties` and `namesrv/namesrv.properties`
   in the data directory)
5. the defaults

What differs from Apache:

- A value that is not allowed stops the start with file, line, key, value and what is allowed; Apache silently keeps its
  default. Blanks around a value do no harm.
- A key nobody knows is named in a warning, with the known key it resembles; it never stops a start.
- A key without effect here is accepted and reported by `getBrokerConfig`, with one line that says why.
- `storePathConsumeQueue`, `storePathIndex`, `storeCheckpoint` and `abortFile`, which Apache ignores, do what they say.
- Some defaults are kinder. They are in the column \"fast\"; `--timings apache` brings back Apache's own.

\"Live\" keys follow `mqadmin updateBrokerConfig` at once, the others after a restart. With `-c` both commands set the
changed keys in that file, which keeps its other lines. A `broker` or `namesrv` alone that is started without `-c` keeps
Apache's ways: it writes the changes to a file that its next start does not read.
";

fn page() -> String {
    // Stands for any machine: paths in the home directory are shown as $HOME.
    let machine = Machine {
        home: Some("$HOME".to_owned()),
        data_home: None,
        host_name: "$HOSTNAME".to_owned(),
        cores: 4,
    };
    let broker = BrokerKeys::default_on(&machine, Timings::Apache);
    let fast = BrokerKeys::default_on(&machine, Timings::Fast);
    let namesrv = NamesrvKeys::default_on(&machine, Timings::Apache);
    let mut page = INTRODUCTION.to_owned();
    page.push_str("\n## Broker\n");
    working(BrokerKeys::table(), |key| broker.get(key), |key| fast.get(key), &mut page);
    page.push_str("\n## NameServer\n");
    working(NamesrvKeys::table(), |key| namesrv.get(key), |key| namesrv.get(key), &mut page);
    page.push_str("\n## Other spellings\n\n| written | read as | because |\n| --- | --- | --- |\n");
    for (alias, meant, why) in BrokerKeys::ALIASES {
        writeln!(page, "| `{alias}` | `{meant}` | {why} |").unwrap();
    }
    page.push_str(
        "\n## Broker keys without effect\n\nAccepted, checked and reported. Defaults that follow the number of \
         processors are shown for four.\n",
    );
    idle(BrokerKeys::table(), |key| broker.get(key), |key| fast.get(key), &mut page);
    page.push_str("\n## NameServer keys without effect\n");
    idle(NamesrvKeys::table(), |key| namesrv.get(key), |key| namesrv.get(key), &mut page);
    page
}

fn working(
    table: &[Key],
    default: impl Fn(&str) -> Option<String>,
    fast: impl Fn(&str) -> Option<String>,
    page: &mut String,
) {
    page.push_str("\n| key | default | fast | allowed | live | what it is for |\n| --- | --- | --- | --- | --- | --- |\n");
    for key in table.iter().filter(|key| key.effect == Effect::Works) {
        let fast = if key.fast { code(fast(key.name)) } else { String::new() };
        let live = if key.live { "live" } else { "" };
        let (name, default) = (key.name, code(default(key.name)));
        writeln!(page, "| `{name}` | {default} | {fast} | {} | {live} | {} |", allowed(key), key.help)
            .unwrap();
    }
}

fn allowed(key: &Key) -> String {
    const OPEN_ENDS: [i64; 2] = [i32::MAX as i64, i64::MAX];
    match key.limit {
        Limit::Range(from, to) if from == i64::from(i32::MIN) => format!("up to {to}"),
        Limit::Range(from, to) if OPEN_ENDS.contains(&to) => format!("{from} and more"),
        Limit::Range(from, to) => format!("{from} to {to}"),
        Limit::Rule(words, _) => words.to_owned(),
        Limit::Any => key.kind.to_string(),
    }
}

fn idle(
    table: &[Key],
    default: impl Fn(&str) -> Option<String>,
    fast: impl Fn(&str) -> Option<String>,
    page: &mut String,
) {
    let mut reasons: BTreeMap<&str, Vec<&Key>> = BTreeMap::new();
    for key in table {
        if let Effect::None(reason) = key.effect {
            reasons.entry(reason).or_default().push(key);
        }
    }
    for (reason, keys) in reasons {
        let mut first = reason.chars();
        let capital: String = first.next().into_iter().flat_map(char::to_uppercase).collect();
        write!(page, "\n**{capital}{}.**\n", first.as_str()).unwrap();
        for key in keys {
            let mut value = code(default(key.name));
            if key.fast {
                write!(value, ", fast {}", code(fast(key.name))).unwrap();
            }
            let help = if key.help.is_empty() { String::new() } else { format!(": {}", key.help) };
            writeln!(page, "- `{}` ({value}){help}", key.name).unwrap();
        }
    }
}

fn code(value: Option<String>) -> String {
    match value {
        Some(value) if !value.is_empty() => format!("`{value}`"),
        Some(_) => "empty".to_owned(),
        None => "unset".to_owned(),
    }
}

/// The page in the tree says what the tables say.
#[test]
fn configuration_page() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let page = page();
    if std::env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &page).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == page,
        "docs/configuration.md is stale: run `UPDATE_DOCS=1 cargo test configuration_page` and commit it"
    );
}
