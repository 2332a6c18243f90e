//! Keeps web pages of other origins from reading or driving the server, and sets the headers every answer has.
//!
//! A page on the internet can make a browser send requests to 127.0.0.1. Three checks stop it: the Host must be
//! a name that cannot be a foreign page's own (DNS rebinding), the Origin and `Sec-Fetch-Site` must be ours, and a
//! request that changes something must be JSON, which no HTML form can send. Programs that are no browsers pass
//! without noticing. There is no login here.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderName, ORIGIN, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::assets::IMPORT_MAP_SHA256;
use super::problem::Problem;

/// Answered under any name: they say only "alive" and "ready", and probes choose their own Host.
const UNDER_ANY_NAME: [&str; 2] = ["/healthz", "/readyz"];

/// The names under which the server may be asked.
#[derive(Clone, Debug)]
pub(super) struct Names {
    /// Address that the socket is bound to.
    pub(super) bound: IpAddr,
    /// Host given with `--advertise`.
    pub(super) advertised: Option<String>,
}

impl Names {
    /// Says whether a page under this host can only be our own.
    ///
    /// Loopback, the bound address and the advertised host are. When the server listens to more than loopback,
    /// so are all its addresses (as seen through a port map they are not known here, but no address is a name
    /// that a foreign page could have been loaded under), and names without a dot, which no public page has.
    fn are_ours(&self, host: &str) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
        let equals = |name: &str| host.eq_ignore_ascii_case(name);
        let reachable = !self.bound.is_loopback();
        if let Ok(address) = host.parse::<IpAddr>() {
            let address = address.to_canonical();
            let advertised = self.advertised.as_deref().is_some_and(|name| name.parse() == Ok(address));
            return address.is_loopback() || address == self.bound || advertised || reachable;
        }
        let local = equals("localhost") || host.to_ascii_lowercase().ends_with(".localhost");
        let plain = reachable && !host.is_empty() && !host.contains('.');
        local || plain || self.advertised.as_deref().is_some_and(equals)
    }
}

/// Checks a request, runs it, and sets the headers that every answer has.
pub(super) async fn guard(State(names): State<Names>, request: Request, next: Next) -> Response {
    let mut response = match check(&names, &request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    let headers = response.headers_mut();
    let policy = format!(
        "default-src 'self'; script-src 'self' 'sha256-{IMPORT_MAP_SHA256}'; object-src 'none'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'"
    );
    let policy = HeaderValue::from_str(&policy).expect("the policy is plain ASCII");
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    for (name, value) in [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn check(names: &Names, request: &Request) -> Result<(), Problem> {
    if UNDER_ANY_NAME.contains(&request.uri().path()) && *request.method() == Method::GET {
        return Ok(());
    }
    let headers = request.headers();
    let host = own_host(names, request)?;
    if headers.contains_key(ORIGIN) && !is_own_origin(headers, &host) {
        let detail = "this request comes from a page of another origin";
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    let word = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap_or("?"));
    let foreign = !matches!(word("sec-fetch-site"), "" | "same-origin" | "none");
    if foreign && word("sec-fetch-mode") != "navigate" {
        let detail = "this request comes from a page of another site";
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    let changes = !request.method().is_safe();
    if changes && foreign {
        let detail = "a page of another site may not change anything here";
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    if changes && !is_json(headers) {
        let detail = "send Content-Type: application/json; without it nothing is changed";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    Ok(())
}

/// Returns the request's host and port, if it has exactly one and the host is ours.
fn own_host(names: &Names, request: &Request) -> Result<Authority, Problem> {
    let unclear = || Problem::new(StatusCode::BAD_REQUEST, "the request needs one Host header");
    let mut hosts = request.headers().get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return Err(unclear()) };
    let host = host.to_str().ok().and_then(|text| text.parse::<Authority>().ok()).ok_or_else(unclear)?;
    // An absolute request target outranks the header, so that one must be ours as well.
    for authority in request.uri().authority().into_iter().chain([&host]) {
        if !names.are_ours(authority.host()) {
            let detail = format!(
                "this server does not answer as {}; use localhost or its IP address, or name it with --advertise",
                authority.host()
            );
            return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, detail));
        }
    }
    Ok(host)
}

fn is_own_origin(headers: &HeaderMap, host: &Authority) -> bool {
    let mut origins = headers.get_all(ORIGIN).iter();
    let (Some(origin), None) = (origins.next(), origins.next()) else { return false };
    let origin = origin.to_str().unwrap_or_default();
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host.as_str()))
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}
