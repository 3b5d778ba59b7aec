//! What the processor must be able to do. The firmware is compiled for it, so this is looked at
//! first, with instructions that every x86-64 has.

use core::arch::x86_64::{__cpuid, __cpuid_count};

/// Features that the build uses (`target-cpu=x86-64-v3`, AES-NI, PCLMULQDQ) by their name, leaf and
/// bit: (name, leaf is 7, register is EBX, bit). Intel SDM volume 2A, CPUID.
const NEEDED: [(&str, Leaf, u32); 7] = [
    ("pclmulqdq", Leaf::OneEcx, 1),
    ("fma", Leaf::OneEcx, 12),
    ("movbe", Leaf::OneEcx, 22),
    ("aes", Leaf::OneEcx, 25),
    ("avx", Leaf::OneEcx, 28),
    ("avx2", Leaf::SevenEbx, 5),
    ("bmi2", Leaf::SevenEbx, 8),
];

#[derive(Clone, Copy)]
enum Leaf {
    OneEcx,
    SevenEbx,
}

/// The first needed feature that this processor (or hypervisor) does not show.
#[must_use]
#[inline(never)]
pub fn missing() -> Option<&'static str> {
    let one = __cpuid(1).ecx;
    let seven = if __cpuid(0).eax >= 7 { __cpuid_count(7, 0).ebx } else { 0 };
    let mut at = 0;
    while at < NEEDED.len() {
        let (name, leaf, bit) = NEEDED[at];
        let register = match leaf {
            Leaf::OneEcx => one,
            Leaf::SevenEbx => seven,
        };
        if register >> bit & 1 == 0 {
            return Some(name);
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_machine_that_runs_the_tests_has_every_feature() {
        assert_eq!(super::missing(), None);
    }
}
