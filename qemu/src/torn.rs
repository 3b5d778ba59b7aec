//! What a write under way leaves behind when the power goes, and the dice that decide it.

/// Bytes that an older disk writes in one piece whatever happens.
const SECTOR: usize = 512;
/// The same of a newer one.
const LARGE_SECTOR: usize = 4096;

/// What a write under way leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nothing. Of a TPM command: it never arrived.
    Lost,
    /// The first sector.
    First,
    /// Every sector but the first.
    ButFirst,
    /// Any sectors of 512 bytes, by the bits of a seed.
    Sectors(u64),
    /// Any sectors of 4 KiB.
    Large(u64),
    /// All of it; only the answer is missing. Of a TPM command: it was carried out.
    Whole,
}

impl Cut {
    /// One of each kind, of the random ones two.
    pub const ALL: [Self; 8] = [
        Self::Lost,
        Self::First,
        Self::ButFirst,
        Self::Sectors(0x5555_5555_5555_5555),
        Self::Sectors(0x9e37_79b9_7f4a_7c15),
        Self::Large(0x5555_5555_5555_5555),
        Self::Large(0xf0e1_d2c3_b4a5_9687),
        Self::Whole,
    ];

    /// Pieces of `bytes` that reach the medium, with their offsets.
    pub fn pieces(self, bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
        let size = if matches!(self, Self::Large(_)) { LARGE_SECTOR } else { SECTOR };
        let pieces = bytes.chunks(size).enumerate();
        pieces.filter(move |(n, _)| self.keeps(*n)).map(move |(n, piece)| (n * size, piece))
    }

    fn keeps(self, sector: usize) -> bool {
        match self {
            Self::Lost => false,
            Self::First => sector == 0,
            Self::ButFirst => sector > 0,
            Self::Sectors(seed) | Self::Large(seed) => {
                // A long write must not repeat the pattern of its first 64 sectors.
                Dice::new(seed ^ sector as u64).roll(2) == 1
            }
            Self::Whole => true,
        }
    }
}

/// A generator for campaigns: the same seed, the same rolls (SplitMix64).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// One that begins at `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to `sides` - 1.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.number() % sides
    }

    /// Any way to leave a write behind.
    pub fn cut(&mut self) -> Cut {
        match self.roll(8) {
            0 => Cut::Lost,
            1 => Cut::First,
            2 => Cut::ButFirst,
            3..5 => Cut::Sectors(self.number()),
            5..7 => Cut::Large(self.number()),
            _ => Cut::Whole,
        }
    }
}
