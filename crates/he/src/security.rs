//! The one table that decides what is secure.

/// Classical security in bits that [`max_log_qp`] stands for.
pub const SECURITY_BITS: u32 = 128;

/// Largest `log2(Q P)` for 128 bits of classical security with uniform ternary secrets and error deviation 3.19, by
/// `log2` of the ring degree: Bossuat et al., "Security Guidelines for Implementing Homomorphic Encryption", eprint
/// 2024/463, Table 5.2.
///
/// The conjugate-invariant ring of degree `N` is the maximal real subring of a cyclotomic one; its ring-LWE samples of
/// dimension `N` are held to the same limits (Kim and Song, eprint 2018/952, section 3).
const MAX_LOG_QP: [(u32, u32); 8] =
    [(10, 26), (11, 53), (12, 106), (13, 214), (14, 430), (15, 868), (16, 1747), (17, 3523)];

/// Largest total modulus in bits at 128-bit security, `None` for degrees outside the table.
pub fn max_log_qp(log_degree: u32) -> Option<u32> {
    MAX_LOG_QP.iter().find(|(degree, _)| *degree == log_degree).map(|(_, bits)| *bits)
}

/// The degrees in the table, as `log2`, rising.
pub fn log_degrees() -> impl Iterator<Item = u32> {
    MAX_LOG_QP.iter().map(|(degree, _)| *degree)
}
