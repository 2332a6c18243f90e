//! Whom the HTTP side answers, and how; without sockets and without a broker.

use std::net::{IpAddr, Ipv4Addr};

use axum::body::{Body, to_bytes};
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, Request, StatusCode};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;

use super::guard::Names;
use super::*;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const EVERY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn detail(&self) -> String {
        assert_eq!(self.headers[CONTENT_TYPE], "application/problem+json", "{}", self.body);
        let problem: Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(problem["status"], self.status);
        problem["detail"].as_str().unwrap().to_owned()
    }
}

/// While the server starts it is alive and not ready, and says what it is at, also to whoever wants something else; the
/// guard is the same.
#[tokio::test]
async fn a_server_that_starts_says_what_it_is_at() {
    let ask = async |line: &str, host: &str| {
        let router = opening_router(
            || "checking messages: 37 %, 37 of 100 MB of the log at 9 MB/s".to_owned(),
            Names { bound: LOOPBACK, advertised: None },
        );
        let (method, target) = line.split_once(' ').unwrap();
        let request = Request::builder().method(method).uri(target).header("Host", host);
        let service = TowerToHyperService::new(router);
        let (parts, body) = service.call(request.body(Body::empty()).unwrap()).await.unwrap().into_parts();
        let body = to_bytes(Body::new(body), 1 << 16).await.unwrap();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    };
    for line in ["GET /readyz", "GET /", "GET /api/v1/topics"] {
        let answer = ask(line, "localhost").await;
        let wanted = "the server is starting; checking messages: 37 %, 37 of 100 MB of the log at 9 MB/s";
        assert_eq!((answer.status, answer.detail().as_str()), (503, wanted), "{line}");
    }
    assert_eq!(ask("GET /healthz", "localhost").await.status, 200);
    assert_eq!(ask("GET /", "evil.example").await.status, 421);
}

/// A server without brokers.
struct NoBrokers;

impl Brokers for NoBrokers {
    fn has(&self, _: Which) -> bool {
        false
    }
    fn running(&self, _: Which) -> Option<Arc<Broker>> {
        None
    }
    fn routes(&self) -> Vec<Arc<Routes<Broker>>> {
        Vec::new()
    }
    fn stop(&self, _: Which) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
    fn start(&self, _: Which) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Sends one request to a console without broker that is bound to `bound`; headers as `Name: value` lines.
async fn ask(bound: IpAddr, advertised: Option<&str>, line: &str, headers: &str) -> Answer {
    let (method, target) = line.split_once(' ').unwrap();
    let mut request = Request::builder().method(method).uri(target);
    for header in headers.lines().map(str::trim).filter(|header| !header.is_empty()) {
        let (name, value) = header.split_once(':').unwrap();
        request = request.header(name, value.trim());
    }
    let shown = Shown {
        name_server: None,
        brokers: Arc::new(NoBrokers),
        name_server_address: None,
        advertised_host: None,
        clock: Clock::starting_at(1_000),
    };
    let names = Names { bound, advertised: advertised.map(str::to_owned) };
    let service = TowerToHyperService::new(router(shown, names));
    let response = service.call(request.body(Body::empty()).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = String::from_utf8(to_bytes(body, 1 << 20).await.unwrap().to_vec()).unwrap();
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}

async fn status(bound: IpAddr, advertised: Option<&str>, host: &str) -> u16 {
    ask(bound, advertised, "GET /api/v1/cluster", &format!("Host: {host}")).await.status
}

/// A page that made its own name point at 127.0.0.1 is not answered; everything a person would type is.
#[tokio::test]
async fn only_our_names_are_answered() {
    for host in [
        "localhost",
        "localhost:8082",
        "LOCALHOST.",
        "a.localhost:1",
        "127.0.0.1:8082",
        "127.8.8.8",
        "[::1]:8082",
    ] {
        assert_eq!(status(LOOPBACK, None, host).await, 200, "{host}");
    }
    for host in [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "10.0.0.1",
        "[2001:db8::1]",
        "box",
        "::1",
    ] {
        assert!([400, 421].contains(&status(LOOPBACK, None, host).await), "{host}");
    }
    let lan = IpAddr::from([192, 168, 1, 5]);
    assert_eq!(status(lan, None, "192.168.1.5:8082").await, 200);
    assert_eq!(status(lan, None, "evil.example").await, 421);
    for host in ["192.168.1.5:8082", "[2001:db8::1]:8082", "mq", "build-box:8082"] {
        assert_eq!(status(EVERY, None, host).await, 200, "{host}");
    }
    assert_eq!(status(EVERY, None, "mq.example.com").await, 421);
    assert_eq!(status(EVERY, Some("MQ.example.com"), "mq.example.com:80").await, 200);
    let answer = ask(LOOPBACK, None, "GET /", "Host: evil.example").await;
    assert!(answer.detail().contains("does not answer as evil.example"), "{}", answer.body);
}

/// No Host, two Hosts, nonsense, and a target that names another host than the header.
#[tokio::test]
async fn unclear_hosts_are_refused() {
    let cases = [
        ("GET /api/v1/cluster", "", 400),
        ("GET /api/v1/cluster", "Host: localhost\nHost: localhost", 400),
        ("GET /api/v1/cluster", "Host: local host", 400),
        ("GET /api/v1/cluster", "Host: ", 400),
        ("GET http://evil.example/api/v1/cluster", "Host: localhost", 421),
        ("GET http://localhost/api/v1/cluster", "Host: evil.example", 421),
    ];
    for (line, headers, expected) in cases {
        assert_eq!(ask(LOOPBACK, None, line, headers).await.status, expected, "{line} {headers}");
    }
}

/// Probes choose their own Host; they learn only whether the server lives and is ready.
#[tokio::test]
async fn probes_need_no_name() {
    for path in ["/healthz", "/readyz"] {
        assert_eq!(ask(LOOPBACK, None, &format!("GET {path}"), "Host: anything.example").await.status, 200);
        assert_eq!(ask(LOOPBACK, None, &format!("GET {path}"), "").await.status, 200);
        assert_eq!(ask(LOOPBACK, None, &format!("POST {path}"), "Host: evil.example").await.status, 421);
    }
}

/// Pages of other origins, on this machine or elsewhere, get nothing; our own page and a typed address do.
#[tokio::test]
async fn other_origins_are_refused() {
    let cases = [
        ("", 200),
        ("Origin: http://localhost:8082", 200),
        ("Origin: https://LOCALHOST:8082", 200),
        ("Origin: http://localhost:3000", 403),
        ("Origin: http://127.0.0.1:8082", 403),
        ("Origin: http://evil.example", 403),
        ("Origin: null", 403),
        ("Origin: http://localhost:8082\nOrigin: http://evil.example", 403),
        ("Sec-Fetch-Site: same-origin\nSec-Fetch-Mode: cors", 200),
        ("Sec-Fetch-Site: none\nSec-Fetch-Mode: navigate", 200),
        ("Sec-Fetch-Site: cross-site\nSec-Fetch-Mode: navigate", 200),
        ("Sec-Fetch-Site: cross-site\nSec-Fetch-Mode: no-cors", 403),
        ("Sec-Fetch-Site: same-site\nSec-Fetch-Mode: cors", 403),
    ];
    for (headers, expected) in cases {
        let headers = format!("Host: localhost:8082\n{headers}");
        assert_eq!(ask(LOOPBACK, None, "GET /api/v1/cluster", &headers).await.status, expected, "{headers}");
    }
}

/// What could change something must be JSON, which a form of a foreign page cannot send.
#[tokio::test]
async fn changes_must_be_json() {
    let cases = [
        ("", 415),
        ("Content-Type: text/plain", 415),
        ("Content-Type: application/x-www-form-urlencoded", 415),
        ("Content-Type: application/jsonp", 415),
        ("Content-Type: application/json", 405),
        ("Content-Type: Application/JSON; charset=utf-8", 405),
        ("Content-Type: application/json\nOrigin: http://evil.example", 403),
        ("Content-Type: application/json\nSec-Fetch-Site: cross-site\nSec-Fetch-Mode: navigate", 403),
    ];
    for path in ["/api/v1/topics", "/", "/metrics"] {
        for (headers, expected) in cases {
            let answer =
                ask(LOOPBACK, None, &format!("POST {path}"), &format!("Host: localhost\n{headers}")).await;
            assert_eq!(answer.status, expected, "{path} {headers}");
        }
    }
    let answer =
        ask(LOOPBACK, None, "DELETE /api/v1/topics", "Host: localhost\nContent-Type: application/json").await;
    assert!(answer.detail().contains("does not know that method"));
}

/// Every answer says what browsers may do with it, errors too.
#[tokio::test]
async fn every_answer_has_its_headers() {
    for (line, host) in
        [("GET /", "localhost"), ("GET /api/v1/nothing", "localhost"), ("GET /", "evil.example")]
    {
        let answer = ask(LOOPBACK, None, line, &format!("Host: {host}")).await;
        let policy = answer.headers[CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'self'; script-src 'self' 'sha256-"), "{policy}");
        assert!(!policy.contains("unsafe"));
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("cross-origin-resource-policy", "same-origin"),
            ("referrer-policy", "no-referrer"),
        ] {
            assert_eq!(answer.headers[name], value);
        }
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
    }
}

/// A file is answered with a tag, and with 304 to whoever has it already.
#[tokio::test]
async fn files_have_tags() {
    let first = ask(LOOPBACK, None, "GET /", "Host: localhost").await;
    assert_eq!(
        (first.status, &first.headers[CONTENT_TYPE]),
        (200, &"text/html; charset=utf-8".parse().unwrap())
    );
    assert!(first.body.contains("<title>rmq-lite</title>"));
    let tag = first.headers[ETAG].to_str().unwrap();
    for known in [tag.to_owned(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()] {
        let again = ask(LOOPBACK, None, "GET /", &format!("Host: localhost\n{IF_NONE_MATCH}: {known}")).await;
        assert_eq!(
            (again.status, again.body.as_str(), &again.headers[ETAG]),
            (304, "", &first.headers[ETAG]),
            "{known}"
        );
    }
    let other = ask(LOOPBACK, None, "GET /", "Host: localhost\nIf-None-Match: \"other\"").await;
    assert_eq!(other.status, 200);
    let script = ask(LOOPBACK, None, "GET /app.js", "Host: localhost").await;
    assert_eq!(script.headers[CONTENT_TYPE], "text/javascript; charset=utf-8");
    assert_ne!(script.headers[ETAG], first.headers[ETAG]);
    let head = ask(LOOPBACK, None, "HEAD /app.js", "Host: localhost").await;
    assert_eq!((head.status, &head.headers[ETAG]), (200, &script.headers[ETAG]));
}

/// What is not there is a 404 that says where to look, whatever the path tries.
#[tokio::test]
async fn unknown_paths_are_problems() {
    for path in [
        "/nothing",
        "/../Cargo.toml",
        "/%2e%2e/Cargo.toml",
        "//app.js/x",
        "/vendor",
        "/vendor/SHA256SUMS",
        "/.",
        "/%00",
    ] {
        let answer = ask(LOOPBACK, None, &format!("GET {path}"), "Host: localhost").await;
        assert_eq!(answer.status, 404, "{path}");
        answer.detail();
    }
    for path in ["/api/v1/nothing", "/api/v1/topics/T", "/api/v1/groups/G", "/metrics"] {
        let answer = ask(LOOPBACK, None, &format!("GET {path}"), "Host: localhost").await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND.as_u16(), "{path}");
        answer.detail();
    }
    let broken = ask(LOOPBACK, None, "GET /api/v1/topics/%ff", "Host: localhost").await;
    assert_eq!(broken.status, 400);
    broken.detail();
}
