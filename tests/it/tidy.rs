//! The rules of the house that a compiler does not know, checked over the source itself.

use std::fs;
use std::path::{Path, PathBuf};

/// Rooms from the lowest to the highest floor; rooms of one floor do not know each other.
const FLOORS: &[&[&str]] = &[
    &["clock", "faults", "lifecycle"],
    &["config"],
    &["wire"],
    &["remoting", "store"],
    &["ha"],
    &["namesrv"],
    &["broker"],
    &["metrics"],
    &["web"],
    &["server"],
    &["cli"],
];

fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    found
}

/// Returns the room that a file belongs to: the first part of its path below `src`.
fn room(path: &Path) -> String {
    let below = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    let first = below.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&room))
}

/// Lines of product code with their numbers: what stands before a file's own tests.
fn product_lines<'a>(path: &Path, text: &'a str) -> Vec<(usize, &'a str)> {
    let is_test_file = path.components().any(|part| {
        let name = part.as_os_str().to_str().unwrap_or_default();
        name == "tests" || name == "tests.rs" || name == "docs.rs"
    });
    if is_test_file {
        return Vec::new();
    }
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    text[..end].lines().enumerate().map(|(at, line)| (at + 1, line)).collect()
}

/// A room may use only rooms of lower floors.
#[test]
fn imports_point_downwards() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let room = room(&path);
        if ["lib", "main"].contains(&&*room) {
            continue;
        }
        let own = floor(&room).unwrap_or_else(|| panic!("the room {room} is on no floor"));
        for (number, line) in product_lines(&path, &text) {
            if line.trim_start().starts_with("//") {
                continue;
            }
            for part in line.split("crate::").skip(1) {
                let used: String = part.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
                let Some(other) = floor(&used) else { continue };
                if other > own || (other == own && used != room) {
                    wrong.push(format!("{}:{number} uses {used}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "imports to the right:\n{}", wrong.join("\n"));
}

/// Time, tasks and printing each have one place.
#[test]
fn each_thing_has_its_place() {
    let banned: &[(&str, &[&str])] = &[
        ("SystemTime::now", &["clock"]),
        ("Instant::now", &["clock", "cli"]),
        ("tokio::spawn", &["lifecycle"]),
        ("println!", &["cli"]),
        ("todo!", &[]),
        ("dbg!", &[]),
        ("unimplemented!", &[]),
    ];
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let room = room(&path);
        for (number, line) in product_lines(&path, &text) {
            let code = line.split("//").next().unwrap_or_default();
            for (word, allowed) in banned {
                if code.contains(word) && !allowed.contains(&room.as_str()) {
                    wrong.push(format!("{}:{number} {word}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "out of place:\n{}", wrong.join("\n"));
}

/// Unsafe code stands in one file, and each piece says why it is sound.
#[test]
fn unsafe_is_explained() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if !(code.contains("unsafe {") || code.contains("unsafe impl") || code.contains("unsafe fn")) {
                continue;
            }
            let explained = lines[at.saturating_sub(8)..=at].iter().any(|near| near.contains("SAFETY:"));
            if !path.ends_with("store/mapped_file.rs") || !explained {
                wrong.push(format!("{}:{}", path.display(), at + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "unexplained or misplaced unsafe:\n{}", wrong.join("\n"));
}

/// What a test leaves out is said to the person who runs it: a macro's words would be kept with those of tests that pass.
#[test]
fn what_is_left_out_is_heard() {
    let mut files = sources();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        files.push((path, text));
    }
    let kept = ["println!", "print!"].map(|word| format!("{word}(\"skipped"));
    let wrong = |(_, text): &(PathBuf, String)| kept.iter().any(|word| text.contains(word));
    let wrong: Vec<_> = files.into_iter().filter(wrong).map(|(path, _)| path).collect();
    assert!(wrong.is_empty(), "kept from whoever runs the tests: {wrong:?}");
}

/// Every file says what it is.
#[test]
fn every_file_has_a_header() {
    let bare = sources().into_iter().filter(|(_, text)| !text.starts_with("//!"));
    let bare: Vec<_> = bare.map(|(path, _)| path.display().to_string()).collect();
    assert!(bare.is_empty(), "no header: {bare:?}");
}

/// A key that the table calls working is read somewhere: otherwise the configuration page would promise too much.
#[test]
fn keys_that_work_are_read() {
    let (tables, others): (Vec<_>, Vec<_>) =
        sources().into_iter().partition(|(path, _)| path.to_str().unwrap().contains("/config/keys/"));
    let lines = others.iter().flat_map(|(path, text)| product_lines(path, text));
    let words: std::collections::HashSet<_> =
        lines.flat_map(|(_, line)| line.split(|c: char| !c.is_alphanumeric() && c != '_')).collect();
    let mut working = 0;
    for line in tables.iter().flat_map(|(_, text)| text.lines()).filter(|line| line.contains(" WORKS, \"")) {
        let field = line.trim().split(':').next().unwrap();
        assert!(words.contains(field), "{field} is marked as working, and nothing reads it");
        working += 1;
    }
    assert!(working > 50, "only {working} working keys found");
}
