use std::collections::{HashMap, VecDeque};

use rand_core::CryptoRng;

use crate::protocol::Refusal;

/// Sessions that are remembered.
const MAX_SESSIONS: usize = 4096;

/// Open sessions. They live as long as the process: what was said in one before cannot be said again in another, as its
/// number is random.
#[derive(Default)]
pub(super) struct Sessions {
    /// Whose it is, and the highest counter so far.
    open: HashMap<[u8; 16], (String, u64)>,
    order: VecDeque<[u8; 16]>,
}

impl Sessions {
    pub fn open(&mut self, name: &str, rng: &mut impl CryptoRng) -> [u8; 16] {
        let mut session = [0; 16];
        rng.fill_bytes(&mut session);
        if self.order.len() == MAX_SESSIONS
            && let Some(oldest) = self.order.pop_front()
        {
            self.open.remove(&oldest);
        }
        self.order.push_back(session);
        self.open.insert(session, (name.to_owned(), 0));
        session
    }

    /// Takes note of a message of the session.
    pub fn count(&mut self, session: &[u8; 16], name: &str, counter: u64) -> Result<(), Box<Refusal>> {
        match self.open.get_mut(session) {
            Some((owner, last)) if owner == name => {
                if counter <= *last {
                    return Err(Refusal::Replayed { found: counter }.into());
                }
                *last = counter;
                Ok(())
            }
            _ => Err(Refusal::NoSession.into()),
        }
    }
}
