//! What `seal` promises, tested.

use super::*;
use crate::bundle::example::{Counted, ROOT, digest, full, golden};

fn share() -> Share {
    Share::from_bytes(&[3; SHARE_BYTES]).unwrap()
}

fn is_the_share(contents: &Contents) -> bool {
    matches!(contents, Contents::Share(it) if it.expose_bytes() == share().expose_bytes())
}

fn with<T>(use_it: impl FnOnce(Binding<'_>) -> T) -> T {
    let bundle = full();
    use_it(Binding {
        namespace: &bundle.site.namespace,
        root_section: bundle.root_digest(),
        ek: &bundle.hosts[0].ek,
        bundle: bundle.digest(),
    })
}

#[test]
fn what_is_sealed_to_a_boot_opens_there() {
    let boot = BootKey::generate(&mut Counted(1));
    with(|binding| {
        let mut rng = Counted(50);
        let message = seal(&boot.public(), &binding, &Contents::Share(share()), &mut rng).unwrap();
        golden("share/sealed.hpke", &message);
        assert!(is_the_share(&open(&boot, &binding, &message).unwrap()));
    });
}

#[test]
fn a_root_and_a_pending_one_travel_in_the_same_format() {
    let boot = BootKey::generate(&mut Counted(1));
    with(|binding| {
        for next in [None, Some([8; 32])] {
            let contents =
                Contents::Root { root: Zeroizing::new(ROOT), pending: next.map(Zeroizing::new) };
            let message = seal(&boot.public(), &binding, &contents, &mut Counted(2)).unwrap();
            let Contents::Root { root, pending } = open(&boot, &binding, &message).unwrap() else {
                panic!("a share");
            };
            assert!(*root == ROOT && pending.map(|p| *p) == next);
        }
    });
}

#[test]
fn another_boot_site_root_section_box_or_bundle_cannot_open_it() {
    let boot = BootKey::generate(&mut Counted(1));
    let bundle = full();
    with(|binding| {
        let contents = Contents::Share(share());
        let message = seal(&boot.public(), &binding, &contents, &mut Counted(2)).unwrap();
        let refused = |key: &BootKey, binding: Binding<'_>, message: &[u8]| {
            assert!(matches!(open(key, &binding, message), Err(SealError::Foreign)));
        };
        refused(&BootKey::generate(&mut Counted(99)), binding.clone(), &message);
        let other = Label::parse("other").unwrap();
        refused(&boot, Binding { namespace: &other, ..binding.clone() }, &message);
        refused(&boot, Binding { root_section: digest("x"), ..binding.clone() }, &message);
        refused(&boot, Binding { ek: &bundle.hosts[1].ek, ..binding.clone() }, &message);
        refused(&boot, Binding { bundle: digest("x"), ..binding.clone() }, &message);
        for at in 0..message.len() {
            let mut changed = message.clone();
            changed[at] ^= 1;
            refused(&boot, binding.clone(), &changed);
            refused(&boot, binding.clone(), &message[..at]);
        }
    });
}

#[test]
fn contents_of_another_format_kind_or_length_are_refused() {
    let good = encode(&Contents::Share(share()));
    assert!(is_the_share(&decode(&good).unwrap()));
    let mut version = good.to_vec();
    version[1] = 2;
    let mut kind = good.to_vec();
    kind[2] = 4;
    let longer = [good.as_slice(), &[0]].concat();
    for bad in [&version[..], &kind, &longer, &good[..10], &[]] {
        assert!(matches!(decode(bad), Err(SealError::Contents)));
    }
}
