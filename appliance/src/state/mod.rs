//! `state`, the raw partition: header, crash sector, three slots, two tail blocks, ring. The only
//! room that writes to a disk.

/// A disk in units of [`UNIT`]: every write is durable when it returns (O_DIRECT | O_DSYNC).
/// The firmware's one implementation is [`disk`]'s; tests put a cutting proxy in its place.
pub trait Blocks: Send + Sync + 'static {
    /// Units the partition has.
    fn units(&self) -> u64;
    /// Reads whole units.
    ///
    /// # Errors
    /// The device's.
    fn read(&self, unit: u64, into: &mut [u8]) -> std::io::Result<()>;
    /// Writes whole units durably.
    ///
    /// # Errors
    /// The device's; what stands there then is unknown.
    fn write(&self, unit: u64, bytes: &[u8]) -> std::io::Result<()>;
}

/// Bytes of a unit: what disks write atomically at best, and what O_DIRECT wants.
pub const UNIT: usize = 4096;
