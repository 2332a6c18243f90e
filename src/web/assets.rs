//! The files of the console, embedded from `ui/`.
//!
//! A path goes in, the file comes out with its type and an ETag made from its content; a browser that has the
//! same content is answered 304. Nothing is read from the disk at run time.

use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use include_dir::{Dir, include_dir};

use super::problem::Problem;

static UI: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/ui");

/// SHA-256 of the import map between its script tags in `ui/index.html`, in base64: the only inline script that
/// the Content-Security-Policy lets run.
pub(super) const IMPORT_MAP_SHA256: &str = "jujrgMOBmjUkrkj1wqQNqzw0bHuhGtrVI5Hw+AFIodE=";

/// Answers a request for a file of the console; `/` is `index.html`.
pub(super) async fn file(request: Request) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Problem::new(StatusCode::METHOD_NOT_ALLOWED, "files can only be read").into_response();
    }
    let path = match request.uri().path().trim_start_matches('/') {
        "" => "index.html",
        path => path,
    };
    match (UI.get_file(path), content_type(path)) {
        (Some(file), Some(kind)) => answer(file.contents(), kind, request.headers()),
        _ => Problem::not_found(format!("there is no /{path}; the console is at /, the API at /api/v1/"))
            .into_response(),
    }
}

fn answer(content: &'static [u8], kind: &'static str, request: &HeaderMap) -> Response {
    let tag = format!("\"{:08x}-{:x}\"", crc32fast::hash(content), content.len());
    let known = request.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let same = known
        .split(',')
        .any(|one| matches!(one.trim().trim_start_matches("W/"), one if one == tag || one == "*"));
    let mut response = if same {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(CONTENT_TYPE, HeaderValue::from_static(kind))], content).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(ETAG, HeaderValue::from_str(&tag).expect("hex digits in quotes"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// Returns the type of a file that browsers may have; notes and checksums stay inside.
fn content_type(path: &str) -> Option<&'static str> {
    Some(match path.rsplit_once('.')?.1 {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "txt" => "text/plain; charset=utf-8",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use sha2::{Digest, Sha256};

    use super::*;

    fn base64(bytes: &[u8]) -> String {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let digits = |three: &[u8]| {
            let number =
                three.iter().fold(0u32, |sum, byte| sum << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
            let digit = |at: usize| DIGITS[number as usize >> (18 - 6 * at) & 63] as char;
            (0..4).map(|at| if at <= three.len() { digit(at) } else { '=' }).collect::<String>()
        };
        bytes.chunks(3).map(digits).collect()
    }

    fn text(path: &str) -> &'static str {
        UI.get_file(path).unwrap().contents_utf8().unwrap()
    }

    /// The policy names the import map that the page has; without that no module of it loads.
    #[test]
    fn the_import_map_is_the_one_in_the_policy() {
        let page = text("index.html");
        let map =
            page.split_once("<script type=\"importmap\">").unwrap().1.split_once("</script>").unwrap().0;
        assert_eq!(base64(&Sha256::digest(map)), IMPORT_MAP_SHA256);
        assert_eq!(page.matches("<script").count(), 2, "one import map and one module, nothing else inline");
        assert!(
            !page.contains("style=") && !page.contains("<style"),
            "the policy lets no inline style through"
        );
    }

    /// Vendored modules are those that the list of checksums knows, and every one has its licence beside it.
    #[test]
    fn vendored_files_are_unchanged() {
        let sums = text("vendor/SHA256SUMS");
        let mut listed: Vec<&str> = Vec::new();
        for line in sums.lines() {
            let (sum, name) = line.split_once("  ").unwrap();
            let digest = Sha256::digest(UI.get_file(format!("vendor/{name}")).unwrap().contents());
            let hex = digest.iter().fold(String::new(), |mut hex, byte| {
                write!(hex, "{byte:02x}").unwrap();
                hex
            });
            assert_eq!(hex, sum, "{name}");
            listed.push(name);
        }
        for file in UI.get_dir("vendor").unwrap().files() {
            let name = file.path().file_name().unwrap().to_str().unwrap();
            assert!(
                listed.contains(&name) || ["SHA256SUMS", "README.md"].contains(&name),
                "{name} is not listed"
            );
        }
    }

    /// What the page loads is there and has a type.
    #[test]
    fn the_page_names_files_that_exist() {
        let page = text("index.html");
        for path in page.split('"').filter_map(|piece| piece.strip_prefix('/')) {
            if path.starts_with("api/") {
                continue;
            }
            assert!(UI.get_file(path).is_some() && content_type(path).is_some(), "{path}");
        }
    }
}
