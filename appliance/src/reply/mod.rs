//! Answers: JSON bodies and RFC 9457 problems.
