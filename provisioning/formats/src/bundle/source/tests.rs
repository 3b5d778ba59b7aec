//! What `source` promises, tested.

use std::collections::BTreeMap;

use super::*;
use crate::{
    bundle::{
        Verified,
        body::Label,
        example::{ROOT, anchors, digest, full, label, signed},
    },
    genesis::{Ack, Answer},
    share::split::split,
};

const BUNDLE: &str = include_str!("../../../testdata/source/bundle.toml");
const HOST: &str = include_str!("../../../testdata/source/alpha.toml");
const IMAGES: &str = include_str!("../../../testdata/source/images.toml");

struct Sources {
    bundle: BundleSource,
    hosts: BTreeMap<Label, HostRecord>,
    images: ImagesSource,
    genesis: Genesis,
}

fn sources() -> Sources {
    let host = HostRecord::parse(HOST).unwrap();
    Sources {
        bundle: BundleSource::parse(BUNDLE).unwrap(),
        hosts: [(label("alpha"), host)].into(),
        images: ImagesSource::parse(IMAGES).unwrap(),
        genesis: Genesis::default(),
    }
}

impl Sources {
    fn compile(&self) -> Result<Compiled, Vec<Finding>> {
        compile(&Input {
            namespace: &label("example"),
            bundle: &self.bundle,
            hosts: &self.hosts,
            images: &self.images,
            genesis: &self.genesis,
        })
    }

    fn bundle(&self) -> Bundle {
        self.compile().unwrap().bundle
    }

    fn codes(&self) -> Vec<&'static str> {
        self.compile().unwrap_err().into_iter().map(|finding| finding.code).collect()
    }
}

fn codes(change: impl FnOnce(&mut Sources)) -> Vec<&'static str> {
    let mut sources = sources();
    change(&mut sources);
    sources.codes()
}

/// Verified as by the example's signers.
fn verified(bundle: &Bundle) -> Verified {
    let bytes = signed(bundle.encode(), &[0, 1]).encode().unwrap();
    Verified::verify(&bytes, &anchors()).unwrap()
}

/// What a box answers when `bundle` asks it, with all acknowledgements.
fn answer(bundle: &Bundle, root: &[u8; 32]) -> (Answer, Vec<Ack>) {
    let asked = bundle.root.asked().unwrap();
    let shares = split(root, &asked).unwrap();
    let acks = asked.custodians.iter().zip(&shares).map(|(custodian, share)| Ack {
        namespace: label("example"),
        generation: asked.generation,
        split: asked.split,
        custodian: custodian.name.clone(),
        ack: share.ack(),
    });
    let generation = u8::try_from(asked.generation).unwrap();
    let answer = Answer {
        bundle: bundle.digest(),
        generation: asked.generation,
        fingerprint: digest(&format!("root {generation}")),
        split: asked.split,
        commitments: shares.iter().map(crate::share::Share::commitment).collect(),
        authority: vec![0x30, generation],
        wrapped: (asked.fresh && generation > 1).then(|| vec![generation; 72]),
        shares: vec![vec![1]; shares.len()],
        ak_public: Vec::new(),
        pcrs: Vec::new(),
        attest: Vec::new(),
        signature: Vec::new(),
    };
    (answer, acks.collect())
}

impl Sources {
    /// Asks a box for what the present source asks for.
    fn perform_genesis(&mut self, root: &[u8; 32]) {
        let bundle = self.bundle();
        let (answer, acks) = answer(&bundle, root);
        self.genesis.answers.push((verified(&bundle), answer));
        self.genesis.acks.extend(acks);
    }
}

#[test]
fn an_expected_box_is_named_until_its_host_record_is_there() {
    let expected = "\n[[expected]]\nname = \"beta\"\n\
        network = { mac = \"52:54:00:00:00:02\", addresses = [\"10.0.0.8/24\"] }\n";
    let mut sources = sources();
    sources.bundle = BundleSource::parse(&format!("{BUNDLE}{expected}")).unwrap();
    let compiled = sources.compile().unwrap();
    assert_eq!(compiled.bundle.expected.len(), 1);
    assert!(compiled.notes.iter().any(|note| note.contains("beta is expected")));
    // It arrived.
    sources.hosts.insert(label("beta"), {
        let mut host = HostRecord::parse(HOST).unwrap();
        host.ek = crate::bundle::example::name("ek beta");
        host.ak = crate::bundle::example::name("ak beta");
        host.network.addresses = vec!["10.0.0.8/24".to_owned()];
        host
    });
    assert!(sources.bundle().expected.is_empty());
    sources.hosts.remove(&label("beta"));
    sources.bundle.expected[0].network.mac = None;
    assert_eq!(sources.codes(), ["out-of-range"]);
}

#[test]
fn a_gateway_outside_of_the_hosts_networks_is_found_before_anybody_signs() {
    let with = |gateway: &str| {
        let gateway = gateway.parse().unwrap();
        codes(|sources| {
            let host = sources.hosts.get_mut(&label("alpha")).unwrap();
            host.network.addresses = vec!["10.0.0.7/24".to_owned(), "fd00::7/64".to_owned()];
            host.network.gateways = vec![gateway];
        })
    };
    assert_eq!(with("10.0.1.1"), ["inconsistent"]);
    assert_eq!(with("fd00:1::1"), ["inconsistent"]);
    assert_eq!(with("10.0.0.7"), ["inconsistent"]);
    let mut sources = sources();
    let host = sources.hosts.get_mut(&label("alpha")).unwrap();
    host.network.addresses = vec!["10.0.0.7/24".to_owned(), "fd00::7/64".to_owned()];
    host.network.gateways = vec!["10.0.0.1".parse().unwrap(), "fe80::1".parse().unwrap()];
    sources.compile().unwrap();
}

#[test]
fn two_boxes_with_one_address_are_both_named_before_anybody_signs() {
    let mut sources = sources();
    let alpha = sources.hosts.get_mut(&label("alpha")).unwrap();
    alpha.network.addresses = vec!["10.0.0.7/24".to_owned()];
    alpha.network.gateways.clear();
    let expected = "\n[[expected]]\nname = \"beta\"\n\
        network = { mac = \"52:54:00:00:00:02\", addresses = [\"10.0.0.7/24\"] }\n";
    sources.bundle = BundleSource::parse(&format!("{BUNDLE}{expected}")).unwrap();
    let findings = sources.compile().unwrap_err();
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].place, "beta: network.addresses");
    assert_eq!(findings[0].found, "10.0.0.7, which is alpha's as well");
    // The expected box is its successor.
    sources.hosts.get_mut(&label("alpha")).unwrap().retired = true;
    sources.compile().unwrap();
}

#[test]
fn a_network_section_is_refused_under_its_own_name() {
    let mut sources = sources();
    let host = sources.hosts.get_mut(&label("alpha")).unwrap();
    host.network.mac = None;
    host.network.vlan = Some(4_095);
    host.network.addresses = vec!["10.0.0.7/24".to_owned()];
    host.network.gateways = vec!["10.0.0.1".parse().unwrap()];
    let findings = sources.compile().unwrap_err();
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].place, "hosts/alpha.toml: network");
    assert_eq!(findings[0].expected, "a VLAN id of 1 to 4094");
    let found = "vlan 4095, addresses [10.0.0.7/24], gateways [10.0.0.1]";
    assert_eq!(findings[0].found, found);
}

#[test]
fn the_golden_source_compiles_to_the_golden_body() {
    crate::bundle::example::golden("source/bundle.body", &sources().bundle().encode());
}

#[test]
fn the_order_of_the_source_does_not_matter() {
    let mut other = sources();
    other.bundle.keyring.reverse();
    other.bundle.client.reverse();
    other.bundle.keyring[0].context.reverse();
    assert_eq!(other.bundle(), sources().bundle());
}

#[test]
fn unknown_fields_are_refused_with_their_line() {
    let error = BundleSource::parse(&BUNDLE.replace("[service]", "[service]\nprot = 1"));
    assert!(error.unwrap_err().to_string().contains("unknown field `prot`"));
    assert!(HostRecord::parse(&format!("x = 1\n{HOST}")).is_err());
    assert!(SiteSource::parse("namespace = 'a'\nthreshold = 1\nsigners = []\nx = 1").is_err());
}

#[test]
fn what_is_wrong_is_said_by_name_and_all_at_once() {
    assert_eq!(codes(|s| s.bundle.issued = "yesterday".into()), ["out-of-range"]);
    assert_eq!(codes(|s| s.bundle.seq = 0), ["out-of-range"]);
    assert_eq!(codes(|s| s.bundle.service.port = 0), ["out-of-range"]);
    assert_eq!(codes(|s| s.bundle.keyring[0].name = "PII".into()), ["out-of-range"]);
    assert_eq!(codes(|s| s.bundle.keyring[0].subject = Some("x".into())), ["inconsistent"]);
    assert_eq!(codes(|s| s.bundle.keyring[0].versions.clear()), ["inconsistent"]);
    assert_eq!(codes(|s| s.bundle.client[0].keys[0] = "rails.pem".into()), ["out-of-range"]);
    assert_eq!(codes(|s| s.bundle.client[0].roles.push("admin".into())), ["reserved-role"]);
    assert_eq!(codes(|s| s.bundle.client[0].roles.push("encrypt".into())), ["reserved-role"]);
    assert_eq!(codes(|s| s.bundle.client[0].from.push("10.0.0.1".into())), ["out-of-range"]);
    assert_eq!(codes(|s| s.bundle.client[0].from.push("10.0.0.1/8".into())), ["out-of-range"]);
    assert_eq!(codes(|s| s.bundle.root.custodian[0].recipient.push('q')), ["out-of-range"]);
    assert_eq!(codes(|s| s.bundle.root.threshold = 4), ["inconsistent"]);
    assert_eq!(codes(|s| s.bundle.root.generation = 2), ["inconsistent"]);
    assert_eq!(
        codes(|s| s.bundle.audit = AuditSource { collectors_required: 0, overwrite: false }),
        ["inconsistent"]
    );
    assert_eq!(codes(|s| s.images.image.clear()), ["inconsistent"]);
    assert_eq!(
        codes(|s| {
            s.bundle.issued.clear();
            s.bundle.client[0].roles.push("admin".into());
            s.bundle.root.custodian[0].name = "Alice".into();
        }),
        ["out-of-range", "reserved-role", "out-of-range"]
    );
}

#[test]
fn tables_too_large_for_the_firmware_are_refused_before_anybody_signs() {
    let image = |s: &Sources| s.images.image[0].clone();
    assert_eq!(codes(|s| s.images.image = vec![image(s); 5]), ["table-too-large"]);
    let pcr7 = digest("x");
    assert_eq!(
        codes(|s| s.hosts.values_mut().for_each(|h| h.pcr7 = vec![pcr7; 3])),
        ["table-too-large"]
    );
    assert_eq!(
        codes(|s| s.bundle.client[0].from = vec!["10.0.0.0/8".into(); 9]),
        ["table-too-large"]
    );
    assert_eq!(
        codes(|s| {
            let one = s.bundle.client[0].clone();
            s.bundle.client = (0..1_001)
                .map(|n| ClientSource {
                    name: format!("c{n}"),
                    keys: vec![digest(&n.to_string()).to_string()],
                    ..one.clone()
                })
                .collect();
        }),
        ["table-too-large"]
    );
}

#[test]
fn a_first_root_stands_in_the_bundle_once_every_custodian_acknowledged() {
    let mut sources = sources();
    let asked = sources.bundle();
    assert!(asked.root.asked().is_some_and(|asked| asked.fresh));
    sources.perform_genesis(&ROOT);
    let late = sources.genesis.acks.pop().unwrap();
    let compiled = sources.compile().unwrap();
    assert_eq!(compiled.bundle, asked);
    assert!(compiled.notes.iter().any(|note| note.contains("missing: carol")));
    sources.genesis.acks.push(late);
    let root = sources.bundle().root;
    assert_eq!(root.asked(), None);
    let known = root.established.unwrap();
    assert_eq!((known.generation, known.serving, known.authorities.len()), (1, 1, 1));
}

#[test]
fn a_wrong_acknowledgement_is_refused_by_name() {
    let mut sources = sources();
    sources.perform_genesis(&ROOT);
    sources.genesis.acks[1].ack = digest("made up");
    assert_eq!(sources.codes(), ["wrong-ack"]);
}

#[test]
fn new_custodians_need_a_new_split_and_get_one() {
    let mut sources = sources();
    sources.perform_genesis(&ROOT);
    sources.bundle.root.custodian.pop();
    assert_eq!(sources.codes(), ["inconsistent"]);
    sources.bundle.root.split = 2;
    let asking = sources.bundle();
    let asked = asking.root.asked().unwrap();
    assert_eq!((asked.generation, asked.fresh, asked.custodians.len()), (1, false, 2));
    assert_eq!(asking.root.custodians.len(), 3, "the old shares stay valid until then");
    sources.perform_genesis(&ROOT);
    let root = sources.bundle().root;
    assert_eq!((root.split, root.custodians.len(), root.asked()), (2, 2, None));
}

#[test]
fn a_next_root_keeps_the_older_ones_and_their_authority_serving() {
    let mut sources = sources();
    sources.perform_genesis(&ROOT);
    (sources.bundle.root.generation, sources.bundle.root.split) = (2, 2);
    assert!(sources.bundle().root.asked().is_some_and(|asked| asked.fresh));
    sources.perform_genesis(&[8; 32]);
    let known = sources.bundle().root.established.unwrap();
    assert_eq!((known.generation, known.serving), (2, 1));
    assert_eq!((known.authorities.len(), known.wrapped.len()), (2, 1));
    sources.bundle.root.serving = 2;
    assert_eq!(sources.bundle().root.established.unwrap().serving, 2);
    sources.bundle.root.serving = 3;
    assert_eq!(sources.codes(), ["inconsistent"]);
}

#[test]
fn the_newest_signed_bundle_stands_for_answers_that_were_lost() {
    let mut sources = sources();
    sources.perform_genesis(&ROOT);
    let base = sources.bundle();
    sources.genesis = Genesis { base: Some(verified(&base)), ..Genesis::default() };
    assert_eq!(sources.bundle().root, base.root);
    (sources.bundle.root.generation, sources.bundle.root.split) = (3, 2);
    assert_eq!(sources.codes(), ["inconsistent"]);
}

#[test]
fn hosts_survive_their_text() {
    let host = HostRecord::parse(HOST).unwrap();
    assert_eq!(HostRecord::parse(&host.format().unwrap()).unwrap(), host);
}

#[test]
fn times_are_those_of_the_calendar() {
    for (text, seconds) in [
        ("1970-01-01T00:00:00Z", 0),
        ("2000-02-29T23:59:59Z", 951_868_799),
        ("2026-11-24T11:00:00Z", 1_795_518_000),
        ("2100-03-01T00:00:00Z", 4_107_542_400),
    ] {
        assert_eq!(parse_time(text), Some(seconds), "{text}");
        assert_eq!(format_time(seconds), text);
    }
    for text in [
        "2100-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-11-24 11:00:00Z",
        "",
        "0000-00-00T00:00:00Z",
        "1969-12-31T00:00:00Z",
    ] {
        assert_eq!(parse_time(text), None, "{text}");
    }
}

#[test]
fn a_difference_names_what_changed_and_nothing_else() {
    let older = full();
    let mut newer = full();
    newer.site.seq = 41;
    newer.service.clients[0].roles = crate::bundle::body::Roles::AUDIT;
    newer.hosts.pop();
    let lines = newer.difference(&older);
    assert!(lines.contains(&"- site.seq = 40".to_owned()));
    assert!(lines.contains(&"+ site.seq = 41".to_owned()));
    assert!(lines.contains(&"- service.clients[rails].roles = monitor".to_owned()));
    assert!(lines.contains(&"+ service.clients[rails].roles = audit".to_owned()));
    assert!(lines.iter().any(|line| line.starts_with("- hosts[beta].ek = ")));
    assert!(lines.iter().all(|line| !line.contains("alpha")));
    assert_eq!(older.difference(&older), Vec::<String>::new());
}

#[test]
fn signers_are_checked_by_name() {
    let keys: Vec<String> = (0..17)
        .map(|n| {
            let public = crate::bundle::example::Key::new(n).public();
            crate::bundle::armor::format_public_key(&public).unwrap()
        })
        .collect();
    let site = |threshold: u8, signers: &[String]| {
        SiteSource { namespace: "example".into(), threshold, signers: signers.to_vec() }
            .compile()
            .map_err(|findings| findings.into_iter().map(|f| f.code).collect::<Vec<_>>())
    };
    assert_eq!(site(2, &keys[..3]).unwrap().signers.len(), 3);
    assert_eq!(site(0, &keys[..3]), Err(vec!["out-of-range"]));
    assert_eq!(site(4, &keys[..3]), Err(vec!["out-of-range"]));
    assert_eq!(site(1, &keys), Err(vec!["table-too-large"]));
    assert_eq!(site(1, &[keys[0].clone(), keys[0].clone()]), Err(vec!["duplicate"]));
    assert_eq!(site(1, &["ssh-rsa AAAA".into()]), Err(vec!["out-of-range"]));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".{0,60}", at in 0_usize..2_000, with in ".{0,3}") {
        let mut changed = BUNDLE.to_owned();
        let at = (at % BUNDLE.len()..).find(|at| BUNDLE.is_char_boundary(*at)).unwrap();
        changed.insert_str(at, &with);
        let mut sources = sources();
        if let Ok(bundle) = BundleSource::parse(&changed) {
            sources.bundle = bundle;
            if let Ok(compiled) = sources.compile() {
                proptest::prop_assert!(Bundle::decode(&compiled.bundle.encode()).is_ok());
            }
        }
        let _ = (parse_time(&text), HostRecord::parse(&text), SiteSource::parse(&text));
    }
}
