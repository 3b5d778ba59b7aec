//! The custodian's side: a share file that is kept, the program that decrypts it, and what a custodian
//! has to be shown before a share goes to a box. Works on files alone; no share ever stands on a disk
//! in clear.

pub mod age;
pub mod kept;
pub mod review;

pub use age::Age;
pub use kept::Kept;
