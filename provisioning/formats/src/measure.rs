//! PCR and policy digests computed in software: what an image will measure, what a sealed blob
//! demands. One implementation for the image builder, the workstation and the firmware; all values
//! are SHA-256 (the bank that Casemate demands) and every formula names its clause.

use crate::{digest::Digest, limits};

/// PID 1 extends PCR 11 with this word once its posture is right; only now may a blob open.
pub const ENTER: &str = "enter-casemate";
/// PID 1 extends PCR 11 with this word before there is a network; nothing opens any more.
pub const LEAVE: &str = "leave-casemate";

/// The sections that systemd-stub 252 measures into PCR 11, in the order in which it does
/// (systemd v252 `src/fundamental/tpm-pcr.c`). `.pcrsig` is never measured.
pub const MEASURED_SECTIONS: [&str; 7] =
    [".linux", ".osrel", ".cmdline", ".initrd", ".splash", ".dtb", ".pcrpkey"];

/// PolicyPCR's selection: SHA-256 bank, PCRs 7, 11, 12, 13 (TPML_PCR_SELECTION, Part 2, 10.9.7).
const SELECTION: [u8; 10] = [0, 0, 0, 1, 0x00, 0x0b, 3, 0x80, 0x38, 0x00];
const CC_POLICY_NV: [u8; 4] = 0x0149_u32.to_be_bytes();
const CC_POLICY_OR: [u8; 4] = 0x0171_u32.to_be_bytes();
const CC_POLICY_PCR: [u8; 4] = 0x017f_u32.to_be_bytes();
/// TPM_EO_UNSIGNED_LE: the counter is lower than or equal to the label (Part 2, 6.8).
const UNSIGNED_LE: [u8; 2] = 0x0009_u16.to_be_bytes();

/// The PCR after TPM2_PCR_Extend with `digest` (Part 1, 17.2).
#[must_use]
pub fn extend(pcr: Digest, digest: Digest) -> Digest {
    hash(&[&pcr.0, &digest.0])
}

/// PCR 11 after a phase word: extended by the word's digest, without a NUL (as systemd-pcrphase).
#[must_use]
pub fn phase(pcr11: Digest, word: &str) -> Digest {
    extend(pcr11, Digest::sha256(word.as_bytes()))
}

/// PCR 11 as the stub leaves it for a UKI of these sections (name with its dot, and exactly the
/// `VirtualSize` bytes), before any phase word. Order of the argument does not matter; empty and
/// unmeasured sections count as absent.
#[must_use]
pub fn uki_pcr11(sections: &[(&str, &[u8])]) -> Digest {
    let mut pcr = Digest::ZERO;
    for name in MEASURED_SECTIONS {
        let found = sections.iter().find(|(n, data)| *n == name && !data.is_empty());
        if let Some((_, data)) = found {
            pcr = extend(pcr, hash(&[name.as_bytes(), &[0]]));
            pcr = extend(pcr, Digest::sha256(data));
        }
    }
    pcr
}

/// One branch of the seal policy: the session digest after PolicyPCR over PCRs 7, 11, 12, 13
/// (Part 3, 23.7), starting from a fresh session.
#[must_use]
pub fn branch(pcr7: Digest, pcr11: Digest, pcr12: Digest, pcr13: Digest) -> Digest {
    let values = hash(&[&pcr7.0, &pcr11.0, &pcr12.0, &pcr13.0]);
    hash(&[&Digest::ZERO.0, &CC_POLICY_PCR, &SELECTION, &values.0])
}

/// The session digest after PolicyOR (Part 3, 23.6). It takes two to eight digests, so a single
/// branch is listed twice; `None` for no branch or more than [`limits::BRANCHES`].
#[must_use]
pub fn policy_or(branches: &[Digest]) -> Option<Digest> {
    let doubled;
    let list = match branches {
        [] => return None,
        [single] => {
            doubled = [*single, *single];
            &doubled[..]
        }
        more if more.len() <= limits::BRANCHES => more,
        _ => return None,
    };
    let mut bytes = Digest::ZERO.0.to_vec();
    bytes.extend_from_slice(&CC_POLICY_OR);
    for digest in list {
        bytes.extend_from_slice(&digest.0);
    }
    Some(Digest::sha256(&bytes))
}

/// The session digest after PolicyNV "counter <= label" (Part 3, 23.9). `counter_name` is the
/// index's Name *after* its first increment: the WRITTEN attribute is part of it.
#[must_use]
pub fn policy_nv(policy: Digest, label: u64, counter_name: &[u8]) -> Digest {
    let offset = 0_u16.to_be_bytes();
    let arguments = hash(&[&label.to_be_bytes(), &offset, &UNSIGNED_LE]);
    hash(&[&policy.0, &CC_POLICY_NV, &arguments.0, counter_name])
}

/// The authPolicy of a sealed blob: PolicyOR over the branches, then PolicyNV (design, section 6).
#[must_use]
pub fn seal_policy(branches: &[Digest], label: u64, counter_name: &[u8]) -> Option<Digest> {
    policy_or(branches).map(|policy| policy_nv(policy, label, counter_name))
}

fn hash(parts: &[&[u8]]) -> Digest {
    Digest::sha256(&parts.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(byte: u8) -> Digest {
        Digest([byte; 32])
    }

    #[test]
    fn the_order_of_given_sections_does_not_change_pcr_11_but_their_content_does() {
        let one = uki_pcr11(&[(".linux", b"kernel"), (".initrd", b"root")]);
        assert_eq!(one, uki_pcr11(&[(".initrd", b"root"), (".linux", b"kernel")]));
        assert_ne!(one, uki_pcr11(&[(".linux", b"kernel"), (".initrd", b"Root")]));
        assert_ne!(one, uki_pcr11(&[(".linux", b"kernel"), (".osrel", b"root")]));
    }

    #[test]
    fn empty_and_unmeasured_sections_count_as_absent() {
        let one = uki_pcr11(&[(".linux", b"kernel")]);
        let sections: [(&str, &[u8]); 3] =
            [(".linux", b"kernel"), (".splash", b""), (".pcrsig", b"{}")];
        assert_eq!(one, uki_pcr11(&sections));
    }

    #[test]
    fn a_single_branch_is_listed_twice_and_nine_are_refused() {
        assert_eq!(policy_or(&[filled(1)]), policy_or(&[filled(1), filled(1)]));
        assert_eq!(policy_or(&[]), None);
        assert_eq!(policy_or(&[filled(1); 9]), None);
        assert!(policy_or(&[filled(1); 8]).is_some());
    }

    /// Values of a TPM (swtpm 0.7 by tpm2-tools 5.4): PCRs 7 and 11 extended once, PolicyPCR,
    /// PolicyOR with the branch twice, PolicyNV `ule` 42 on a counter incremented once.
    #[test]
    fn digests_are_those_of_a_tpm() {
        let value = |text: &str| Digest::parse(text).unwrap();
        let pcr7 = extend(Digest::ZERO, filled(0xaa));
        let pcr11 = extend(Digest::ZERO, filled(0xbb));
        assert_eq!(
            pcr11,
            value("86bfbce7f88e77dab6bbfb923bb70e2411d374dc658db751c9bdec438f5cce54")
        );
        let branch = branch(pcr7, pcr11, Digest::ZERO, Digest::ZERO);
        assert_eq!(
            branch,
            value("f0868bf8b5a1134193d091451ad0f8d83723044378f629252e94cd4488312712")
        );
        assert_eq!(
            policy_or(&[branch]),
            Some(value("14b0580546f952e09e6ffdd36787f14f1c7866f872c8e69f8368813b5c41f563"))
        );
        let name = crate::digest::parse_hex(
            b"000bc60fb0d741663472deb3fad6314c6f335a258a5743c522688659ead75630b6b3",
        );
        assert_eq!(
            seal_policy(&[branch], 42, &name.unwrap()),
            Some(value("deaf73b77280a7507a9ec3480667af296277e89d9fb99ce60d881e56ae32e8b7"))
        );
    }

    #[test]
    fn every_argument_of_a_policy_changes_it() {
        let name = [0_u8, 0x0b, 7];
        let base = seal_policy(&[filled(1)], 5, &name);
        assert_ne!(base, seal_policy(&[filled(2)], 5, &name));
        assert_ne!(base, seal_policy(&[filled(1)], 6, &name));
        assert_ne!(base, seal_policy(&[filled(1)], 5, &[0, 0x0b, 8]));
        let one = branch(filled(7), filled(11), Digest::ZERO, Digest::ZERO);
        assert_ne!(one, branch(filled(7), filled(11), filled(1), Digest::ZERO));
        assert_ne!(one, branch(filled(7), filled(11), Digest::ZERO, filled(1)));
    }
}
