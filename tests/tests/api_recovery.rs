//! A fleet that loses things and has them back, over the port: Forward to a box that proves what it
//! runs, shares where nobody is left, a next root on every box, and what is refused on the way.
#![allow(clippy::unwrap_used)] // a helper of a test may end it

use std::sync::Arc;

use casemate_formats::{
    api::{Blocks, Forwarded, SharesTaken, Status},
    audit::record::{Event, Record},
    bundle::Bundle,
    digest::Digest,
    efi::{boot_entry::Esp, variable::IMAGE_SECURITY},
    share::seal::Contents,
};
use casemate_tests::{
    calls::{decrypt, encrypt, plaintext},
    client::Answer,
    esps::Esps,
    firmware_log::Event as LogEvent,
    host::{Host, Options, Until},
    life::acknowledged,
    recovery::{Shares, again, asking, named},
    remote::Remote,
};

const VALUE: &[u8] = b"kept through everything";

fn code(answer: &Answer) -> String {
    answer.code().unwrap()
}

/// An Operational box, its custodians' shares, and a token.
fn one() -> (Host, Shares, String) {
    let mut host = Host::with(Options { until: Until::Locked, ..Options::default() }).unwrap();
    let answer = host.genesis_answer().unwrap();
    let mut bundle = again(host.bundle.as_ref().unwrap());
    bundle.root.established = Some(acknowledged(&host.site, &answer, None).unwrap());
    assert_eq!(host.accept(bundle).unwrap().outcome, "entered");
    let shares = Shares::of(&host.site, &answer).unwrap();
    let token = encrypted(&host);
    (host, shares, token)
}

/// A second box of the same site, listed on both, without the root.
fn with_second(first: &mut Host, change: impl FnOnce(&mut Bundle)) -> Host {
    let joins = Some(("box2", Arc::clone(&first.site)));
    let mut second = Host::with(Options { joins, ..Options::default() }).unwrap();
    let mut bundle = again(first.bundle.as_ref().unwrap());
    bundle.hosts.push(second.record().unwrap());
    change(&mut bundle);
    first.accept(bundle.clone()).unwrap();
    assert_eq!(second.accept(bundle).unwrap().phase, "locked");
    second
}

fn encrypted(host: &Remote) -> String {
    let mut web = host.client("web").unwrap().connect().unwrap();
    encrypt(&mut web, "1", VALUE).unwrap()
}

fn decrypts(host: &Remote, token: &str) {
    let mut web = host.client("web").unwrap().connect().unwrap();
    assert_eq!(plaintext(&decrypt(&mut web, "1", token).unwrap()).unwrap(), VALUE);
}

fn is_closed(host: &Remote, token: &str) {
    let mut web = host.believer("web").unwrap().connect().unwrap();
    assert_eq!(code(&decrypt(&mut web, "1", token).unwrap()), "not-operational");
}

fn forward(from: &Host, to: &Host) -> Forwarded {
    from.forward(to.name, to.request().unwrap()).unwrap().ok().unwrap()
}

fn two(host: &Remote, shares: &Shares) -> SharesTaken {
    let sealed = [0, 2].map(|who| host.seal(&Contents::Share(shares.share(who))).unwrap());
    host.bring(sealed.into()).unwrap().ok().unwrap()
}

/// Everything that a collector gets until it has seen what `wanted` says.
fn recorded(host: &Remote, wanted: impl Fn(&Event) -> bool) -> bool {
    let audit = host.client("audit").unwrap();
    let mut from = 0;
    for _ in 0..20 {
        let path = format!("/v1/audit/blocks?from={from}&wait=3");
        let blocks: Blocks = audit.get(&path).unwrap().ok().unwrap();
        for block in blocks.blocks {
            from = block.number + 1;
            let records = Record::decode_all(&block.records).unwrap();
            if records.iter().any(|record| wanted(&record.event)) {
                return true;
            }
        }
    }
    false
}

fn origin(host: &Remote) -> String {
    let status: Status = host.client("operate").unwrap().get("/v1/status").unwrap().ok().unwrap();
    status.audit.origin.unwrap()
}

#[test]
fn a_second_box_gets_the_root_by_forward_and_decrypts_the_firsts_tokens() {
    let (mut first, _, token) = one();
    let mut second = with_second(&mut first, |_| {});
    is_closed(&second, &token);
    let forwarded = forward(&first, &second);
    assert!(!forwarded.pending);
    let boot = forwarded.message.boot;
    let taken: SharesTaken = second.bring(vec![forwarded.message]).unwrap().ok().unwrap();
    assert_eq!((taken.phase.as_str(), taken.held, taken.refused.len()), ("operational", 0, 0));
    decrypts(&second, &token);
    second.reboot().unwrap();
    decrypts(&second, &token);
    assert!(recorded(&first, |event| matches!(
        event,
        Event::Forwarded { host, boot: to, pending: false } if host.as_str() == "box2" && *to == boot
    )));
    assert!(recorded(&second, |event| matches!(
        event,
        Event::RootBrought { by, generation: 1, pending: false } if by.as_str() == "forward"
    )));
}

#[test]
fn the_root_goes_to_no_box_that_does_not_prove_what_it_runs() {
    let (mut first, _, _) = one();
    let mut second = with_second(&mut first, |_| {});
    let refused = |to: &str, request| code(&first.forward(to, request).unwrap());
    let request = second.request().unwrap();
    assert_eq!(refused("box1", first.request().unwrap()), "same-box");
    assert_eq!(refused("box3", request.clone()), "not-listed");
    assert_eq!(refused("Box 2", request.clone()), "not-listed");
    assert_eq!(refused("box2", first.request().unwrap()), "host-mismatch", "another's request");
    let mut altered = request.clone();
    altered.claims.hpke_key.0[0] ^= 1;
    assert_eq!(refused("box2", altered), "quote-content", "an attacker's key in it");
    let mut other = request.clone();
    other.nonce[0] ^= 1;
    assert_eq!(refused("box2", other), "quote-content");
    // Who may not operate, and from a box that is not open.
    let body = serde_json::json!({ "host": "box2" }).to_string();
    let answer = first.client("web").unwrap().post("/v1/forward", body.as_bytes()).unwrap();
    assert_eq!(code(&answer), "not-permitted");
    assert_eq!(code(&second.forward("box1", first.request().unwrap()).unwrap()), "wrong-phase");

    // PCR 7 is another one than the record's; then something else was started first.
    second.update_firmware(|log| {
        let empty = LogEvent::variable("dbx", &IMAGE_SECURITY, b"");
        let at = log.events.iter().position(|event| *event == empty).expect("a dbx");
        log.events[at] = LogEvent::variable("dbx", &IMAGE_SECURITY, b"revocations");
    });
    second.reboot().unwrap();
    assert_eq!(refused("box2", second.request().unwrap()), "host-mismatch");
    second.update_firmware(|log| {
        log.events.insert(0, LogEvent::application(Digest::sha256(b"a boot kit")));
    });
    second.reboot().unwrap();
    assert_eq!(refused("box2", second.request().unwrap()), "boot-application");
    second.update_firmware(|_| {});
    second.reboot().unwrap();

    // Another bundle is in force there: before, and after.
    let next = again(first.bundle.as_ref().unwrap());
    first.accept(next.clone()).unwrap();
    let refused = |to: &str, request| code(&first.forward(to, request).unwrap());
    assert_eq!(refused("box2", second.request().unwrap()), "wrong-bundle");
    second.accept(next.clone()).unwrap();
    let stale = forward(&first, &second);
    // An old boot's envelope opens nothing at a later one.
    second.reboot().unwrap();
    let taken: SharesTaken = second.bring(vec![stale.message]).unwrap().ok().unwrap();
    assert_eq!((taken.phase.as_str(), taken.refused[0].code.as_str()), ("locked", "wrong-boot"));
    // A retired one gets nothing.
    let mut retiring = again(&next);
    retiring.hosts[1].retired = true;
    first.accept(retiring).unwrap();
    let answer = first.forward("box2", second.request().unwrap()).unwrap();
    assert_eq!(code(&answer), "retired");
}

#[test]
fn the_root_goes_to_no_box_whose_image_is_not_listed() {
    let (mut first, _, _) = one();
    let esps = Esps::new().unwrap();
    let joins = Some(("box2", Arc::clone(&first.site)));
    let options = Options { joins, esps: Some(Arc::clone(&esps)), ..Options::default() };
    let mut second = Host::with(options).unwrap();
    let mut bundle = again(first.bundle.as_ref().unwrap());
    bundle.hosts.push(second.record().unwrap());
    first.accept(bundle).unwrap();
    // Its disk gets another image: signed by the site, old or new, in no bundle.
    for esp in [Esp::A, Esp::B] {
        esps.put(esp, 2).unwrap();
    }
    second.reboot().unwrap();
    let refused = first.forward("box2", second.request().unwrap()).unwrap();
    assert_eq!(code(&refused), "image-not-listed");
}

#[test]
fn all_lost_comes_back_with_two_shares_and_a_new_log_names_the_old_one() {
    let (mut host, shares, token) = one();
    let before = origin(&host);
    host.lose(true, false).unwrap();
    is_closed(&host, &token);
    // What is no such body changes nothing.
    let believer = host.believer("web").unwrap();
    for body in [&b"{}"[..], b"{\"messages\":[]}", b"{\"messages\":[{}]}", b"[", b""] {
        let answer = believer.post("/v1/shares", body).unwrap();
        assert_eq!(code(&answer), "malformed-request", "{body:?}");
    }
    let large = vec![b' '; 17 * 1024];
    assert_eq!(code(&believer.post("/v1/shares", &large).unwrap()), "body-too-large");
    assert_eq!(two(&host, &shares).phase, "operational");
    decrypts(&host, &token);
    assert_ne!(origin(&host), before, "the counter that vouched for the old log is gone");
    assert!(recorded(&host, |event| matches!(
        event,
        Event::RootBrought { by, .. } if by.as_str() == "shares"
    )));
    host.reboot().unwrap();
    decrypts(&host, &token);

    // The disk as well: the bundle first, then the shares.
    host.lose(true, true).unwrap();
    let bundle = host.bundle.clone().unwrap();
    assert_eq!(code(&host.bring(vec![]).unwrap()), "wrong-phase");
    assert_eq!(host.accept(bundle).unwrap().phase, "locked");
    assert_eq!(two(&host, &shares).phase, "operational");
    decrypts(&host, &token);
    host.reboot().unwrap();
    decrypts(&host, &token);
}

#[test]
fn a_box_that_keeps_nothing_takes_the_root_at_every_boot_and_continues_its_log() {
    let (mut first, shares, token) = one();
    let mut second = with_second(&mut first, |bundle| bundle.hosts[1].sealed = false);
    let mut log = None;
    for round in 0..3 {
        is_closed(&second, &token);
        if round == 1 {
            assert_eq!(two(&second, &shares).phase, "operational");
        } else {
            second.bring(vec![forward(&first, &second).message]).unwrap();
        }
        decrypts(&second, &token);
        let now = origin(&second);
        assert_eq!(*log.get_or_insert_with(|| now.clone()), now, "its log is continued");
        second.reboot().unwrap();
    }
}

#[test]
fn a_next_root_reaches_every_box_and_old_tokens_decrypt() {
    let (mut first, old_shares, token) = one();
    let mut second = with_second(&mut first, |_| {});
    second.bring(vec![forward(&first, &second).message]).unwrap();
    let log = origin(&second);
    let asking = asking(first.bundle.as_ref().unwrap(), true, 2);
    for host in [&mut first, &mut second] {
        assert_eq!(host.accept(asking.clone()).unwrap().outcome, "in-force");
    }
    let answer = first.genesis_answer().unwrap();
    assert!(answer.wrapped.is_some());
    let named = named(&first.site, &asking, &answer).unwrap();
    let push = |host: &Remote, bundle: &Bundle| host.push(&host.site.sign(bundle).unwrap());
    // Without every acknowledgement, and on a box that does not hold it: refused, and it goes on.
    let mut unacknowledged = named.clone();
    unacknowledged.root.established.as_mut().unwrap().acks.pop();
    let refused = push(&first, &unacknowledged).unwrap_err().to_string();
    assert!(refused.contains("missing-ack"), "{refused}");
    let refused = push(&second, &named).unwrap_err().to_string();
    assert!(refused.contains("root-not-held"), "{refused}");
    decrypts(&second, &token);
    // The pending root goes to every live box first.
    let forwarded = forward(&first, &second);
    assert!(forwarded.pending);
    let taken: SharesTaken = second.bring(vec![forwarded.message]).unwrap().ok().unwrap();
    assert_eq!((taken.phase.as_str(), taken.refused.len()), ("operational", 0));
    assert!(recorded(&second, |event| matches!(event, Event::PendingBrought { generation: 1 })));
    for host in [&mut first, &mut second] {
        assert_eq!(host.accept(named.clone()).unwrap().outcome, "in-force");
        decrypts(host, &token);
    }
    // The keyring rotates to the new generation, then the CA moves: each by a bundle of its own.
    let mut rotated = again(&named);
    for keyring in &mut rotated.service.keyrings {
        keyring.versions.push(2);
    }
    let mut moved = again(&rotated);
    moved.root.established.as_mut().unwrap().serving = 2;
    for host in [&mut first, &mut second] {
        host.accept(rotated.clone()).unwrap();
        decrypts(host, &token);
        assert!(encrypted(host).starts_with("cm1.pii.2."));
        let authority = host.authority().unwrap().to_vec();
        host.accept(moved.clone()).unwrap();
        decrypts(host, &token);
        assert_eq!(host.authority().unwrap(), answer.authority);
        assert_ne!(host.authority().unwrap(), authority);
        host.reboot().unwrap();
        decrypts(host, &token);
    }
    assert_ne!(origin(&second), log, "a new generation has a new log");
    // Lost now: the new shares open everything, the old ones nothing.
    second.lose(true, true).unwrap();
    second.accept(moved).unwrap();
    let old = second.seal(&Contents::Share(old_shares.share(0))).unwrap();
    let taken: SharesTaken = second.bring(vec![old]).unwrap().ok().unwrap();
    assert_eq!(taken.refused[0].code, "wrong-share");
    let shares = Shares::of(&first.site, &answer).unwrap();
    assert_eq!(two(&second, &shares).phase, "operational");
    decrypts(&second, &token);
}
