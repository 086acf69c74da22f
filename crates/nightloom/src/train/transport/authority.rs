use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chacha20::ChaCha20Rng;
use nightloom_fe::authority::{Keeper, KeeperError};

/// An authority with its ledger, to be asked from several threads: one question after another.
#[derive(Clone)]
pub struct SharedAuthority(Arc<Mutex<State>>);

struct State {
    keeper: Keeper,
    rng: ChaCha20Rng,
}

impl SharedAuthority {
    /// Shares an authority. The generator numbers sessions.
    pub fn new(keeper: Keeper, rng: ChaCha20Rng) -> Self {
        Self(Arc::new(Mutex::new(State { keeper, rng })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A decision changes nothing before its record is on disk.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a message.
    ///
    /// # Errors
    /// [`KeeperError`] if the ledger cannot be written: nothing is issued then.
    pub fn answer(&self, message: &[u8]) -> Result<Vec<u8>, KeeperError> {
        let State { keeper, rng } = &mut *self.state();
        keeper.answer(message, rng)
    }

    /// Does something with the authority.
    pub fn with<T>(&self, work: impl FnOnce(&mut Keeper) -> T) -> T {
        work(&mut self.state().keeper)
    }
}
