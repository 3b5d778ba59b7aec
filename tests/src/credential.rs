//! Credentials made by another TPM (TPM2_MakeCredential), independent of the tools' own.

use casemate_formats::{digest::Name, request::Credential};
use tss_esapi::{
    Context, TctiNameConf, interface_types::reserved_handles::Hierarchy, structures::Public,
    traits::UnMarshall as _,
};

use crate::swtpm::SoftTpm;

/// A credential for this EK and AK.
///
/// # Panics
/// swtpm is missing, or the EK's public area is none.
#[must_use]
pub fn credential(ek: &[u8], ak: &Name, secret: [u8; 32]) -> Credential {
    let soft = SoftTpm::blank().expect("swtpm starts");
    let tcti: TctiNameConf = soft.tcti().parse().expect("a TCTI");
    let mut context = Context::new(tcti).expect("a TPM answers");
    let public = Public::unmarshall(ek).expect("a public area");
    let key = context.load_external(None, public, Hierarchy::Endorsement).expect("an EK");
    let name = ak.as_bytes().to_vec().try_into().expect("a name");
    let (object, encrypted) =
        context.make_credential(key, secret.into(), name).expect("a credential");
    let sized = |bytes: &[u8]| {
        let size = u16::try_from(bytes.len()).expect("a TPM2B");
        [&size.to_be_bytes()[..], bytes].concat()
    };
    Credential { id_object: sized(&object), secret: sized(&encrypted) }
}
