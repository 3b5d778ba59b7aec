//! Who this TPM is: endorsement key and its certificate, attestation key.

use casemate_formats::{bundle::body::EkTemplate, digest::Name};
use tss_esapi::{
    Context,
    handles::{KeyHandle, NvIndexHandle, NvIndexTpmHandle, ObjectHandle, TpmHandle},
    interface_types::reserved_handles::{Hierarchy, NvAuth},
};

use super::{
    TpmError,
    error::NO_HANDLE,
    owner::Owner,
    session::{Cover, Salted},
    template,
};

/// NV index of the H-3 certificate (TCG EK Credential Profile 2.5, 2.2.1.5).
const CERTIFICATE_P384: u32 = 0x01c0_0016;
/// NV index of the L-2 certificate (2.2.1.4).
const CERTIFICATE_P256: u32 = 0x01c0_000a;
/// Bytes a TPM gives at once: all give 512 (TPM_PT_NV_BUFFER_MAX, PC Client Profile).
const A_READ: u16 = 512;
/// More than any certificate; bounds what a TPM can make us read.
const CERTIFICATE_BYTES: usize = 4096;

/// Public identity of this TPM: the same at every boot and after a clear.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Template the EK was made from.
    pub ek_template: EkTemplate,
    /// TPMT_PUBLIC of the EK.
    pub ek_public: Vec<u8>,
    /// Name of the EK.
    pub ek: Name,
    /// DER certificate, where NV has one.
    pub ek_certificate: Option<Vec<u8>>,
    /// TPMT_PUBLIC of the AK.
    pub ak_public: Vec<u8>,
    /// Name of the AK.
    pub ak: Name,
}

/// Whether the TPM has a certificate for its P-384 endorsement key. Asked before there is a session:
/// a false answer leads to another key, whose Name no bundle lists.
pub(super) fn has_p384_certificate(context: &mut Context) -> bool {
    let Ok(index) = NvIndexTpmHandle::new(CERTIFICATE_P384) else { return false };
    let Ok(mut handle) = context.tr_from_tpm_public(TpmHandle::NvIndex(index)) else {
        return false;
    };
    let _ = context.tr_close(&mut handle);
    true
}

impl Owner {
    /// Reads and makes everything of the identity.
    pub(super) fn identify(&mut self, session: Salted) -> Result<Identity, TpmError> {
        let (ek_public, ek) = template::named(&self.ek_public)?;
        let (ak_public, ak) =
            self.with_attestation_key(session, |_, public, _| template::named(public))?;
        let ek_certificate = self.certificate(session)?;
        let ek_template = self.ek_template;
        Ok(Identity { ek_template, ek_public, ek, ek_certificate, ak_public, ak })
    }

    /// Does `work` with the attestation key: made from its template, flushed afterwards.
    pub(super) fn with_attestation_key<T>(
        &mut self,
        session: Salted,
        work: impl FnOnce(&mut Self, &tss_esapi::structures::Public, KeyHandle) -> Result<T, TpmError>,
    ) -> Result<T, TpmError> {
        let public = template::attestation()?;
        let made = self.command(&[session.covering(Cover::Both)], |context| {
            context.create_primary(Hierarchy::Endorsement, public, None, None, None, None)
        })?;
        self.with_object(made.key_handle.into(), |owner| {
            work(owner, &made.out_public, made.key_handle)
        })
    }

    /// Does `work` with an NV index; `None`: it is not defined.
    pub(super) fn with_index<T>(
        &mut self,
        session: Salted,
        index: u32,
        work: impl FnOnce(&mut Self, NvIndexHandle) -> Result<T, TpmError>,
    ) -> Result<Option<T>, TpmError> {
        let index = TpmHandle::NvIndex(NvIndexTpmHandle::new(index)?);
        let opened = self.command(&[session.covering(Cover::Response)], |context| {
            context.tr_from_tpm_public(index)
        });
        let mut handle: ObjectHandle = match opened {
            Ok(handle) => handle,
            Err(error) if error.is(NO_HANDLE) => return Ok(None),
            Err(error) => return Err(error),
        };
        let result = work(self, handle.into());
        // Closing is the library's bookkeeping alone; an undefined index is closed already.
        let _ = self.command(&[], |context| context.tr_close(&mut handle));
        result.map(Some)
    }

    fn certificate(&mut self, session: Salted) -> Result<Option<Vec<u8>>, TpmError> {
        let index = match self.ek_template {
            EkTemplate::P256 => CERTIFICATE_P256,
            EkTemplate::P384 => CERTIFICATE_P384,
        };
        let read = self.with_index(session, index, |owner, handle| {
            let (public, _) = owner.command(&[session.covering(Cover::Response)], |context| {
                context.nv_read_public(handle)
            })?;
            let size = public.data_size();
            if size > CERTIFICATE_BYTES {
                return Err(TpmError::Nonsense("an EK certificate of more than 4 KiB"));
            }
            let mut bytes = Vec::with_capacity(size);
            while bytes.len() < size {
                let offset = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
                let wanted = u16::try_from(size - bytes.len()).unwrap_or(A_READ).min(A_READ);
                let read = owner.command(&[session.covering(Cover::Response)], |context| {
                    context.nv_read(NvAuth::NvIndex(handle), handle, wanted, offset)
                })?;
                if read.is_empty() {
                    return Err(TpmError::Nonsense("an NV index shorter than it says"));
                }
                bytes.extend_from_slice(&read);
            }
            Ok(der(bytes))
        });
        match read {
            // A maker may keep it from being read by its own authorisation: the EK is pinned anyway.
            Err(TpmError::Response(_)) => Ok(None),
            read => read.map(Option::flatten),
        }
    }
}

/// The certificate without what pads its index; `None`: there is no DER sequence.
fn der(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    let [0x30, 0x82, high, low, ..] = bytes[..] else { return None };
    let length = 4 + usize::from(u16::from_be_bytes([high, low]));
    (length <= bytes.len()).then(|| {
        bytes.truncate(length);
        bytes
    })
}
