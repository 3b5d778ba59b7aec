//! The two NV counters: they only go up, everybody may raise them, nobody can lower them.

use casemate_formats::digest::Digest as Sha256;
use tss_esapi::{
    attributes::{NvIndexAttributes, NvIndexAttributesBuilder},
    constants::NvIndexType,
    handles::{NvIndexHandle, NvIndexTpmHandle},
    interface_types::{
        algorithm::HashingAlgorithm,
        reserved_handles::{NvAuth, Provision},
    },
    structures::NvPublic,
};

use super::{
    TpmError,
    error::{BAD_AUTH, NV_UNINITIALIZED},
    owner::Owner,
    session::{Cover, Salted},
};

/// Bytes of a counter (Part 2, 13.4).
const BYTES: u16 = 8;
/// TPMA_NV: authwrite, nt = counter, authread, no_da (facts: nothing else is needed; without no_da a
/// power cut would count as an attempt), and written after the first increment.
const ATTRIBUTES_WRITTEN: u32 = 1 << 2 | 1 << 4 | 1 << 18 | 1 << 25 | 1 << 29;

/// Which NV counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Labels of sealed blobs (design, section 6).
    Seal,
    /// Ticks of the audit log (section 10).
    Tick,
}

impl Counter {
    /// NV index, in the owner's range (TCG Registry of Reserved Handles, 2.2.2).
    #[must_use]
    pub const fn index(self) -> u32 {
        match self {
            Self::Seal => 0x0180_ca5e,
            Self::Tick => 0x0180_ca5f,
        }
    }

    /// Name after the first increment: the hash of TPMS_NV_PUBLIC (Part 1, 16), which the TSS does
    /// not marshal. PolicyNV contains it.
    #[must_use]
    pub fn name(self) -> [u8; 34] {
        let public = [
            &self.index().to_be_bytes()[..],
            &[0, 0x0b],
            &ATTRIBUTES_WRITTEN.to_be_bytes(),
            &[0, 0],
            &BYTES.to_be_bytes(),
        ]
        .concat();
        let mut name = [0, 0x0b].to_vec();
        name.extend(Sha256::sha256(&public).0);
        name.try_into().expect("2 and 32 bytes")
    }
}

impl Owner {
    /// Value; `None`: not defined as ours, or never incremented.
    pub(super) fn counter(
        &mut self,
        session: Salted,
        counter: Counter,
    ) -> Result<Option<u64>, TpmError> {
        let value = self.with_index(session, counter.index(), |owner, handle| {
            if owner.is_ours(session, counter, handle)? {
                owner.read_counter(session, handle)
            } else {
                Ok(None)
            }
        })?;
        Ok(value.flatten())
    }

    /// Defines the counter if it is missing and increments it once if it never was; its value. An
    /// index of another kind at its place is somebody else's trap: it is removed.
    pub(super) fn define_counter(
        &mut self,
        session: Salted,
        counter: Counter,
    ) -> Result<u64, TpmError> {
        if let Some(value) = self.counter(session, counter)? {
            return Ok(value);
        }
        let ours = self.with_index(session, counter.index(), |owner, handle| {
            let ours = owner.is_ours(session, counter, handle)?;
            if !ours {
                owner.command(&[session.covering(Cover::Authorise)], |context| {
                    context.nv_undefine_space(Provision::Owner, handle)
                })?;
            }
            Ok(ours)
        })?;
        if ours != Some(true) {
            let public = definition(counter)?;
            let defined = self
                .command(&[session.covering(Cover::Command)], |context| {
                    context.nv_define_space(Provision::Owner, None, public)
                })
                .map_err(|error| if error.is(BAD_AUTH) { TpmError::ForeignOwner } else { error })?;
            let mut handle = defined.into();
            let _ = self.command(&[], |context| context.tr_close(&mut handle));
        }
        self.increment(session, counter)
    }

    /// Increments once; the new value.
    pub(super) fn increment(&mut self, session: Salted, counter: Counter) -> Result<u64, TpmError> {
        self.with_index(session, counter.index(), |owner, handle| {
            owner.increment_open(session, handle)?;
            owner.read_counter(session, handle)?.ok_or(TpmError::NoCounter)
        })?
        .ok_or(TpmError::NoCounter)
    }

    /// Increments until the counter is at least `to`; its value.
    pub(super) fn raise(
        &mut self,
        session: Salted,
        counter: Counter,
        to: u64,
    ) -> Result<u64, TpmError> {
        self.with_index(session, counter.index(), |owner, handle| {
            let mut value = owner.read_counter(session, handle)?.ok_or(TpmError::NoCounter)?;
            while value < to {
                owner.increment_open(session, handle)?;
                let now = owner.read_counter(session, handle)?.ok_or(TpmError::NoCounter)?;
                if now != value + 1 {
                    return Err(TpmError::Nonsense("a counter that does not count"));
                }
                value = now;
            }
            Ok(value)
        })?
        .ok_or(TpmError::NoCounter)
    }

    fn increment_open(&mut self, session: Salted, handle: NvIndexHandle) -> Result<(), TpmError> {
        self.command(&[session.covering(Cover::Authorise)], |context| {
            context.nv_increment(NvAuth::NvIndex(handle), handle)
        })
    }

    fn read_counter(
        &mut self,
        session: Salted,
        handle: NvIndexHandle,
    ) -> Result<Option<u64>, TpmError> {
        let read = self.command(&[session.covering(Cover::Response)], |context| {
            context.nv_read(NvAuth::NvIndex(handle), handle, BYTES, 0)
        });
        match read {
            Ok(bytes) => bytes
                .as_bytes()
                .try_into()
                .map(|bytes| Some(u64::from_be_bytes(bytes)))
                .map_err(|_| TpmError::Nonsense("a counter that is not 8 bytes")),
            Err(error) if error.is(NV_UNINITIALIZED) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn is_ours(
        &mut self,
        session: Salted,
        counter: Counter,
        handle: NvIndexHandle,
    ) -> Result<bool, TpmError> {
        let (public, _) = self.command(&[session.covering(Cover::Response)], |context| {
            context.nv_read_public(handle)
        })?;
        let written = NvIndexAttributesBuilder::with_attributes(attributes()?).with_written(true);
        let expected = definition(counter)?;
        Ok(public == expected
            || (public.attributes() == written.build()?
                && public.nv_index() == expected.nv_index()
                && public.name_algorithm() == expected.name_algorithm()
                && public.authorization_policy() == expected.authorization_policy()
                && public.data_size() == expected.data_size()))
    }
}

fn attributes() -> Result<NvIndexAttributes, TpmError> {
    Ok(NvIndexAttributesBuilder::new()
        .with_auth_read(true)
        .with_auth_write(true)
        .with_nv_index_type(NvIndexType::Counter)
        .with_no_da(true)
        .build()?)
}

fn definition(counter: Counter) -> Result<NvPublic, TpmError> {
    Ok(NvPublic::builder()
        .with_nv_index(NvIndexTpmHandle::new(counter.index())?)
        .with_index_name_algorithm(HashingAlgorithm::Sha256)
        .with_index_attributes(attributes()?)
        .with_data_area_size(usize::from(BYTES))
        .build()?)
}
