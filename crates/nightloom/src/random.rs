use chacha20::ChaCha20Rng;
use rand_core::{SeedableRng, TryRng};
use zeroize::Zeroizing;

/// The system gave no randomness.
#[derive(Debug, thiserror::Error)]
#[error("the system's random generator failed: {0}")]
pub struct RandomError(#[from] getrandom::Error);

/// ChaCha20 seeded with 32 bytes of the operating system.
///
/// # Errors
/// [`RandomError`] if the system has no random generator.
pub fn system_rng() -> Result<ChaCha20Rng, RandomError> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::SysRng.try_fill_bytes(&mut *seed)?;
    Ok(ChaCha20Rng::from_seed(*seed))
}
