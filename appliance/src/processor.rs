//! What the processor must be able to do. The whole firmware is compiled for it, so that even `main`
//! may hold an instruction that an older processor does not know: this runs before `main`, in
//! instructions that every x86-64 has, and says so instead of dying without a word.
#![allow(unsafe_code)]

use core::arch::global_asm;

/// CPUID leaf 1, ECX: PCLMULQDQ, FMA, MOVBE, AES, OSXSAVE, AVX, F16C (Intel SDM volume 2A, CPUID).
const ONE_ECX: u32 = 1 << 1 | 1 << 12 | 1 << 22 | 1 << 25 | 1 << 27 | 1 << 28 | 1 << 29;
/// CPUID leaf 7, EBX: BMI1, AVX2, BMI2. With the above: `x86-64-v3`, AES-NI and PCLMULQDQ.
const SEVEN_EBX: u32 = 1 << 3 | 1 << 5 | 1 << 8;

// SAFETY: called by the C start-up code as `void (*)(int, char **, char **)`. It keeps every register
// that the System V ABI wants kept (rbx, and the stack as it was), calls nothing, and either returns or
// stays: write(2, text, length), then pause() for ever. The text is its own.
global_asm!(
    ".pushsection .init_array,\"aw\"",
    ".balign 8",
    ".quad 10f",
    ".popsection",
    ".pushsection .text.casemate_processor,\"ax\"",
    "10: push rbx",
    "xor eax, eax",
    "xor ecx, ecx",
    "cpuid",
    "cmp eax, 7",
    "jb 20f",
    "mov eax, 1",
    "xor ecx, ecx",
    "cpuid",
    "and ecx, {one_ecx}",
    "cmp ecx, {one_ecx}",
    "jne 20f",
    "mov eax, 7",
    "xor ecx, ecx",
    "cpuid",
    "and ebx, {seven_ebx}",
    "cmp ebx, {seven_ebx}",
    "jne 20f",
    "pop rbx",
    "ret",
    "20: mov eax, 1",
    "mov edi, 2",
    "lea rsi, [rip + 40f]",
    "lea rdx, [rip + 50f]",
    "sub rdx, rsi",
    "syscall",
    "30: mov eax, 34",
    "syscall",
    "jmp 30b",
    "40:",
    ".ascii \"casemate: refused: cpu-features\\r\\n\"",
    ".ascii \"casemate:   found: a processor without AES, AVX2, BMI2 or the like (x86-64-v3)\\r\\n\"",
    ".ascii \"casemate:   next:  use a server of 2013 or later; \"",
    ".ascii \"in a virtual machine, show it the host's processor\\r\\n\"",
    "50:",
    ".popsection",
    one_ecx = const ONE_ECX,
    seven_ebx = const SEVEN_EBX,
);
