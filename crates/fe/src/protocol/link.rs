use std::ops::ControlFlow;

use zeroize::Zeroizing;

use super::envelope::mac_of;
use super::{Answer, EnrolmentToken, Envelope, EnvelopeError, Head, Refusal, Reply, Request};

/// Carries a message to an authority and its answer back.
pub trait Link {
    /// Why it could not.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Sends a message and waits for the answer.
    ///
    /// # Errors
    /// If the connection fails; the message may have arrived nevertheless.
    fn exchange(&mut self, message: &[u8]) -> Result<Vec<u8>, Self::Error>;
}

/// Why an authority did not give what was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError<E> {
    /// It cannot be reached.
    #[error("the authority cannot be reached: {0}")]
    Link(#[source] E),
    /// It refuses.
    #[error("the authority refuses: {0}")]
    Refused(#[from] Refusal),
    /// What came back is no answer of it.
    #[error(transparent)]
    Answer(#[from] EnvelopeError),
    /// An answer to something else.
    #[error("the authority answers with something else than {wanted}")]
    OtherReply {
        /// What was asked for.
        wanted: &'static str,
    },
}

/// Says whether to try again after the number of failures so far, and waits until then.
type Patience<E> = Box<dyn FnMut(u32, &E) -> ControlFlow<()> + Send>;

/// A party's conversation with the authority. Sessions are opened when they are needed; a lost connection is tried again as
/// long as the caller has patience. A request that is sent again gets the same answer, so nothing is lost by it.
pub struct Session<L: Link> {
    link: L,
    token: std::sync::Arc<EnrolmentToken>,
    patience: Patience<L::Error>,
    session: Option<[u8; 16]>,
    counter: u64,
    seen: Option<Head>,
    traffic: Traffic,
}

/// Bytes of messages so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// To the authority.
    pub sent: u64,
    /// From it.
    pub received: u64,
}

impl<L: Link> Session<L> {
    /// A conversation that ends with the first failure of the link.
    pub fn new(link: L, token: std::sync::Arc<EnrolmentToken>) -> Self {
        Self::with_patience(link, token, |_, _| ControlFlow::Break(()))
    }

    /// A conversation that goes on after failures of the link while `patience`, which is told how many there were in a row
    /// and may wait, says so.
    pub fn with_patience(
        link: L,
        token: std::sync::Arc<EnrolmentToken>,
        patience: impl FnMut(u32, &L::Error) -> ControlFlow<()> + Send + 'static,
    ) -> Self {
        let patience = Box::new(patience);
        Self { link, token, patience, session: None, counter: 0, seen: None, traffic: Traffic::default() }
    }

    /// Who converses.
    pub fn token(&self) -> &EnrolmentToken {
        &self.token
    }

    /// The place of the authority's ledger after the last answer.
    pub fn head(&self) -> Option<Head> {
        self.seen
    }

    /// Bytes so far.
    pub fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// The link.
    pub fn link_mut(&mut self) -> &mut L {
        &mut self.link
    }

    /// Asks, in a session.
    ///
    /// # Errors
    /// [`AskError`].
    pub fn ask(&mut self, request: &Request) -> Result<Reply, AskError<L::Error>> {
        // Sessions that are forgotten are no failures of the link, so patience does not hear of them.
        let (mut failures, mut forgotten) = (0, 0);
        loop {
            let session = match self.session {
                Some(session) => session,
                None => match self.open() {
                    Ok(session) => session,
                    Err(error) => {
                        self.wait(&mut failures, error)?;
                        continue;
                    }
                },
            };
            self.counter += 1;
            match self.send(session, request) {
                // The authority was started anew meanwhile.
                Err(AskError::Refused(Refusal::NoSession)) if forgotten < MAX_SESSIONS => {
                    forgotten += 1;
                    self.session = None;
                }
                Err(error) => {
                    // Whether the message arrived is not known, so its number is not used again.
                    self.session = None;
                    self.wait(&mut failures, error)?;
                }
                reply => return reply,
            }
        }
    }

    fn open(&mut self) -> Result<[u8; 16], AskError<L::Error>> {
        self.counter = 0;
        match self.send([0; 16], &Request::Open { seen: self.seen })? {
            Reply::Opened { session } => {
                self.session = Some(session);
                Ok(session)
            }
            _ => Err(AskError::OtherReply { wanted: "a session" }),
        }
    }

    fn send(&mut self, session: [u8; 16], request: &Request) -> Result<Reply, AskError<L::Error>> {
        let message = Envelope::seal(&self.token.name, &self.token.key, session, self.counter, request);
        self.traffic.sent += message.len() as u64;
        // It may hold keys.
        let answer = Zeroizing::new(self.link.exchange(&message).map_err(AskError::Link)?);
        self.traffic.received += answer.len() as u64;
        let Answer { reply, head } = Answer::open(&answer, &self.token.key, &mac_of(&message))?;
        match reply {
            Reply::Refused(refusal) => Err(refusal.into()),
            reply => {
                self.seen = Some(head);
                Ok(reply)
            }
        }
    }

    /// Waits after a failure of the link; hands back all other errors, and that one without patience.
    fn wait(&mut self, failures: &mut u32, error: AskError<L::Error>) -> Result<(), AskError<L::Error>> {
        if let AskError::Link(link) = &error {
            *failures += 1;
            if (self.patience)(*failures, link).is_continue() {
                return Ok(());
            }
        }
        Err(error)
    }
}

/// Sessions that an authority may forget one after another before that is an error.
const MAX_SESSIONS: u32 = 16;
