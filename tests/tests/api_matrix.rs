//! Every route in every phase by every kind of caller, over the socket: the answer is what the table
//! says. The calls are made from the table, so a new line in it is tested from its first day.

use casemate_core::{
    phase::{Phase, Reason},
    routes::{Caller, Endpoint, Method, Route, TABLE},
};
use casemate_formats::{bundle::body::Roles, code::Code};
use casemate_tests::{
    client::Client,
    host::{Host, Options, Until},
    site::CLIENTS,
};

/// What a call says first that got past route, phase and caller.
const ADMITTED: &str = "admitted";

#[test]
fn routes_open_and_close_as_the_table_says() {
    for (until, phase) in [
        (Until::Unprovisioned, Phase::Unprovisioned),
        (Until::Locked, Phase::Locked(Reason::NoRoot)),
        (Until::Operational, Phase::Operational),
    ] {
        let host = Host::with(Options { until, ..Options::default() }).expect("a box");
        let listed = CLIENTS.map(|(name, roles, pii, notes)| {
            // Before the first bundle nobody is listed; `far` never calls from where it may.
            let roles = roles.union(pii).union(notes);
            let known = match (until, name) {
                (Until::Unprovisioned, _) => Known::No(Code::UntrustedClient),
                (_, "far") => Known::No(Code::WrongSource),
                _ => Known::As(roles),
            };
            (name, host.client(name).expect("a client"), known)
        });
        let others = [
            ("nobody", host.nobody().expect("a client"), Known::No(Code::NoClientCertificate)),
            ("stranger", host.stranger().expect("a client"), Known::No(Code::UntrustedClient)),
        ];
        for (name, client, known) in listed.iter().chain(&others) {
            for route in TABLE {
                let expected = expected(route, phase, known);
                let got = outcome(client, route);
                let (method, path) = (route.method.as_str(), route.path);
                assert_eq!(got, expected, "{method} {path} by {name}, {phase}");
            }
        }
    }
}

/// What the box knows of a caller.
enum Known {
    As(Roles),
    No(Code),
}

fn expected(route: &Route, phase: Phase, known: &Known) -> &'static str {
    if let Some(code) = route.closed_in(phase) {
        return code.slug();
    }
    match (route.caller, known) {
        (Caller::Anyone, _) | (Caller::Listed, Known::As(_)) => ADMITTED,
        (Caller::Role(wanted), Known::As(roles)) if wanted.0 & roles.0 != 0 => ADMITTED,
        (_, Known::As(_)) => Code::NotPermitted.slug(),
        (_, Known::No(code)) => code.slug(),
    }
}

/// Calls a route with a body that is admitted and then refused for what it is, so that a matrix leaves
/// the box as it was.
fn outcome(client: &Client, route: &Route) -> String {
    let kind = match route.endpoint {
        Endpoint::BundlePost | Endpoint::ImagePut => "application/octet-stream",
        _ => "application/json",
    };
    let (headers, body): (&[_], Option<&[u8]>) = match route.method {
        Method::Get => (&[], None),
        Method::Post | Method::Put => (&[("Content-Type", kind)], Some(b"?")),
    };
    let mut connection = client.connect().expect("a connection");
    let answer = connection.send(route.method.as_str(), route.path, headers, body);
    let answer = answer.expect("an answer");
    let code = match route.endpoint {
        // Health is its own document.
        Endpoint::Livez | Endpoint::Readyz => "ok".to_owned(),
        _ => answer.code().expect("a sound problem document"),
    };
    let past = match route.endpoint {
        Endpoint::BundlePost => code == Code::MalformedBundle.slug(),
        Endpoint::ImagePut => code == Code::ImageLength.slug(),
        _ => code == "ok" || code == Code::MalformedRequest.slug(),
    };
    if past { ADMITTED.to_owned() } else { code }
}
