//! What somebody on the TPM's bus sees: nothing that is secret, also after the TPM refused something.
#![allow(clippy::unwrap_used)] // a helper of a test may end it

use casemate_appliance::tpm::{Counter, SealPolicy, Tpm};
use casemate_formats::{bundle::body::EkTemplate, digest::Digest, measure};
use casemate_tests::{
    credential::credential,
    life::{Measured, Rig, establish},
    power::Power,
    swtpm::SoftTpm,
    tpm_proxy::{Exchange, TpmProxy},
};
use tss_esapi::{
    Context, TctiNameConf,
    attributes::ObjectAttributesBuilder,
    interface_types::{
        algorithm::{HashingAlgorithm, PublicAlgorithm},
        ecc::EccCurve,
        reserved_handles::Hierarchy,
        session_handles::AuthSession,
    },
    structures::{
        Digest as TpmDigest, EccPoint, KeyedHashScheme, Public, PublicEccParametersBuilder,
        PublicKeyedHashParameters, SensitiveData, SymmetricDefinitionObject,
    },
};
use zeroize::Zeroizing;

const CREATE: u32 = 0x153;
const LOAD: u32 = 0x157;
const UNSEAL: u32 = 0x15e;
const GET_RANDOM: u32 = 0x17b;
const ACTIVATE_CREDENTIAL: u32 = 0x147;
const CREATE_PRIMARY: u32 = 0x131;
const START_AUTH_SESSION: u32 = 0x176;

/// Whether any 12 bytes in a row of `secret` stand in a command or an answer.
fn stands_in(exchanges: &[Exchange], secret: &[u8]) -> bool {
    exchanges.iter().flat_map(|exchange| [&exchange.command, &exchange.answer]).any(|message| {
        secret.windows(12).any(|part| message.windows(12).any(|window| window == part))
    })
}

/// The union of the sessions' attributes of a command with one handle.
fn attributes(exchange: &Exchange, handles: usize) -> u8 {
    let command = &exchange.command;
    if command[..2] != [0x80, 0x02] {
        return 0;
    }
    let mut at = 10 + 4 * handles;
    let size = u32::from_be_bytes(command[at..at + 4].try_into().unwrap());
    at += 4;
    let end = at + usize::try_from(size).unwrap();
    let mut union = 0;
    while at < end {
        let nonce = usize::from(u16::from_be_bytes([command[at + 4], command[at + 5]]));
        at += 6 + nonce;
        union |= command[at];
        let hmac = usize::from(u16::from_be_bytes([command[at + 1], command[at + 2]]));
        at += 3 + hmac;
    }
    union
}

/// Every command that carries a secret did so under a session that encrypts it.
fn all_encrypted(exchanges: &[Exchange]) -> usize {
    const DECRYPT: u8 = 1 << 5;
    const ENCRYPT: u8 = 1 << 6;
    let mut checked = 0;
    for exchange in exchanges {
        let (handles, expected) = match exchange.code() {
            CREATE | LOAD => (1, DECRYPT | ENCRYPT),
            UNSEAL => (1, ENCRYPT),
            GET_RANDOM => (0, ENCRYPT),
            ACTIVATE_CREDENTIAL => (2, DECRYPT | ENCRYPT),
            _ => continue,
        };
        let found = attributes(exchange, handles);
        assert_eq!(found & (DECRYPT | ENCRYPT), expected, "command {:#x}", exchange.code());
        checked += 1;
    }
    checked
}

#[test]
fn no_secret_private_blob_or_random_is_in_clear_even_after_refusals() {
    for template in [EkTemplate::P256, EkTemplate::P384] {
        let soft = SoftTpm::blank().unwrap();
        let proxy = TpmProxy::start(soft.folder(), &soft.socket(), &Power::default()).unwrap();
        let tpm = Tpm::open(&proxy.tcti(), Some(template)).unwrap();
        let mut secrets: Vec<Vec<u8>> = Vec::new();
        for round in 0..3_u8 {
            let label = tpm.define_counter(Counter::Seal).unwrap();
            let pcrs = tpm.pcrs().unwrap();
            let now = measure::branch(pcrs[7], pcrs[11], pcrs[12], pcrs[13]);
            let policy = SealPolicy { branches: vec![now], label };
            let secret: Vec<u8> = (0..64_u8).map(|n| n.wrapping_mul(37) ^ round).collect();
            let blob = tpm.seal(Zeroizing::new(secret.clone()), &policy).unwrap();
            assert_eq!(*tpm.unseal(&blob, &policy).unwrap(), secret);
            let random = tpm.random(64).unwrap();

            // Refusals of every kind in between: at PolicyOR, at PolicyNV, at Load, at NV_Increment.
            let other = SealPolicy { branches: vec![Digest::ZERO], label };
            let unsatisfied = tpm.seal(Zeroizing::new(secret.clone()), &other).unwrap();
            tpm.unseal(&unsatisfied, &other).unwrap_err();
            let mut damaged = blob.clone();
            *damaged.private.last_mut().unwrap() ^= 1;
            tpm.unseal(&damaged, &policy).unwrap_err();
            tpm.increment(Counter::Tick).unwrap_err();
            tpm.increment(Counter::Seal).unwrap();
            tpm.unseal(&blob, &policy).unwrap_err();

            let policy = SealPolicy { label: label + 1, ..policy };
            let again = tpm.seal(Zeroizing::new(secret.clone()), &policy).unwrap();
            assert_eq!(*tpm.unseal(&again, &policy).unwrap(), secret);
            // What Load carries is the private area behind its size field.
            for private in [blob.private, again.private, unsatisfied.private] {
                secrets.push(private[2..].to_vec());
            }
            secrets.extend([secret, random.to_vec()]);
        }
        let exchanges = proxy.take();
        for secret in &secrets {
            assert!(!stands_in(&exchanges, secret), "a secret stands on the bus in clear");
        }
        assert!(all_encrypted(&exchanges) > 30);
        let refused = exchanges.iter().filter(|exchange| exchange.response() != 0).count();
        assert!(refused >= 12, "only {refused} commands were refused");
        // Every HMAC session is salted: its tpmKey is not TPM_RH_NULL.
        for exchange in exchanges.iter().filter(|e| e.code() == START_AUTH_SESSION) {
            let salted = exchange.command[10..14] != [0x40, 0, 0, 7];
            let nonce =
                usize::from(u16::from_be_bytes([exchange.command[18], exchange.command[19]]));
            let salt = 20 + nonce;
            let size = u16::from_be_bytes([exchange.command[salt], exchange.command[salt + 1]]);
            let kind = exchange.command[salt + 2 + usize::from(size)];
            assert!(salted || kind == 1, "an unsalted session that is no policy session");
        }
        assert_eq!(tpm.lockout_counter(), Ok(0));
    }
}

/// From blank to a root in force and open again: neither root nor credential crosses the bus.
#[test]
fn neither_the_root_nor_a_credential_is_in_clear_in_a_whole_life() {
    let mut rig = Rig::new().unwrap();
    let bus = rig.bus().unwrap();
    let tpm = rig.enter(&bus.tcti(), Measured::LISTED).unwrap();
    let mut boot = rig.open(tpm, Measured::LISTED).unwrap();
    establish(&rig, &mut boot).unwrap();
    let root = boot.life.chain().unwrap().newest().expose_bytes().to_vec();
    let identity = boot.tpm.identity();
    let secret = [0x5a, 0x17, 0x99, 0x03].repeat(8);
    let made = credential(&identity.ek_public, &identity.ak, secret.clone().try_into().unwrap());
    assert_eq!(boot.tpm.activate(&made).unwrap().as_slice(), secret);
    drop(boot);
    let mut exchanges = bus.take();
    drop(bus);
    rig.power_cycle().unwrap();
    let bus = rig.bus().unwrap();
    let tpm = rig.enter(&bus.tcti(), Measured::LISTED).unwrap();
    let boot = rig.open(tpm, Measured::LISTED).unwrap();
    assert_eq!(boot.life.chain().unwrap().newest().expose_bytes().as_slice(), root);
    exchanges.extend(bus.take());
    assert!(exchanges.iter().any(|exchange| exchange.code() == UNSEAL));
    assert!(exchanges.iter().any(|exchange| exchange.code() == ACTIVATE_CREDENTIAL));
    for secret in [&root, &secret] {
        assert!(!stands_in(&exchanges, secret));
    }
    all_encrypted(&exchanges);
}

/// The control: the same listener does find secrets where nothing encrypts them.
#[test]
fn the_listener_finds_what_is_not_encrypted() {
    let soft = SoftTpm::blank().unwrap();
    let proxy = TpmProxy::start(soft.folder(), &soft.socket(), &Power::default()).unwrap();
    let tcti: TctiNameConf = proxy.tcti().parse().unwrap();
    let mut context = Context::new(tcti).unwrap();
    context.set_sessions((Some(AuthSession::Password), None, None));
    let fixed = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_user_with_auth(true);
    let parent = Public::builder()
        .with_public_algorithm(PublicAlgorithm::Ecc)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(
            fixed
                .with_sensitive_data_origin(true)
                .with_restricted(true)
                .with_decrypt(true)
                .build()
                .unwrap(),
        )
        .with_ecc_parameters(
            PublicEccParametersBuilder::new_restricted_decryption_key(
                SymmetricDefinitionObject::AES_128_CFB,
                EccCurve::NistP256,
            )
            .build()
            .unwrap(),
        )
        .with_ecc_unique_identifier(EccPoint::default())
        .build()
        .unwrap();
    let sealed = Public::builder()
        .with_public_algorithm(PublicAlgorithm::KeyedHash)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(fixed.build().unwrap())
        .with_keyed_hash_parameters(PublicKeyedHashParameters::new(KeyedHashScheme::Null))
        .with_keyed_hash_unique_identifier(TpmDigest::default())
        .build()
        .unwrap();
    let secret: Vec<u8> = (100..164).collect();
    let data = SensitiveData::from_bytes(&secret).unwrap();
    let parent = context.create_primary(Hierarchy::Owner, parent, None, None, None, None).unwrap();
    let made = context.create(parent.key_handle, sealed, None, Some(data), None, None).unwrap();
    assert!(stands_in(&proxy.take(), &secret), "in Create");
    let private = made.out_private.as_bytes().to_vec();
    let object = context.load(parent.key_handle, made.out_private, made.out_public).unwrap();
    assert!(stands_in(&proxy.take(), &private), "in Load");
    context.unseal(object.into()).unwrap();
    assert!(stands_in(&proxy.take(), &secret), "in Unseal");
    context.clear_sessions();
    let random = context.get_random(32).unwrap();
    let exchanges = proxy.take();
    assert!(stands_in(&exchanges, &random), "in GetRandom");
    assert!(exchanges.iter().all(|exchange| exchange.code() != CREATE_PRIMARY));
}

#[test]
fn three_thousand_sessions_do_not_fail_once() {
    for template in [EkTemplate::P256, EkTemplate::P384] {
        let soft = SoftTpm::blank().unwrap();
        let proxy = TpmProxy::start(soft.folder(), &soft.socket(), &Power::default()).unwrap();
        let tpm = Tpm::open(&proxy.tcti(), Some(template)).unwrap();
        let (mut started, mut probes_again) = (0, 0);
        for number in 0..1_500 {
            tpm.random(1).unwrap_or_else(|error| panic!("session {number}: {error}"));
            // Counting ends the session, so that the next job starts another.
            assert_eq!(tpm.open_handles(), Ok(1));
            let exchanges = proxy.take();
            started += exchanges.iter().filter(|e| e.code() == START_AUTH_SESSION).count();
            probes_again += exchanges.iter().filter(|exchange| exchange.response() != 0).count();
        }
        assert!(started >= 1_500, "{started} sessions");
        println!("{template:?}: 1500 sessions, {probes_again} of them started again");
        assert_eq!(tpm.lockout_counter(), Ok(0));
        assert_eq!(tpm.open_handles(), Ok(1));
    }
}
