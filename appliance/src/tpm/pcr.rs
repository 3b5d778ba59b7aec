//! PCRs of the sha256 bank: reading, extending by a word.

use casemate_formats::digest::Digest;
use tss_esapi::{
    constants::CapabilityType,
    handles::PcrHandle,
    interface_types::algorithm::HashingAlgorithm,
    structures::{CapabilityData, Event, PcrSelectionList, PcrSelectionListBuilder, PcrSlot},
};

use super::{
    TpmError,
    owner::Owner,
    session::{Cover, Salted},
};

/// PCRs of a bank on a PC client platform.
pub(super) const PCRS: u8 = 24;
/// PCRs that one TPM2_PCR_Read gives at most (TPML_DIGEST, Part 2, 10.9.4).
const A_READ: u8 = 8;

/// A selection in the sha256 bank.
pub(super) fn selection(pcrs: impl IntoIterator<Item = u8>) -> Result<PcrSelectionList, TpmError> {
    let slots: Result<Vec<PcrSlot>, _> =
        pcrs.into_iter().map(|pcr| PcrSlot::try_from(1_u32 << pcr)).collect();
    Ok(PcrSelectionListBuilder::new().with_selection(HashingAlgorithm::Sha256, &slots?).build()?)
}

impl Owner {
    /// All 24 PCRs, of one moment.
    pub(super) fn all_pcrs(&mut self, session: Salted) -> Result<[Digest; 24], TpmError> {
        // Only this thread and the firmware's leftovers extend PCRs: a second round is the rare case.
        for _ in 0..3 {
            let mut values = Vec::with_capacity(usize::from(PCRS));
            let mut counters = Vec::new();
            for first in (0..PCRS).step_by(usize::from(A_READ)) {
                let (counter, read) = self.read_pcrs(Some(session), first)?;
                counters.push(counter);
                values.extend(read);
            }
            if counters.windows(2).all(|pair| pair[0] == pair[1]) {
                return values.try_into().map_err(|_| TpmError::NoSha256Bank);
            }
        }
        Err(TpmError::Nonsense("PCRs that never stand still"))
    }

    /// Eight PCRs from `first` on, and the TPM's update counter.
    pub(super) fn read_pcrs(
        &mut self,
        session: Option<Salted>,
        first: u8,
    ) -> Result<(u32, Vec<Digest>), TpmError> {
        let selected = selection(first..first + A_READ)?;
        let uses: Vec<_> = session.map(|s| s.covering(Cover::Audit)).into_iter().collect();
        let (counter, _, digests) = self.command(&uses, |context| context.pcr_read(selected))?;
        let values: Option<Vec<Digest>> =
            digests.value().iter().map(|d| d.as_bytes().try_into().ok().map(Digest)).collect();
        let values = values.filter(|v| v.len() == usize::from(A_READ));
        Ok((counter, values.ok_or(TpmError::NoSha256Bank)?))
    }

    /// Extends a PCR by the digest of `word` in every active bank.
    pub(super) fn extend(&mut self, session: Salted, pcr: u8, word: &str) -> Result<(), TpmError> {
        let handle = HANDLES.get(usize::from(pcr)).copied();
        let handle = handle.ok_or(TpmError::Nonsense("a PCR beyond 23"))?;
        let event = Event::from_bytes(word.as_bytes())?;
        let digests = self.command(&[session.covering(Cover::Command)], |context| {
            context.pcr_event(handle, event)
        })?;
        let sha256 = digests.value().get(&HashingAlgorithm::Sha256);
        let expected = Digest::sha256(word.as_bytes());
        match sha256 {
            Some(digest) if digest.as_bytes() == expected.0 => Ok(()),
            _ => Err(TpmError::NoSha256Bank),
        }
    }

    /// Refuses a TPM whose sha256 bank is missing or incomplete.
    pub(super) fn require_sha256_bank(&mut self, session: Salted) -> Result<(), TpmError> {
        let (data, _) = self.command(&[session.covering(Cover::Audit)], |context| {
            context.get_capability(CapabilityType::AssignedPcr, 0, 1)
        })?;
        let CapabilityData::AssignedPcr(banks) = data else {
            return Err(TpmError::Nonsense("another capability than asked for"));
        };
        let complete = banks.get_selections().iter().any(|bank| {
            bank.hashing_algorithm() == HashingAlgorithm::Sha256
                && bank.selected().len() == usize::from(PCRS)
        });
        if complete { Ok(()) } else { Err(TpmError::NoSha256Bank) }
    }
}

const HANDLES: [PcrHandle; 24] = [
    PcrHandle::Pcr0,
    PcrHandle::Pcr1,
    PcrHandle::Pcr2,
    PcrHandle::Pcr3,
    PcrHandle::Pcr4,
    PcrHandle::Pcr5,
    PcrHandle::Pcr6,
    PcrHandle::Pcr7,
    PcrHandle::Pcr8,
    PcrHandle::Pcr9,
    PcrHandle::Pcr10,
    PcrHandle::Pcr11,
    PcrHandle::Pcr12,
    PcrHandle::Pcr13,
    PcrHandle::Pcr14,
    PcrHandle::Pcr15,
    PcrHandle::Pcr16,
    PcrHandle::Pcr17,
    PcrHandle::Pcr18,
    PcrHandle::Pcr19,
    PcrHandle::Pcr20,
    PcrHandle::Pcr21,
    PcrHandle::Pcr22,
    PcrHandle::Pcr23,
];
